//! Networks: throughput through a published port against the plain veth pair, what a change of the firewall takes, and answers for
//! names.

use std::process::Command;

use berth_acceptance_tests::command;
use serde_json::{Value, json};

use super::{Report, compared, failed, spread};
use crate::step::{StepError, find, programs};

const ROUNDS: &str = "5";

/// All of them, by name.
pub fn run(report: &mut Report) -> Result<(), StepError> {
    find("iperf3").ok_or_else(|| StepError::Rule("install the package iperf3".into()))?;
    let mut program = Command::new(programs().join("examples/network"));
    let figures = command::json(program.arg(ROUNDS)).map_err(failed)?;
    let list = |value: &Value| -> Vec<f64> {
        value.as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
    };
    let published = &figures["published"];
    let more = json!({ "unit": "Gbit/s", "peer_is": "the same veth pair without a published port" });
    let published = compared(&mut list(&published["ours"]), &mut list(&published["peer"]), more);
    let crowd = "200 instances, 5 ports each";
    report.add("published port", published)?;
    report.add("rule change", json!({ "ours": spread(&mut list(&figures["change"])), "among": crowd }))?;
    report.add("all rules", json!({ "ours": spread(&mut list(&figures["apply"])), "among": crowd }))?;
    let mut program = Command::new(programs().join("examples/names"));
    let names = command::json(program.arg(programs().join("berth-bridge"))).map_err(failed)?;
    report.add("names", json!({ "ours": { "median": names["median_ms"] }, "p99_ms": names["p99_ms"], "a_second": names["per_second"] }))
}
