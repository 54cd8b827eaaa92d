//! An agent that is killed after changes that it makes of the host, while an instance is made, changed live, started anew,
//! rebuilt, stopped, seen to end, and deleted. What ran goes on running; the next agent ends in what the ledger wants; and
//! nothing is left of what was begun.
//!
//! It is killed after the last change of each step of the reconciler that an operation takes, after one of each kind in the
//! steps that the operation is there for, and after each that is named here; in `cargo xtask soak` after every change.

pub mod host;
mod trace;
mod world;

use std::collections::{BTreeMap, BTreeSet};

use nix::sys::signal::Signal;

use self::trace::{Operation, Trace};
use self::world::World;

/// More points than this would be an operation that never ends.
const MANY: usize = 400;
/// An operation and the one that takes it back have each their points.
const DIRECTIONS: usize = 2;

/// Has the agent killed in the operation, each time at another point; these are reached, as is each step of it.
fn killed_in(operation: Operation, has_beside: bool, named: &[&str]) {
    let every = std::env::var_os("BERTH_SOAK").is_some();
    let mut world = World::new(has_beside);
    let baselines = world.baselines(operation);
    let (mut times, mut idle) = (2, 0);
    let mut known = Vec::new();
    let mut left = BTreeSet::new();
    for round in 0..MANY {
        let before = world.prepare(operation, "before");
        let trace = Trace::start(&world.agent, &left);
        let done = world.perform(operation, times + 1);
        let seen = trace.end();
        let new: Vec<_> = seen.points.into_iter().filter(|point| !known.contains(point)).collect();
        known.extend(new.iter().cloned());
        let what = match &seen.killed {
            Some(point) => {
                world.agent.signal(Signal::SIGKILL);
                world.outlives_the_agent(operation, &before, point);
                world.agent.run(&[]);
                left.remove(point);
                idle = 0;
                format!("{operation:?}, killed after {point}")
            }
            None => {
                done.unwrap();
                idle += 1;
                format!("{operation:?}, done")
            }
        };
        let is_done = world.is_whole(operation, &before, &baselines, &what);
        times += usize::from(is_done);
        // Once it was done both ways all points are known; which of two comes first is sometimes chance.
        if every && round >= DIRECTIONS {
            left.extend(new);
        } else if round + 1 == DIRECTIONS {
            has_points(operation, &known, named);
            left = if every { known.iter().cloned().collect() } else { chosen(operation, &known, named) };
            idle = 0;
        }
        if round >= DIRECTIONS && (left.is_empty() || idle > DIRECTIONS) {
            let missed: Vec<_> = named.iter().filter(|name| left.contains(**name)).collect();
            assert!(missed.is_empty(), "{operation:?} was never killed after {missed:?}");
            return;
        }
    }
    panic!("{operation:?} never ended: {known:#?}");
}

/// Each step that the operation is there for has such points, and these are among them.
fn has_points(operation: Operation, points: &[String], named: &[&str]) {
    for step in trace::of(operation) {
        let start = format!("{step}: ");
        assert!(points.iter().any(|point| point.starts_with(&start)), "no point in {step}: {points:#?}");
    }
    for name in named {
        assert!(points.iter().any(|point| point == name), "{name} was never reached: {points:#?}");
    }
}

/// The last of each kind of call in the operation's own steps, the last of all in the others, and those that are named: what a
/// step has done by its end is what can be left behind.
fn chosen(operation: Operation, points: &[String], named: &[&str]) -> BTreeSet<String> {
    let own: Vec<_> = trace::of(operation).collect();
    // `Start: renameat spec.json`
    let kind = |point: &str| {
        let (step, change) = point.split_once(": ").unwrap();
        let call = change.split(' ').next().filter(|_| own.contains(&step));
        (step.to_owned(), call.map(str::to_owned))
    };
    let last: BTreeMap<_, _> = points.iter().map(|point| (kind(point), point.clone())).collect();
    last.into_values().chain(named.iter().map(|name| (*name).to_owned())).collect()
}

#[test]
fn killed_at_points_of_a_start() {
    let named = [
        ": fsync ledger.sqlite-wal",
        "EnsureNetwork: sendto RTM_NEWLINK",
        "EnsureNetwork: execve berth-bridge",
        "Start: renameat spec.json",
        "Start: execve berth-supervisor",
        "Start: fsync ledger.sqlite-wal",
    ];
    killed_in(Operation::Create, false, &named);
}

#[test]
fn killed_at_points_of_a_live_change() {
    let named = [
        ": fsync ledger.sqlite-wal",
        "ApplySettings: sendmsg request update",
        "ApplySettings: renameat spec.json",
    ];
    killed_in(Operation::Change, true, &named);
}

#[test]
fn killed_at_points_of_a_restart() {
    killed_in(Operation::Restart, true, &["Stop: sendmsg request stop", "Start: execve berth-supervisor"]);
}

#[test]
fn killed_at_points_of_a_rebuild() {
    let named = ["PrepareRootfs: mkdir rootfs-#", "Start: execve berth-supervisor"];
    killed_in(Operation::Rebuild, true, &named);
}

#[test]
fn killed_at_points_of_a_stop_and_a_start() {
    killed_in(Operation::Stop, true, &["Start: execve berth-supervisor"]);
}

#[test]
fn killed_at_points_of_an_exit() {
    killed_in(Operation::Exit, true, &["RecordExit: fsync ledger.sqlite-wal"]);
}

#[test]
fn killed_at_points_of_a_delete() {
    let named = ["Stop: sendmsg request stop", "RemoveData: unlinkat ID"];
    killed_in(Operation::Delete, false, &named);
}
