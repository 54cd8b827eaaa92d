//! `cargo xtask soak`: the model-based test of instances with many more sequences than the tests have.

use crate::Outcome;
use crate::step::{self, command, programs, timed};
use crate::{build, setup};

/// Runs so many sequences.
pub fn run(sequences: u32) -> Outcome {
    setup::run()?;
    build::run()?;
    timed(&format!("Run {sequences} sequences"), || {
        let name = "whatever_is_done_the_agent_and_the_host_agree";
        // No limit of nextest's: it is as long as it is.
        let arguments = ["test", "--release", "--locked", "--package", "berth-agent", "--test", "it", name];
        let mut cargo = command("cargo", &arguments);
        cargo.env("BERTH_SOAK", sequences.to_string());
        cargo.env("BERTH_SUPERVISOR", programs().join("berth-supervisor"));
        cargo.env("BERTH_PROGRAMS", programs());
        step::run(&mut cargo)
    })
}
