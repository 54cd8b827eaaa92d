//! Virtual machines under a real supervisor and QEMU's emulation, as containers are tested in `agent/runtime/tests`.

#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests.

#[path = "../../runtime/tests/support/mod.rs"]
mod support;

mod machines;

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use berth_runtime::client::{ClientError, Events, ExecStdio, Supervisor};
use berth_runtime::control::{Event, Update};
use berth_runtime::exit;
use berth_runtime::health::{HealthSpec, Probe, State};
use berth_runtime::launch::Stage;
use berth_runtime::mount::{MountSource, MountSpec};
use berth_runtime::spec::{LaunchSpec, RestartPolicy, VmSpec};
use machines::{bridges, interface, machine};
use support::{Instance, texts};

const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);

/// Under emulation, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn page() -> std::io::Result<String> {
    let mut stream = TcpStream::connect((ADDRESS, 80))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /page HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// What a process on the host sees of its own root.
fn seen(pid: i32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/root")).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn status(pid: i32, key: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    text.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim().to_owned()
}

/// A directory as `berth_storage::volume` makes it, with one file of the instance's root in it.
fn volume(instance: &Instance) -> (PathBuf, MountSpec) {
    let directory = instance.directory.path().join("volume");
    fs::create_dir_all(directory.join("data")).unwrap();
    fs::write(directory.join("data/kept"), "of the volume\n").unwrap();
    let source = MountSource::Volume { directory: directory.clone(), keep: Default::default() };
    let mount = MountSpec { name: "data".into(), target: "/data".into(), read_only: false, source };
    (directory.join("data"), mount)
}

/// On the loopback too, where the host has no way to.
async fn ports_are_tried_from_inside(
    instance: &Instance,
    spec: &mut LaunchSpec,
    supervisor: &Supervisor,
    events: &mut Events,
) {
    let http = |port, path: &str| Probe::Http { port, path: path.into(), tls: None };
    for (probe, state, output) in [
        (http(81, "/page"), State::Healthy, "HTTP/1.1 200 OK"),
        (http(81, "/none"), State::Unhealthy, "HTTP/1.1 404 Not Found"),
        (http(82, "/page"), State::Unhealthy, "Connection refused (os error 111)"),
        (Probe::Tcp { port: 82 }, State::Unhealthy, "Connection refused (os error 111)"),
        (Probe::Tcp { port: 81 }, State::Healthy, "connected"),
        (Probe::Tcp { port: 84 }, State::Healthy, "connected"),
        (http(83, "/"), State::Unhealthy, "no end within 1 s"),
    ] {
        spec.health =
            Some(HealthSpec { probe, interval_ms: 50, timeout_ms: 1_000, retries: 1, start_period_ms: 0 });
        supervisor.update(update(spec)).await.unwrap();
        let mut next = async || loop {
            if let Event::Health(health) = events.next().await.unwrap().unwrap() {
                break (health.state, health.output);
            }
        };
        assert_eq!(next().await.0, State::Starting, "{output}");
        assert_eq!(next().await, (state, output.to_owned()));
    }
    spec.health = None;
    supervisor.update(update(spec)).await.unwrap();
    // Not a connection is left of them.
    let script = "busybox netstat -tn | grep -c ESTABLISHED";
    assert_eq!(instance.exec(supervisor, &["sh", "-c", script]).await, (1, "0\n".into()));
    supervisor.reach(80).await.unwrap();
    for port in [81, 82] {
        let refused = supervisor.reach(port).await.unwrap_err().to_string();
        assert!(refused.contains("Connection refused"), "{refused}");
    }
}

fn update(spec: &LaunchSpec) -> Update {
    Update {
        restart: spec.restart,
        stop: spec.stop,
        cgroup: spec.cgroup.clone(),
        mounts: None,
        networks: None,
        writes: Vec::new(),
        notify: None,
        health: spec.health.clone(),
        machine: None,
        patience_ms: 0,
    }
}

#[tokio::test]
async fn a_machine_serves_is_entered_and_ends_in_order() {
    let mut netlink = bridges();
    let before: Vec<_> = netlink.links().unwrap().into_iter().map(|link| link.name).collect();
    let instance = Instance::new();
    let (data, mount) = volume(&instance);
    let script = "echo up on $(hostname); echo err >&2; mkdir -p /www; echo the page > /www/new; httpd -p 80 -h /www; \
                  httpd -p 127.0.0.1:81 -h /www; httpd -p '[::1]:84' -h /www; busybox nc -ll -p 83 -e sleep 1000 & busybox mv /www/new /www/page; trap 'echo bye; exit 5' TERM; while :; do sleep 0.1; done";
    let mut spec = machine(&instance, &["sh", "-c", script]);
    spec.networks.push(interface(0, ADDRESS.octets()));
    spec.mounts.push(mount);
    let probe = Probe::Exec { argv: ["cat", "/www/page"].map(Into::into).into() };
    spec.health =
        Some(HealthSpec { probe, interval_ms: 100, timeout_ms: 30_000, retries: 3, start_period_ms: 30_000 });
    let mut spawned = instance.spawn(&spec).await.unwrap();

    let mut events = spawned.supervisor.watch().await.unwrap();
    let health = loop {
        if let Event::Health(health) = events.next().await.unwrap().unwrap() {
            break health;
        }
    };
    assert_eq!((health.state, health.output.as_str()), (State::Healthy, "the page\n"));
    assert!(page().unwrap().ends_with("the page\n"));
    let usage = spawned.supervisor.usage().await.unwrap();
    assert!(usage.received_bytes > 0 && usage.sent_bytes > 0, "{usage:?}");

    ports_are_tried_from_inside(&instance, &mut spec, &spawned.supervisor, &mut events).await;

    // QEMU owns nothing, and sees nothing of the host but its own code.
    let owner = 1_000_000 + 65_534;
    assert_eq!(status(spawned.pid, "Uid:"), [owner; 4].map(|id: u32| id.to_string()).join("\t"));
    assert_eq!(
        (status(spawned.pid, "CapEff:"), status(spawned.pid, "Seccomp:")),
        ("0".repeat(16), "2".into())
    );
    let names = seen(spawned.pid);
    for hidden in ["home", "proc", "root", "run", "shared", "tmp", "var"] {
        assert!(!names.iter().any(|name| name == hidden), "{hidden} in {names:?}");
    }

    // Ids, the volume, what cannot be, and more output than any buffer holds.
    let script = "id -u; cat /data/kept; echo new > /data/made; ls /dev/vport0p1 /modules 2>&1 | wc -l";
    assert_eq!(
        instance.exec(&spawned.supervisor, &["sh", "-c", script]).await,
        (0, "0\nof the volume\n2\n".into())
    );
    assert_eq!(fs::read_to_string(data.join("made")).unwrap(), "new\n");
    assert_eq!(fs::metadata(data.join("made")).unwrap().uid(), 0, "as it is on the volume");
    let process = instance.process(&["sh", "-c", "dd if=/dev/zero bs=65536 count=80 2>/dev/null; exit 3"]);
    let (code, output) = instance.run(&spawned.supervisor, process).await;
    assert_eq!((code, output.len()), (3, 5 << 20));
    let mut process = instance.process(&["sh", "-c", "stty size; id -u; read line; stty size; echo $line"]);
    process.user = "web".into();
    let (mut session, stdio) = spawned.supervisor.exec(process, true).await.unwrap();
    let ExecStdio::Terminal(terminal) = stdio else { panic!("{stdio:?}") };
    let mut output = String::new();
    let mut read = async |until: &str| {
        let mut buffer = [0; 1024];
        while !output.contains(until) {
            let length = terminal.read(&mut buffer).await.unwrap();
            assert!(length > 0, "no {until:?} in {output:?}");
            output += std::str::from_utf8(&buffer[..length]).unwrap();
        }
    };
    read("24 80\r\n33\r\n").await;
    session.resize(33, 99).await.unwrap();
    terminal.write(b"typed\n").await.unwrap();
    read("33 99\r\ntyped\r\n").await;
    assert_eq!(session.wait().await.unwrap(), Some(0));
    let (code, said) = match spawned.supervisor.exec(instance.process(&["/no/such"]), false).await {
        Err(berth_runtime::client::ExecError::Launch(error)) => (error.errno, error.stage),
        other => panic!("{other:?}"),
    };
    assert_eq!((code, said), (2, Stage::Exec));

    spawned.supervisor.stop(false).await.unwrap();
    spawned.process.wait().await.unwrap();
    let record = exit::read(&spec.run_dir).unwrap();
    assert_eq!((record.code, record.signal, record.stopped, record.error), (5, None, true, None));
    let lines = texts(&spec.log.directory);
    for line in ["stdout F up on test", "stderr F err", "stdout F bye"] {
        assert!(lines.iter().any(|known| known == line), "no {line:?} in {lines:?}");
    }
    let after: Vec<_> = netlink.links().unwrap().into_iter().map(|link| link.name).collect();
    assert_eq!(before, after);
    instance.assert_nothing_left();
}

#[tokio::test]
async fn what_does_not_boot_or_run_says_why_and_leaves_nothing() {
    let instance = Instance::new();
    let failure = async |spec: LaunchSpec| match instance.spawn(&spec).await {
        Err(ClientError::Launch(error)) => error,
        other => panic!("{other:?}"),
    };
    let error = failure(machine(&instance, &["/no/such"])).await;
    assert_eq!((error.stage, error.errno, error.path.to_str()), (Stage::Exec, 2, Some("/no/such")));

    let change = |change: &dyn Fn(&mut VmSpec)| {
        let mut spec = machine(&instance, &["true"]);
        change(spec.vm.as_mut().unwrap());
        spec
    };
    let error = failure(change(&|vm| vm.qemu = "/usr/bin/no-qemu".into())).await;
    assert_eq!((error.stage, error.errno), (Stage::Boot, 2));
    // A kernel that is none: QEMU says so, and ends.
    let error = failure(change(&|vm| vm.kernel = "/bin/busybox".into())).await.to_string();
    assert!(error.starts_with("cannot boot the virtual machine: it has ended without a word"), "{error}");
    let error = failure(change(&|vm| vm.virtiofsd = "/usr/bin/true".into())).await.to_string();
    assert!(error.contains("virtiofsd"), "{error}");
    let error = failure(change(&|vm| vm.boot_timeout_ms = 50)).await.to_string();
    assert!(error.contains("not come up in time"), "{error}");
    assert!(exit::read(&instance.spec(&["true"]).run_dir).is_none());
    instance.assert_nothing_left();
}

#[tokio::test]
async fn a_machine_that_dies_is_started_again_and_its_changes_stay() {
    let instance = Instance::new();
    let mut spec =
        machine(&instance, &["sh", "-c", "test -e /once && exit 7; touch /once; echo up; sleep 1000"]);
    spec.restart.policy = RestartPolicy::OnFailure;
    spec.restart.max_retries = 1;
    spec.restart.backoff_ms = 10;
    let mut spawned = instance.spawn(&spec).await.unwrap();
    let mut events = spawned.supervisor.watch().await.unwrap();
    instance.wait_for_log("up").await;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(spawned.pid), nix::sys::signal::Signal::SIGKILL)
        .unwrap();
    let mut seen = Vec::new();
    while let Some(event) = events.next().await.unwrap() {
        match event {
            Event::Restarting { exit, .. } => {
                assert!(exit.error.as_ref().unwrap().contains("ended without a word"), "{exit:?}");
                seen.push(("restarting", exit.code));
            }
            Event::Gone(record) => seen.push(("gone", record.code)),
            Event::Started { restarts: 1, .. } => seen.push(("started", 0)),
            _ => {}
        }
    }
    assert_eq!(seen, [("restarting", 137), ("started", 0), ("gone", 7)]);
    spawned.process.wait().await.unwrap();
    instance.assert_nothing_left();
}
