//! `cargo xtask bench`: a table, and `target/bench/report.json` with ours, the peer's, their ratio and the spread.
//!
//! Each figure and its peer's are taken in one run, in turn: a shared machine is noisy, and only ratios say something.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use berth_acceptance_tests::{Registry, command, images};
use serde_json::{Value, json};

use crate::Outcome;
use crate::step::{self, StepError, command as cargo, file, find, programs, target};
use crate::{build, setup};

const ROUNDS: usize = 5;
const STARTS: usize = 41;

/// Where in memory the benches write, so that no disk is measured.
const MEMORY: &str = "/dev/shm";

fn failed(error: berth_acceptance_tests::Error) -> StepError {
    StepError::Rule(error.to_string())
}

/// Runs all of them.
pub fn run() -> Outcome {
    setup::run()?;
    build::run()?;
    step::run(&mut cargo(
        "cargo",
        &["build", "--release", "--locked", "--package", "berth-image", "--example", "pull"],
    ))?;
    step::run(&mut cargo(
        "cargo",
        &["build", "--release", "--locked", "--package", "berth-runtime", "--example", "start"],
    ))?;
    let report = json!({ "provider": provider()?, "pull": pull()?, "start": start()? });
    println!("{:<10} {:>10} {:>10} {:>7}", "bench", "ours ms", "peer ms", "ratio");
    for (name, bench) in report.as_object().into_iter().flatten() {
        let figure = |side: &str| bench[side]["median"].as_f64().map_or("-".into(), |ms| format!("{ms:.1}"));
        let ratio = bench["ratio"].as_f64().map_or("-".into(), |ratio| format!("{ratio:.2}"));
        println!("{name:<10} {:>10} {:>10} {ratio:>7}", figure("ours"), figure("peer"));
    }
    let path = target().join("bench/report.json");
    fs::create_dir_all(target().join("bench")).map_err(file("make", &path))?;
    fs::write(&path, format!("{report:#}\n")).map_err(file("write", &path))
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

/// A pull of five layers against skopeo and umoci, both into memory.
fn pull() -> Result<Value, StepError> {
    let registry = Registry::start_on(&images::layered_storage().map_err(failed)?, Default::default())
        .map_err(failed)?;
    let reference = format!("{}/{}", registry.host(), images::layered().reference());
    let place = Path::new(MEMORY).join(format!("berth-bench-{}", std::process::id()));
    let (mut ours, mut theirs, mut peak) = (Vec::new(), Vec::new(), 0);
    for _ in 0..ROUNDS {
        fs::create_dir_all(&place).map_err(file("make", &place))?;
        let mut pull = Command::new(programs().join("examples/pull"));
        let pulled = command::json(pull.arg(&reference).arg(place.join("store"))).map_err(failed)?;
        ours.extend(pulled["milliseconds"].as_f64());
        peak = peak.max(pulled["peak_kib"].as_u64().unwrap_or(0));
        let begun = Instant::now();
        let layout = place.join("layout");
        command::run(
            Command::new("skopeo")
                .args(["--insecure-policy", "copy", "--quiet", "--src-tls-verify=false"])
                .arg(format!("docker://{reference}"))
                .arg(format!("oci:{}:latest", layout.display())),
        )
        .map_err(failed)?;
        command::run(
            Command::new("umoci")
                .args(["unpack", "--image"])
                .arg(format!("{}:latest", layout.display()))
                .arg(place.join("bundle")),
        )
        .map_err(failed)?;
        theirs.push(begun.elapsed().as_secs_f64() * 1000.0);
        fs::remove_dir_all(&place).map_err(file("remove", &place))?;
    }
    Ok(compared(&mut ours, &mut theirs, json!({ "peak_kib": peak, "peer_is": "skopeo copy, umoci unpack" })))
}

/// A container that runs `/bin/true`, against crun.
fn start() -> Result<Value, StepError> {
    let crun = find("crun").ok_or_else(|| StepError::Rule("install the package crun".into()))?;
    let mut program = Command::new(programs().join("examples/start"));
    program.arg(programs().join("berth-supervisor")).arg(crun).arg(STARTS.to_string()).env("TMPDIR", MEMORY);
    let figures = command::json(&mut program).map_err(failed)?;
    let median = |side: &str| figures[side]["median"].as_f64().unwrap_or(f64::NAN);
    Ok(json!({
        "ours": figures["ours"],
        "peer": figures["theirs"],
        "ratio": median("ours") / median("theirs"),
        "peer_is": "crun run",
    }))
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
