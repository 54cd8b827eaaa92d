//! `cargo xtask bench`: a table, and `target/bench/report.json` with ours, the peer's, their ratio and the spread.
//!
//! Each figure and its peer's are taken in one run, in turn: a shared machine is noisy, and only ratios say something.

mod density;
mod network;
mod plan;
mod pull;
mod start;
mod vm;
mod world;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

use crate::Outcome;
use crate::step::{self, StepError, command as cargo, file, programs, target};
use crate::{build, setup};

const STARTS: usize = 41;

/// Where in memory the benches write, so that no disk is measured.
const MEMORY: &str = "/dev/shm";

pub(crate) fn failed(error: berth_acceptance_tests::Error) -> StepError {
    StepError::Rule(error.to_string())
}

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Which {
    /// Pulls: time, memory and disk.
    Pull,
    /// Terraform's plans that change nothing: time, and the provider's memory.
    Plan,
    /// Starts: from the call to the entrypoint, exec, and many at once.
    Start,
    /// Two hundred instances: memory of supervisors and agent, the list, and the agent at rest.
    Density,
    /// Networks: a published port's throughput, changes of the firewall, interfaces and names.
    Network,
    /// Virtual machines: from the launch to the first output, the channel, memory.
    Vm,
}

/// Runs all of them, or those of one kind.
pub fn run(which: Option<Which>) -> Outcome {
    setup::run()?;
    match which {
        Some(Which::Start | Which::Density) => build::agent()?,
        _ => build::run()?,
    }
    let of = |kind: Which, example| which.is_none_or(|asked| asked == kind).then_some(example);
    let examples = [
        of(Which::Pull, "pull"),
        of(Which::Pull, "bound"),
        of(Which::Start, "start"),
        of(Which::Start, "calls"),
        of(Which::Density, "calls"),
        of(Which::Network, "network"),
        of(Which::Network, "interface"),
        of(Which::Network, "names"),
        of(Which::Vm, "machine"),
    ];
    for example in examples.into_iter().flatten() {
        // Of the whole workspace: a package by itself would have its dependencies built with other features.
        let example = ["build", "--release", "--locked", "--workspace", "--example", example];
        step::run(&mut cargo("cargo", &example))?;
    }
    let mut report = Report::new()?;
    if which.is_none() {
        report.add("provider", provider()?)?;
    }
    if which.is_none_or(|asked| asked == Which::Start) {
        start::run(&mut report)?;
    }
    if which.is_none_or(|asked| asked == Which::Density) {
        density::run(&mut report)?;
    }
    if which.is_none_or(|asked| asked == Which::Pull) {
        pull::run(&mut report)?;
    }
    if which.is_none_or(|asked| asked == Which::Network) {
        network::run(&mut report)?;
    }
    if which.is_none_or(|asked| asked == Which::Vm) {
        vm::run(&mut report)?;
    }
    if which.is_none_or(|asked| asked == Which::Plan) {
        plan::run(&mut report)?;
    }
    Ok(())
}

/// The figures so far: each is printed and kept as soon as there is one, since all of them together take minutes.
struct Report {
    path: PathBuf,
    figures: serde_json::Map<String, Value>,
}

impl Report {
    fn new() -> Result<Self, StepError> {
        let path = target().join("bench/report.json");
        fs::create_dir_all(target().join("bench")).map_err(file("make", &path))?;
        println!("{:<14} {:>10} {:>10} {:>7}  more", "bench", "ours ms", "peer ms", "ratio");
        Ok(Self { path, figures: serde_json::Map::new() })
    }

    fn add(&mut self, name: &str, bench: Value) -> Result<(), StepError> {
        let figure = |side: &str| bench[side]["median"].as_f64().map_or("-".into(), |ms| format!("{ms:.1}"));
        let ratio = bench["ratio"].as_f64().map_or("-".into(), |ratio| format!("{ratio:.2}"));
        let more = bench.as_object().into_iter().flatten();
        let more = more.filter(|(key, _)| !matches!(key.as_str(), "ours" | "peer" | "ratio"));
        let more: Vec<String> = more.map(|(key, value)| format!("{key}={value}")).collect();
        println!("{name:<14} {:>10} {:>10} {ratio:>7}  {}", figure("ours"), figure("peer"), more.join(" "));
        self.figures.insert(name.to_owned(), bench);
        let report = format!("{:#}\n", Value::Object(self.figures.clone()));
        fs::write(&self.path, report).map_err(file("write", &self.path))
    }
}

/// From the provider's start to the line that says where it listens.
fn provider() -> Result<Value, StepError> {
    let program = programs().join("terraform-provider-berth");
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let begun = Instant::now();
        let mut child = Command::new(&program)
            .env("TF_PLUGIN_MAGIC_COOKIE", "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2")
            .env("PLUGIN_PROTOCOL_VERSIONS", "6")
            .stdout(Stdio::piped())
            .spawn()
            .map_err(file("run", &program))?;
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            BufReader::new(out).read_line(&mut line).map_err(file("read from", &program))?;
        }
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
        let _ = child.kill();
        let _ = child.wait();
        if !line.starts_with("1|6|unix|") {
            return Err(StepError::Rule(format!("the provider said {line:?}")));
        }
    }
    let size = fs::metadata(&program).map_err(file("look at", &program))?.len();
    Ok(json!({ "ours": spread(&mut times), "bytes": size }))
}

fn compared(ours: &mut [f64], theirs: &mut [f64], mut more: Value) -> Value {
    more["ours"] = spread(ours);
    more["peer"] = spread(theirs);
    more["ratio"] = json!(
        more["ours"]["median"].as_f64().unwrap_or(f64::NAN)
            / more["peer"]["median"].as_f64().unwrap_or(f64::NAN)
    );
    more
}

fn spread(times: &mut [f64]) -> Value {
    times.sort_by(f64::total_cmp);
    let at = |part: usize| times.get(times.len().saturating_sub(1) * part / 100).copied();
    json!({ "median": at(50), "low": at(10), "high": at(90) })
}
