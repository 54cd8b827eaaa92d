//! An agent that is killed in the middle of a pull: at every step that changes the store, and a hundred times at random.
//! The next agent finds a store that is whole, the next pull succeeds, and a removal leaves nothing.

use std::hash::{BuildHasher, Hasher};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::world::{Agent, BERTH, Registry, Said, oci_layout};

/// Calls by which something of the store appears, changes its name, or goes.
const STEPS: &str = "rename,renameat,renameat2,unlink,unlinkat,rmdir,linkat";
/// Microseconds that each of them waits when it is done.
const DELAY: u32 = 10_000;
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

/// Kills the agent, of whose steps each line of the pipe tells, after this one; says whether it came to that. Each step waits
/// a little after it was told of, so that the kill comes before the next of the same thread.
fn killer(pipe: PathBuf, step: usize, armed: Arc<OnceLock<Pid>>) -> JoinHandle<bool> {
    std::thread::spawn(move || {
        let lines = BufReader::new(std::fs::File::open(pipe).unwrap()).lines();
        let mut steps = 0;
        for line in lines.map_while(Result::ok).filter(|line| line.contains("(DELAYED)")) {
            let Some(agent) = armed.get() else { continue };
            steps += 1;
            if steps == step {
                kill(*agent, Signal::SIGKILL).unwrap_or_else(|error| panic!("{line}: {error}"));
            }
        }
        steps >= step
    })
}

#[test]
fn a_kill_at_every_step_of_a_pull_loses_nothing() {
    let registry = registry();
    let mut agent = Agent::start();
    agent.berth(&["remote", "add", "reg", &registry.address(), "--insecure"]).ok();
    agent.signal(Signal::SIGTERM);
    for step in 1..MANY {
        let pipe = agent.dir.path().join(format!("steps{step}"));
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let armed = Arc::new(OnceLock::new());
        let killer = killer(pipe.clone(), step, Arc::clone(&armed));
        let (trace, delay) = (format!("trace={STEPS}"), format!("inject={STEPS}:delay_exit={DELAY}"));
        let strace = ["strace", "-f", "-qqq", "-o", pipe.to_str().unwrap(), "-e", &trace, "-e", &delay];
        assert!(agent.run_under(&strace));
        armed.set(agent.wrapped()).unwrap();
        let pulled = pull(&agent);
        agent.end();
        let killed = killer.join().unwrap();
        agent.run(&[]);
        is_whole(&agent, &format!("killed after step {step}"));
        agent.signal(Signal::SIGTERM);
        if !killed {
            assert_eq!(pulled.code, Some(0), "{pulled:?}");
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
