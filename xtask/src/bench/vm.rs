//! Machines: from the launch to the first output against bare QEMU, the agent's part of it, and the channel.

use std::process::Command;

use berth_acceptance_tests::command;
use serde_json::{Value, json};

use super::{MEMORY, Report, compared, failed, spread};
use crate::step::{StepError, programs};

const ROUNDS: &str = "7";

/// All of them, by name.
pub fn run(report: &mut Report) -> Result<(), StepError> {
    let figures = machine(&["launch", ROUNDS])?;
    let more = json!({ "bar": 1.3, "peer_is": "bare QEMU, the same kernel, a static program that prints" });
    report.add("vm launch", compared(&mut list(&figures["ours"]), &mut list(&figures["peer"]), more))?;
    let figures = machine(&["work", "21"])?;
    let ours = spread(&mut list(&figures["ours"]));
    report.add(
        "vm work",
        json!({ "ours": ours, "bar_ms": 60, "what": "a start and its end, all but the guest" }),
    )?;
    for (name, argument) in [("vm channel", "channel"), ("vm 128 MiB", "small")] {
        let mut figures = machine(&[argument])?;
        figures["ours"] = spread(&mut list(&figures["ours"]));
        report.add(name, figures)?;
    }
    Ok(())
}

fn machine(arguments: &[&str]) -> Result<Value, StepError> {
    let mut program = Command::new(programs().join("examples/machine"));
    command::json(program.args(arguments).env("TMPDIR", MEMORY)).map_err(failed)
}

fn list(value: &Value) -> Vec<f64> {
    value.as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
}
