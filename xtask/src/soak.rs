//! `cargo xtask soak`: the model-based test of instances with many more sequences than the tests have, and a kill of the agent
//! after every change that it makes of the host.

use crate::Outcome;
use crate::step::{self, command, programs, timed};
use crate::{build, setup};

/// Runs so many sequences.
pub fn run(sequences: u32) -> Outcome {
    setup::run()?;
    build::run()?;
    timed(&format!("Run {sequences} sequences, and kill the agent at every point"), || {
        // No limit of nextest's: it is as long as it is.
        let mut arguments = vec!["test", "--release", "--locked", "--workspace", "--test", "it"];
        arguments.extend(["--", "whatever_is_done_the_agent_and_the_host_agree", "killed_at_points"]);
        let mut cargo = command("cargo", &arguments);
        cargo.env("BERTH_SOAK", sequences.to_string());
        cargo.env("BERTH_SUPERVISOR", programs().join("berth-supervisor"));
        cargo.env("BERTH_PROGRAMS", programs());
        step::run(&mut cargo)
    })
}
