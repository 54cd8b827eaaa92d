//! Starts, from the call to the entrypoint's first instruction, with a user namespace and seccomp; exec; many starts at once; and the
//! runtime by itself.

use std::process::Command;

use berth_acceptance_tests::command;
use serde_json::{Value, json};

use super::world::{World, default_seccomp};
use super::{MEMORY, Report, compared, failed, spread};
use crate::step::{StepError, find, programs};

const STARTS: &str = "41";
const EXECS: &str = "101";
const AT_ONCE: usize = 100;
const CROWDS: usize = 3;

/// All of them, by name.
pub fn run(report: &mut Report) -> Result<(), StepError> {
    report.add("start runtime", runtime()?)?;
    let world = World::new()?;
    let single = starts(&world, report)?;
    report.add("exec", exec(&world)?)?;
    for (network, single) in ["none", "default"].into_iter().zip(single) {
        let name = format!("start {AT_ONCE} {network}");
        report.add(&name, crowd(&world, network, single)?)?;
    }
    Ok(())
}

/// The runtime by itself: a container that runs `/bin/true` to its end.
fn runtime() -> Result<Value, StepError> {
    let crun = find("crun").ok_or_else(|| StepError::Rule("install the package crun".into()))?;
    let mut program = Command::new(programs().join("examples/start"));
    program.arg(programs().join("berth-supervisor")).arg(crun).arg(STARTS).env("TMPDIR", MEMORY);
    let figures = command::json(&mut program).map_err(failed)?;
    let median = |side: &str| figures[side]["median"].as_f64().unwrap_or(f64::NAN);
    Ok(json!({
        "ours": figures["ours"],
        "peer": figures["theirs"],
        "ratio": median("ours") / median("theirs"),
        "peer_is": "crun run, to the end of /bin/true",
    }))
}

/// The same container from the agent's API and from its peers, in turn; the medians without a network and on the bridge.
fn starts(world: &World, report: &mut Report) -> Result<[f64; 2], StepError> {
    world.place.give_to_podman("stamp:1")?;
    let limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];
    let podman = [&["run", "--rm", "--network", "none"], &limits[..], &["stamp:1", "/bin/sh"]].concat();
    let podman = world.place.podman(&podman)?;
    let bare = world.place.bundle("bare", &[], None)?;
    let filtered = world.place.bundle("filtered", &[], Some(default_seccomp()?))?;
    let crun = |bundle: &str| world.place.crun(&["run", "--bundle", bundle, "berth-bench"]);
    let peers = json!([crun(&bare)?, crun(&filtered)?, podman]).to_string();
    let alone = world.calls(&["start", &world.image, STARTS, "none", &peers])?;
    let peers = json!([crun(&bare)?]).to_string();
    let on_bridge = || world.calls(&["start", &world.image, STARTS, "default", &peers]);
    // Each by itself makes the bridge and the firewall's tables, and takes them away.
    let first = on_bridge()?;
    world.calls(&["stay", &world.image, "1", "default"])?;
    let bridged = on_bridge()?;
    world.agent.berth_ok(&["instance", "rm", "--force", "stay-0"]).map_err(failed)?;
    let mut add = |name: &str, of: &Value, peer: usize, bar: f64, peer_is: &str| {
        let more = json!({ "bar": bar, "answered": spread(&mut list(&of["answered"])), "peer_is": peer_is });
        report.add(name, compared(&mut list(&of["ours"]), &mut list(&of["peers"][peer]), more))
    };
    add("start podman", &alone, 2, 1.0 / 8.0, "podman run --network none, without a user namespace")?;
    add("start crun", &alone, 0, 1.0, "crun run of an unpacked bundle, without seccomp")?;
    add("start seccomp", &alone, 1, 1.0, "the same with Docker's seccomp profile")?;
    add("start first", &first, 0, 1.5, "the same; the first on its bridge, which goes with it")?;
    add("start bridge", &bridged, 0, 1.5, "crun run of an unpacked bundle, without seccomp and network")?;
    let median = |of: &Value| spread(&mut list(&of["ours"]))["median"].as_f64().unwrap_or(f64::NAN);
    Ok([median(&alone), median(&bridged)])
}

/// `/bin/true` in an instance that runs.
fn exec(world: &World) -> Result<Value, StepError> {
    let bundle = world.place.bundle("staying", &["stay"], None)?;
    let name = "berth-bench-exec";
    let run = world.place.crun(&["run", "--detach", "--bundle", &bundle, name])?;
    // What stays would hold a pipe open that somebody reads to its end.
    world.place.detach(&run)?;
    let figures = || {
        world.calls(&["stay", &world.image, "1", "none"])?;
        let peers = json!([world.place.crun(&["exec", name, "/bin/true"])?]).to_string();
        world.calls(&["exec", &id(world, "stay-0")?, EXECS, &peers])
    };
    let figures = figures();
    world.place.run(&world.place.crun(&["delete", "--force", name])?)?;
    let figures = figures?;
    let more = json!({ "bar": 1.0, "peer_is": "crun exec" });
    Ok(compared(&mut list(&figures["ours"]), &mut list(&figures["peers"][0]), more))
}

fn id(world: &World, name: &str) -> Result<String, StepError> {
    let found = world.agent.inspect(name).map_err(failed)?;
    Ok(found["id"].as_str().unwrap_or_default().to_owned())
}

/// Many starts asked for at once, against the sum of as many single ones divided by the cores.
fn crowd(world: &World, network: &str, single: f64) -> Result<Value, StepError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (mut ours, mut answered) = (Vec::new(), Vec::new());
    for _ in 0..CROWDS {
        let figures = world.calls(&["crowd", &world.image, &AT_ONCE.to_string(), network])?;
        ours.extend(figures["ours"].as_f64());
        answered.extend(figures["answered"].as_f64());
    }
    let share = single * AT_ONCE as f64 / cores as f64;
    let more = json!({
        "bar": 1.5, "answered": spread(&mut answered), "cores": cores,
        "peer_is": format!("{AT_ONCE} single starts of {single:.1} ms divided by the cores"),
    });
    Ok(compared(&mut ours, &mut [share], more))
}

fn list(value: &Value) -> Vec<f64> {
    value.as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
}
