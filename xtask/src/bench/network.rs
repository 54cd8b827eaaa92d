//! Networks: throughput through a published port against the plain veth pair, what a change of the firewall takes and whether a
//! running flow notices it, what an interface adds to a start, and answers for names.

use std::process::Command;

use berth_acceptance_tests::command;
use serde_json::{Value, json};

use super::{MEMORY, Report, STARTS, compared, failed, spread};
use crate::step::{StepError, find, programs};

/// Of pairs: on two cores one pair says anything between 0.7 and 1.3 of the other.
const ROUNDS: &str = "15";

/// All of them, by name.
pub fn run(report: &mut Report) -> Result<(), StepError> {
    find("iperf3").ok_or_else(|| StepError::Rule("install the package iperf3".into()))?;
    let mut program = Command::new(programs().join("examples/network"));
    let figures = command::json(program.arg(ROUNDS)).map_err(failed)?;
    let published = &figures["published"];
    let more = json!({ "unit": "Gbit/s", "peer_is": "the same veth pair without a published port" });
    let published = compared(&mut list(&published["ours"]), &mut list(&published["peer"]), more);
    let crowd = "200 instances, 5 ports each";
    report.add("published port", published)?;
    for (what, times) in figures["change"].as_object().into_iter().flatten() {
        report
            .add(what, json!({ "ours": spread(&mut list(times)), "is": "a change of it", "among": crowd }))?;
    }
    let flow = &figures["flow"];
    report.add(
        "running flow",
        json!({ "packets": flow["packets"], "lost": flow["lost"], "during": "all changes" }),
    )?;
    report.add("all rules", json!({ "ours": spread(&mut list(&figures["apply"])), "among": crowd }))?;
    report.add("interface", interface()?)?;
    let mut program = Command::new(programs().join("examples/names"));
    let names = command::json(program.arg(programs().join("berth-bridge"))).map_err(failed)?;
    report.add("names", json!({ "ours": { "median": names["median_ms"] }, "p99_ms": names["p99_ms"], "a_second": names["per_second"] }))
}

/// What an interface adds to a start: by the medians of starts with one and without.
fn interface() -> Result<Value, StepError> {
    let mut program = Command::new(programs().join("examples/interface"));
    program.arg(programs().join("berth-supervisor")).arg(STARTS.to_string()).env("TMPDIR", MEMORY);
    let figures = command::json(&mut program).map_err(failed)?;
    let spread_of = |side: &str| spread(&mut list(&figures[side]));
    let (with, without) = (spread_of("with"), spread_of("without"));
    let median = |of: &Value| of["median"].as_f64().unwrap_or(f64::NAN);
    let added = median(&with) - median(&without);
    Ok(json!({ "ours": { "median": added }, "start_with": with, "start_without": without }))
}

fn list(value: &Value) -> Vec<f64> {
    value.as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
}
