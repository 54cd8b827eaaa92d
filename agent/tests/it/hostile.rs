//! What must not bring an agent or its instances down: a power loss in the middle of a write, a full disk and a failing one, a
//! clock that jumps, a number of a process that is used again, requests that race, a loop of crashes.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::faults::host::{left, steady};
use crate::instances::{assert_nothing_left, bridge};
use crate::world::{Agent, Registry, Said, said};

fn with_registry(agent: Agent) -> (Registry, Agent) {
    let registry = Registry::start(false);
    agent.berth(&["remote", "add", "reg", &registry.address(), "--insecure"]).ok();
    (registry, agent)
}

fn launch(agent: &Agent, name: &str) -> Said {
    agent.berth(&["instance", "launch", "reg:tiny:1", "--name", name])
}

fn inspect(agent: &Agent, name: &str) -> Value {
    agent.berth(&["instance", "inspect", name]).json()
}

/// The parent of an instance's process.
fn supervisor(pid: &Value) -> Pid {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    Pid::from_raw(stat.rsplit(')').next().unwrap().split_whitespace().nth(1).unwrap().parse().unwrap())
}

#[allow(clippy::disallowed_methods, reason = "nothing tells when an instance has come to a state")]
fn until(agent: &Agent, name: &str, good: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let now = inspect(agent, name);
        if good(&now) {
            return now;
        }
        assert!(
            Instant::now() < deadline,
            "{now}\n{}",
            std::fs::read_to_string(agent.dir.path().join("log")).unwrap()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a file system may make of files that were written just before the power went: they are there and empty.
#[test]
fn files_that_a_power_loss_emptied_are_made_anew() {
    let (_registry, mut agent) = with_registry(Agent::start());
    launch(&agent, "web").ok();
    let before = inspect(&agent, "web");
    let id = before["id"].as_str().unwrap();
    agent.signal(Signal::SIGKILL);
    // Nothing outlives a power loss.
    kill(supervisor(&before["pid"]), Signal::SIGKILL).unwrap();
    let (run, data) = (agent.dir.path().join("run"), agent.data().join("instances").join(id));
    let own = run.join("instances").join(id);
    let emptied = [own.join("spec.json"), own.join("exit.json"), data.join("files/hosts.given")];
    let emptied =
        emptied.into_iter().chain(["resolv.conf", "hosts", "hostname"].map(|it| data.join("files").join(it)));
    for file in emptied {
        std::fs::write(file, "").unwrap();
    }
    agent.run(&[]);
    let after = until(&agent, "web", |now| now["status"] == "running" && now["pid"] != before["pid"]);
    assert_eq!((&after["id"], &after["ipv4_address"]), (&before["id"], &before["ipv4_address"]));
    let hosts = agent.berth(&["instance", "exec", "web", "--", "cat", "/etc/hosts"]).ok();
    assert!(hosts.contains("web") && hosts.contains("localhost"), "{hosts}");
    let bridge = bridge(&agent);
    agent.berth(&["instance", "rm", "--force", "web"]).ok();
    assert_nothing_left(&agent, &bridge);
}

/// A small file system, for as long as it is held.
struct Small<'a>(&'a Path);

impl<'a> Small<'a> {
    fn mount(path: &'a Path, options: &str) -> Self {
        std::fs::create_dir_all(path).unwrap();
        said(Command::new("mount").args(["-t", "tmpfs", "-o", options, "small"]).arg(path), b"").ok();
        Self(path)
    }

    fn remount(&self, options: &str) {
        said(Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(self.0), b"").ok();
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).output();
    }
}

#[test]
fn a_disk_without_room_or_inodes_is_named_and_what_runs_goes_on() {
    let place = tempfile::tempdir().unwrap();
    let dir = tempfile::tempdir_in(place.path()).unwrap();
    let data = dir.path().join("data");
    let small = Small::mount(&data, "size=64m,nr_inodes=4000");
    let (_registry, agent) = with_registry(Agent::start_on(dir));
    launch(&agent, "web").ok();
    let before = inspect(&agent, "web");
    let writes = |name: &str| {
        agent.berth(&["instance", "exec", name, "--", "sh", "-c", "echo x > /file && cat /file"])
    };
    assert_eq!(writes("web").ok(), "x\n");
    let filling = data.join("filling");
    for what in ["room", "inodes"] {
        if what == "room" {
            let _full = said(
                Command::new("dd").args(["if=/dev/zero", "bs=64k"]).arg(format!("of={}", filling.display())),
                b"",
            );
        } else {
            let used = said(Command::new("df").args(["--output=iused"]).arg(&data), b"").ok();
            small.remount(&format!("nr_inodes={}", used.lines().nth(1).unwrap().trim()));
        }
        let refused = launch(&agent, "other");
        assert_eq!(refused.code, Some(1), "{what}: {refused:?}");
        assert!(
            refused.stderr.to_lowercase().contains("space") || refused.stderr.contains("full"),
            "{what}: {refused:?}"
        );
        let now = inspect(&agent, "web");
        assert_eq!((&now["pid"], &now["status"]), (&before["pid"], &json!("running")), "{what}");
        assert_eq!(
            agent.json(&["instance", "ls"]).as_array().unwrap().len(),
            1,
            "{what}: half of it is there"
        );
        let _ = std::fs::remove_file(&filling);
        small.remount("nr_inodes=4000");
        launch(&agent, "other").ok();
        assert_eq!(writes("other").ok(), "x\n", "{what}");
        agent.berth(&["instance", "rm", "--force", "other"]).ok();
    }
    agent.berth(&["instance", "rm", "--force", "web"]).ok();
    drop(agent);
}

/// Each call of a kind fails, or each but a thread's first: what a start needs, its undoing may need too.
#[test]
fn a_disk_that_fails_is_named_and_what_was_begun_goes() {
    let (_registry, agent) = with_registry(Agent::start());
    launch(&agent, "other").ok();
    let before = inspect(&agent, "other");
    let mark = bridge(&agent).trim_end_matches('0').to_owned();
    launch(&agent, "web").ok();
    agent.berth(&["instance", "rm", "--force", "web"]).ok();
    let without = steady(&agent, &mark);
    let mut failed = Vec::new();
    for call in ["mkdir", "fsync", "renameat", "unlinkat", "unlink", "pwrite64"] {
        for when in ["1+", "2+"] {
            let fault = Fault::begin(&agent, &format!("{call}:error=EIO:when={when}"));
            let launched = launch(&agent, "web");
            let removed = agent.berth(&["instance", "rm", "--force", "web"]);
            drop(fault);
            for said in [&launched, &removed].into_iter().filter(|said| said.code != Some(0)) {
                let is_named = ["os error 5", "I/O error", "There is no instance"]
                    .iter()
                    .any(|it| said.stderr.contains(it));
                assert!(is_named, "{call} {when}: {said:?}");
            }
            failed.extend((launched.code != Some(0)).then_some(call));
            let now = inspect(&agent, "other");
            assert_eq!((&now["pid"], &now["status"]), (&before["pid"], &json!("running")), "{call} {when}");
            agent.berth(&["instance", "rm", "--force", "web"]);
            assert_eq!(left(&without, &agent, &mark), Vec::<String>::new(), "{call} {when}");
        }
    }
    let needed = ["mkdir", "fsync", "renameat", "pwrite64"];
    assert!(needed.iter().all(|call| failed.contains(call)), "a start did not need the rest: {failed:?}");
    launch(&agent, "web").ok();
    for name in ["web", "other"] {
        agent.berth(&["instance", "rm", "--force", name]).ok();
    }
}

/// Calls of an agent that fail until it is dropped.
struct Fault(Child);

impl Fault {
    fn begin(agent: &Agent, inject: &str) -> Self {
        let call = inject.split(':').next().unwrap();
        let mut command = Command::new("strace");
        command.args(["-f", "-b", "execve", "-p", &agent.pid().to_string()]);
        command.args(["-e", &format!("trace={call},execve"), "-e", &format!("inject={inject}")]);
        let mut strace = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(strace.stderr.take().unwrap()).lines().map_while(Result::ok);
        let begun = lines.next().unwrap_or_default();
        assert!(begun.contains("attached"), "{begun}");
        // It must not have to wait for a reader.
        std::thread::spawn(move || lines.count());
        Self(strace)
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(i32::try_from(self.0.id()).unwrap()), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

/// What the C library tells of the time, and with it the agent: that of the host and so many seconds more.
const CLOCK: &str = r#"
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *now) {
    long failed = syscall(SYS_clock_gettime, clock, now);
    FILE *file = failed || clock != CLOCK_REALTIME ? NULL : fopen(OFFSET, "re");
    long offset = 0;
    if (file) {
        if (fscanf(file, "%ld", &offset) == 1) now->tv_sec += offset;
        fclose(file);
    }
    return failed;
}
"#;

#[test]
fn a_clock_that_jumps_neither_ends_nor_holds_up_anything() {
    let place = tempfile::tempdir().unwrap();
    let (offset, library) = (place.path().join("offset"), place.path().join("clock.so"));
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-xc", &format!("-DOFFSET=\"{}\"", offset.display()), "-o"]);
    said(compiler.args([library.as_os_str(), "-".as_ref()]), CLOCK.as_bytes()).ok();
    let preload = [("LD_PRELOAD", library.to_str().unwrap())];
    let (_registry, mut agent) = with_registry(Agent::start_in(&preload));
    launch(&agent, "web").ok();
    let before = inspect(&agent, "web");
    for seconds in ["-3600", "86400", "0"] {
        std::fs::write(&offset, seconds).unwrap();
        let crash = [
            "instance",
            "launch",
            "reg:tiny:1",
            "--name",
            "crash",
            "--",
            "/bin/sh",
            "-c",
            "echo try; exit 3",
        ];
        agent.berth(&crash).ok();
        let now = until(&agent, "crash", |now| now["restarts"].as_u64().unwrap() >= 2);
        // By the clock that jumped: an agent that does not see it would prove nothing.
        let created: jiff::Timestamp = now["created_at"].as_str().unwrap().parse().unwrap();
        let ahead = created.duration_since(jiff::Timestamp::now()).as_secs();
        assert!((ahead - seconds.parse::<i64>().unwrap()).abs() < 60, "{seconds}: {now}");
        assert!(agent.berth(&["instance", "logs", "crash"]).ok().contains("try"));
        agent.berth(&["instance", "restart", "--force", "crash"]).ok();
        agent.berth(&["instance", "rm", "--force", "crash"]).ok();
        agent.signal(Signal::SIGKILL);
        agent.run(&[]);
        let now = inspect(&agent, "web");
        assert_eq!((&now["pid"], &now["status"]), (&before["pid"], &json!("running")), "{seconds}");
        assert_eq!(now["started_at"], before["started_at"], "{seconds}");
    }
    agent.berth(&["instance", "rm", "--force", "web"]).ok();
}

/// A program under the number that another had.
fn with_number(number: Pid) -> Child {
    for _ in 0..10_000 {
        std::fs::write("/proc/sys/kernel/ns_last_pid", (number.as_raw() - 1).to_string()).unwrap();
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        if i32::try_from(child.id()).unwrap() == number.as_raw() {
            return child;
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    panic!("{number} is never free");
}

#[test]
fn processes_with_the_numbers_of_an_instance_s_are_left_alone() {
    let (_registry, mut agent) = with_registry(Agent::start());
    launch(&agent, "web").ok();
    let before = inspect(&agent, "web")["pid"].clone();
    let workload = Pid::from_raw(before.as_i64().unwrap().try_into().unwrap());
    let numbers = [supervisor(&before), workload];
    agent.signal(Signal::SIGKILL);
    kill(numbers[0], Signal::SIGKILL).unwrap();
    let mut others = numbers.map(with_number);
    agent.run(&[]);
    until(&agent, "web", |now| now["status"] == "running" && now["pid"] != before);
    agent.berth(&["instance", "restart", "--force", "web"]).ok();
    agent.berth(&["instance", "rm", "--force", "web"]).ok();
    for other in &mut others {
        assert!(other.try_wait().unwrap().is_none(), "another's process was ended");
        other.kill().unwrap();
        other.wait().unwrap();
    }
}

#[test]
fn a_loop_of_crashes_goes_on_counting_under_another_agent() {
    let (_registry, mut agent) = with_registry(Agent::start());
    agent
        .berth(&["instance", "launch", "reg:tiny:1", "--name", "crash", "--", "/bin/sh", "-c", "exit 3"])
        .ok();
    let restarts = |now: &Value| now["restarts"].as_u64().unwrap();
    let before = until(&agent, "crash", |now| restarts(now) >= 3);
    agent.signal(Signal::SIGKILL);
    agent.run(&[]);
    // Its delay has doubled three times: an agent that began anew would start it at once, and more than once.
    let after = inspect(&agent, "crash");
    assert!(
        restarts(&after) >= restarts(&before) && restarts(&after) <= restarts(&before) + 2,
        "{before}\n{after}"
    );
    until(&agent, "crash", |now| restarts(now) > restarts(&before));
    agent.berth(&["instance", "stop", "--force", "crash"]).ok();
    assert_eq!(inspect(&agent, "crash")["status"], "stopped");
    agent.berth(&["instance", "rm", "--force", "crash"]).ok();
}

#[test]
fn starts_stops_and_restarts_at_once_end_in_what_one_of_them_asked_for() {
    let (_registry, agent) = with_registry(Agent::start());
    launch(&agent, "web").ok();
    let bridge = bridge(&agent);
    let mark = bridge.trim_end_matches('0').to_owned();
    let running = steady(&agent, &mark);
    for _ in 0..4 {
        std::thread::scope(|scope| {
            for verb in ["stop", "restart", "start", "restart", "stop"] {
                let force: &[&str] = if verb == "start" { &[] } else { &["--force"] };
                let agent = &agent;
                scope.spawn(move || agent.berth(&[&["instance", verb], force, &["web"]].concat()).ok());
            }
        });
        let now = inspect(&agent, "web");
        let runs = now["pid"].as_u64().is_some_and(|pid| Path::new(&format!("/proc/{pid}/exe")).exists());
        assert_eq!(now["status"], if runs { "running" } else { "stopped" }, "{now}");
        agent.berth(&["instance", "start", "web"]).ok();
        assert_eq!(left(&running, &agent, &mark), Vec::<String>::new(), "there are two of it");
    }
    agent.berth(&["instance", "stop", "--force", "web"]).ok();
    let now = inspect(&agent, "web");
    assert_eq!((&now["status"], &now["pid"]), (&json!("stopped"), &Value::Null));
    agent.berth(&["instance", "rm", "--force", "web"]).ok();
    assert_nothing_left(&agent, &bridge);
}

#[test]
fn a_pull_a_launch_a_removal_and_a_prune_at_once_lose_nothing() {
    let (_registry, agent) = with_registry(Agent::start());
    for round in 0..4 {
        let launched = std::thread::scope(|scope| {
            let agent = &agent;
            let launched = scope.spawn(move || launch(agent, "web"));
            for _ in 0..2 {
                scope.spawn(move || agent.berth(&["image", "pull", "reg:tiny:1"]));
                scope.spawn(move || agent.berth(&["image", "rm", "reg:tiny:1"]));
                scope.spawn(move || agent.berth(&["image", "prune"]));
            }
            launched.join().unwrap()
        });
        launched.ok();
        let said = agent.berth(&["instance", "exec", "web", "--", "cat", "/var/data/seed"]).ok();
        assert_eq!(said, "from the image\n", "round {round}");
        assert_eq!(agent.berth(&["image", "check"]).code, Some(0), "round {round}");
        agent.berth(&["instance", "rm", "--force", "web"]).ok();
        agent.berth(&["image", "rm", "reg:tiny:1"]);
        assert_eq!(agent.json(&["image", "ls"]), json!([]), "round {round}");
    }
}

/// A supervisor that is killed leaves what only another process can remove.
#[test]
fn a_killed_supervisor_leaves_nothing_once_its_instance_is_deleted() {
    let (_registry, agent) = with_registry(Agent::start());
    launch(&agent, "other").ok();
    let bridge = bridge(&agent);
    let mark = bridge.trim_end_matches('0').to_owned();
    let before = steady(&agent, &mark);
    launch(&agent, "web").ok();
    let running = steady(&agent, &mark);
    // One that has run for a moment only is started again later, not at once.
    let pid = inspect(&agent, "web")["pid"].clone();
    kill(supervisor(&pid), Signal::SIGKILL).unwrap();
    let again = until(&agent, "web", |now| now["status"] == "running" && now["pid"] != pid);
    assert_eq!(left(&running, &agent, &mark), Vec::<String>::new());
    kill(supervisor(&again["pid"]), Signal::SIGKILL).unwrap();
    agent.berth(&["instance", "rm", "--force", "web"]).ok();
    assert_eq!(left(&before, &agent, &mark), Vec::<String>::new());
    agent.berth(&["instance", "rm", "--force", "other"]).ok();
    assert_nothing_left(&agent, &bridge);
}
