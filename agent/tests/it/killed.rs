//! An agent that is killed in the middle of a pull: at every step that changes the store, and a hundred times at random.
//! The next agent finds a store that is whole, the next pull succeeds, and a removal leaves nothing.

use std::hash::{BuildHasher, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::world::{Agent, BERTH, Registry, Said, oci_layout};

/// Calls by which something of the store appears, changes its name, or goes.
const STEPS: &str = "rename,renameat,renameat2,unlink,unlinkat,rmdir,linkat";
/// More steps than this would be a pull that never ends.
const MANY: usize = 400;

/// A registry with an image of some layers, each with files small and large.
fn registry() -> Registry {
    let registry = Registry::start(false);
    let dir = tempfile::tempdir().unwrap();
    let layers: Vec<PathBuf> = (0..3).map(|number| layer(dir.path(), number)).collect();
    let layout = dir.path().join("layout");
    oci_layout(&layout, &layers);
    registry.push_layout(&layout, "steps:1");
    registry
}

fn layer(dir: &Path, number: u8) -> PathBuf {
    let root = dir.join(format!("root{number}"));
    std::fs::create_dir_all(root.join("bin")).unwrap();
    for (name, size) in [("small", 10), ("middle", 3000), ("large", 400_000), ("larger", 900_000)] {
        let byte = name.len() as u8 * 10 + number;
        std::fs::write(root.join(format!("{name}{number}")), vec![byte; size]).unwrap();
    }
    std::fs::copy("/bin/busybox", root.join("bin/sh")).unwrap();
    root
}

/// Everything in the store that belongs to images.
fn stored(agent: &Agent) -> Vec<PathBuf> {
    let images = agent.data().join("images");
    let list = |dir: PathBuf| std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let plain = ["layers", "manifests", "configs", "trees", "images", "tmp", "checkouts"];
    let plain = plain.into_iter().flat_map(|name| list(images.join(name)));
    plain.chain(list(images.join("objects")).flat_map(list)).collect()
}

fn pull(agent: &Agent) -> Said {
    agent.berth(&["image", "pull", "reg:steps:1"])
}

/// What the next agent must find and be able to do.
fn is_whole(agent: &Agent, what: &str) {
    let checked = agent.berth(&["image", "check"]);
    assert_eq!(checked.code, Some(0), "{what}: {checked:?}");
    let id = pull(agent);
    assert_eq!(id.code, Some(0), "{what}: {id:?}");
    let checked = agent.berth(&["image", "check"]);
    assert!(checked.code == Some(0) && checked.stdout.contains("1 images verified"), "{what}: {checked:?}");
    agent.berth(&["image", "rm", "reg:steps:1"]).ok();
    assert_eq!(stored(agent), Vec::<PathBuf>::new(), "{what}: something is left");
}

#[test]
fn a_kill_at_every_step_of_a_pull_loses_nothing() {
    let registry = registry();
    let mut agent = Agent::start();
    agent.berth(&["remote", "add", "reg", &registry.address(), "--insecure"]).ok();
    agent.signal(Signal::SIGTERM);
    for step in 1..MANY {
        let inject = format!("inject={STEPS}:signal=SIGKILL:when={step}");
        let trace = format!("trace={STEPS}");
        let strace = ["strace", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", "-e", &trace, "-e", &inject];
        let came_up = agent.run_under(&strace);
        let pulled = came_up && pull(&agent).code == Some(0);
        agent.end();
        agent.run(&[]);
        is_whole(&agent, &format!("killed at step {step}"));
        agent.signal(Signal::SIGTERM);
        if pulled {
            assert!(step > 20, "a pull of three layers has more steps than {step}");
            return;
        }
    }
    panic!("the pull never ended");
}

#[test]
fn a_hundred_kills_at_random_lose_nothing() {
    let registry = registry();
    let mut agent = Agent::start();
    agent.berth(&["remote", "add", "reg", &registry.address(), "--insecure"]).ok();
    let begun = Instant::now();
    pull(&agent).ok();
    let once = begun.elapsed();
    agent.berth(&["image", "rm", "reg:steps:1"]).ok();
    for kill in 0..100 {
        let random = std::hash::RandomState::new().build_hasher().finish();
        let after = Duration::from_micros(random % (once.as_micros() as u64 * 5 / 4).max(1));
        let mut pulling = Command::new(BERTH)
            .env("BERTH_HOST", agent.address())
            .args(["image", "pull", "reg:steps:1"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait(after);
        agent.signal(Signal::SIGKILL);
        pulling.wait().unwrap();
        agent.run(&[]);
        let checked = agent.berth(&["image", "check"]);
        assert_eq!(checked.code, Some(0), "kill {kill} after {after:?}: {checked:?}");
        if kill % 10 == 9 {
            is_whole(&agent, &format!("kill {kill} after {after:?}"));
        } else if agent.json(&["image", "ls"]).as_array().unwrap().len() == 1 {
            agent.berth(&["image", "rm", "reg:steps:1"]).ok();
        }
    }
    assert_eq!(stored(&agent), Vec::<PathBuf>::new());
}

#[allow(clippy::disallowed_methods, reason = "the moment of the kill is what is random")]
fn wait(time: Duration) {
    std::thread::sleep(time);
}
