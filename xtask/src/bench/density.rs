//! Two hundred instances that run: what each costs in memory, what the agent costs, and what it does while nothing happens.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::world::World;
use super::{Report, failed, spread};
use crate::step::{StepError, file, programs};

const INSTANCES: usize = 200;
const LISTS: usize = 21;
const REST: Duration = Duration::from_secs(20);

/// All of them, by name.
pub fn run(report: &mut Report) -> Result<(), StepError> {
    let world = World::new()?;
    let agent = world.agent.pid().ok_or_else(|| StepError::Rule("the agent does not run".into()))?;
    // The first instance makes what all others find: the bridge, its helper, the agent's threads.
    world.calls(&["stay", &world.image, "1", "default"])?;
    world.agent.berth_ok(&["instance", "rm", "--force", "stay-0"]).map_err(failed)?;
    let before = kib(agent, "Pss:")?;
    world.calls(&["stay", &world.image, &INSTANCES.to_string(), "default"])?;
    report.add("list", lists(&world)?)?;
    report.add("agent at rest", rest(agent)?)?;
    let grown = kib(agent, "Pss:")?.saturating_sub(before);
    let each = grown as f64 / INSTANCES as f64;
    report.add("agent memory", json!({ "kib_each": each, "bar": 150, "first_kib": before }))?;
    report.add("memory", supervisors(agent)?)
}

/// As a user sees it: the command's start to its end.
fn lists(world: &World) -> Result<Value, StepError> {
    let mut times = Vec::new();
    for _ in 0..LISTS {
        let begun = Instant::now();
        let listed = world.agent.berth_ok(&["instance", "ls"]).map_err(failed)?;
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
        if listed.lines().count() <= INSTANCES {
            return Err(StepError::Rule(format!("{} lines are listed", listed.lines().count())));
        }
    }
    Ok(json!({ "ours": spread(&mut times), "bar_ms": 50, "instances": INSTANCES }))
}

/// The part of one core that the agent takes while nobody asks it anything.
#[allow(clippy::disallowed_methods)] // A time is what is measured.
fn rest(agent: u32) -> Result<Value, StepError> {
    let before = (ticks(agent)?, Instant::now());
    std::thread::sleep(REST);
    let used = ticks(agent)?.saturating_sub(before.0) as f64 / TICKS_A_SECOND;
    let percent = used / before.1.elapsed().as_secs_f64() * 100.0;
    Ok(json!({ "percent_of_a_core": percent, "bar": 1 }))
}

/// What the kernel counts in, on every architecture that Linux tells users of.
const TICKS_A_SECOND: f64 = 100.0;

/// Time that a process has had.
fn ticks(pid: u32) -> Result<u64, StepError> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).map_err(file("read", Path::new(&path)))?;
    // The program's name may hold anything but ends with the last bracket.
    let fields: Vec<&str> = text.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    Ok([11, 12].into_iter().filter_map(|at| fields.get(at)?.parse::<u64>().ok()).sum())
}

/// Each supervisor with the pid 1 beside its workload: their part of what is shared counted as the kernel does.
fn supervisors(agent: u32) -> Result<Value, StepError> {
    let program = programs().join("berth-supervisor");
    let is_one = |pid: &u32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == program);
    let (mut alone, mut both) = (Vec::new(), Vec::new());
    for supervisor in children(agent)?.into_iter().filter(is_one) {
        let own = kib(supervisor, "Pss:")?;
        let inits = children(supervisor)?.into_iter().filter(is_one);
        let inits = inits.map(|pid| kib(pid, "Pss:")).sum::<Result<u64, StepError>>()?;
        alone.push(own as f64);
        both.push((own + inits) as f64);
    }
    if both.len() != INSTANCES {
        return Err(StepError::Rule(format!("{} supervisors run", both.len())));
    }
    Ok(json!({ "kib_each": spread(&mut both), "supervisor_kib": spread(&mut alone), "bar": 512 }))
}

fn children(pid: u32) -> Result<Vec<u32>, StepError> {
    let tasks = format!("/proc/{pid}/task");
    let tasks = fs::read_dir(&tasks).map_err(file("list", Path::new(&tasks)))?;
    let texts = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    Ok(texts
        .flat_map(|text| text.split_whitespace().filter_map(|it| it.parse().ok()).collect::<Vec<_>>())
        .collect())
}

fn kib(pid: u32, field: &str) -> Result<u64, StepError> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).map_err(file("read", Path::new(&path)))?;
    let value =
        text.lines().find_map(|line| line.strip_prefix(field)?.split_whitespace().next()?.parse().ok());
    value.ok_or_else(|| StepError::Rule(format!("{path} says nothing of {field}")))
}
