//! What a running program may use and do, and how its health is told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod support;

use std::time::Duration;

use berth_runtime::client::{ClientError, Events, Supervisor};
use berth_runtime::control::{Event, Update};
use berth_runtime::exit;
use berth_runtime::health::{HealthSpec, Probe, State};
use berth_runtime::spec::{LaunchSpec, RestartPolicy, RlimitSpec};
use support::{Instance, texts};

fn update(spec: &LaunchSpec) -> Update {
    Update {
        mounts: None,
        networks: None,
        writes: Vec::new(),
        notify: None,
        restart: spec.restart,
        stop: spec.stop,
        cgroup: spec.cgroup.clone(),
        health: spec.health.clone(),
        machine: None,
        patience_ms: 0,
    }
}

async fn refused(supervisor: &Supervisor, spec: &LaunchSpec) -> (String, Option<i32>) {
    match supervisor.update(update(spec)).await {
        Err(ClientError::LimitRefused { limit, source }) => (limit, source.raw_os_error()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn limits_change_under_a_running_program_or_not_at_all() {
    let instance = Instance::new();
    // 32 MiB of memory that cannot be given back.
    let script = "head -c 33554432 /dev/zero > /dev/shm/held; echo held; exec sleep 1000";
    let mut spec = instance.spec(&["sh", "-c", script]);
    let mut spawned = instance.spawn(&spec).await.unwrap();
    instance.wait_for_log("held").await;
    let supervisor = &spawned.supervisor;
    spec.cgroup.memory_bytes = Some(256 << 20);
    spec.cgroup.swap_bytes = Some(0);
    spec.cgroup.pids = Some(50);
    spec.cgroup.cpu_millis = Some(500);
    spec.cgroup.cpuset = Some("0".into());
    spec.cgroup.io_weight = Some(50);
    supervisor.update(update(&spec)).await.unwrap();
    let (_, cpus) = instance.exec(supervisor, &["grep", "Cpus_allowed_list", "/proc/self/status"]).await;
    assert_eq!(cpus.split_whitespace().last(), Some("0"), "an exec is bound too");
    let read = |file: &str| instance.limit(file);
    assert_eq!((read("memory.limit_in_bytes"), read("pids.max")), ("268435456".into(), "50".into()));
    assert_eq!((read("cpu.cfs_quota_us"), read("blkio.bfq.weight")), ("50000".into(), "50".into()));
    let before = supervisor.status().await.unwrap();

    let mut tight = spec.clone();
    tight.cgroup.pids = Some(60);
    tight.cgroup.memory_bytes = Some(8 << 20);
    assert_eq!(refused(supervisor, &tight).await, ("memory".into(), Some(16)));
    assert_eq!((read("memory.limit_in_bytes"), read("pids.max")), ("268435456".into(), "50".into()));
    let mut absent = spec.clone();
    absent.cgroup.cpuset = Some("4000".into());
    let (limit, errno) = refused(supervisor, &absent).await;
    assert_eq!(limit, "cpuset", "{errno:?}");
    assert_eq!(supervisor.status().await.unwrap(), before, "it goes on as it was");

    let usage = supervisor.usage().await.unwrap();
    assert!(usage.memory_bytes >= 32 << 20 && usage.memory_limit == Some(256 << 20), "{usage:?}");
    assert!(usage.pids >= 2 && usage.cpu_ns > 0, "{usage:?}");
    spec.cgroup.cpuset = None;
    supervisor.update(update(&spec)).await.unwrap();
    supervisor.stop(true).await.unwrap();
    spawned.process.wait().await.unwrap();
    instance.assert_nothing_left();
}

#[tokio::test]
async fn a_kill_for_want_of_memory_is_told_from_an_exit() {
    let instance = Instance::new();
    let mut spec = instance.spec(&["sh", "-c", "head -c 134217728 /dev/zero > /dev/shm/too-much"]);
    spec.kernel.shm_bytes = Some(256 << 20);
    spec.cgroup.memory_bytes = Some(16 << 20);
    spec.cgroup.swap_bytes = Some(0);
    let mut spawned = instance.spawn(&spec).await.unwrap();
    spawned.process.wait().await.unwrap();
    let record = exit::read(&spec.run_dir).unwrap();
    assert_eq!((record.code, record.oom_killed, record.stopped), (137, true, false));
    let mut spec = instance.spec(&["sh", "-c", "exit 137"]);
    spec.restart.policy = RestartPolicy::No;
    let mut spawned = instance.spawn(&spec).await.unwrap();
    spawned.process.wait().await.unwrap();
    let record = exit::read(&spec.run_dir).unwrap();
    assert_eq!((record.code, record.oom_killed), (137, false));
    instance.assert_nothing_left();
}

fn check(probe: Probe) -> Option<HealthSpec> {
    Some(HealthSpec { probe, interval_ms: 20, timeout_ms: 2_000, retries: 2, start_period_ms: 0 })
}

fn exec(script: &str) -> Probe {
    Probe::Exec { argv: ["sh", "-c", script].map(Into::into).into() }
}

async fn next_health(events: &mut Events) -> (State, String) {
    let wait = async {
        loop {
            match events.next().await.unwrap() {
                Some(Event::Health(health)) => return (health.state, health.output),
                Some(_) => {}
                None => panic!("the supervisor went"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap()
}

#[tokio::test]
async fn a_program_s_health_is_what_its_check_says() {
    let instance = Instance::new();
    let mut spec = instance.spec(&["sleep", "1000"]);
    spec.health = check(exec("echo looked; test -e /tmp/well"));
    let mut spawned = instance.spawn(&spec).await.unwrap();
    let supervisor = &spawned.supervisor;
    let mut events = supervisor.watch().await.unwrap();
    assert_eq!(next_health(&mut events).await, (State::Unhealthy, "exit code 1: looked\n".into()));
    instance.exec(supervisor, &["touch", "/tmp/well"]).await;
    assert_eq!(next_health(&mut events).await, (State::Healthy, "looked\n".into()));
    assert_eq!(supervisor.status().await.unwrap().health.unwrap().state, State::Healthy);
    // A program that takes too long is ended.
    let mut slow = check(exec("exec sleep 1000")).unwrap();
    slow.timeout_ms = 50;
    spec.health = Some(slow);
    supervisor.update(update(&spec)).await.unwrap();
    assert_eq!(next_health(&mut events).await.0, State::Starting);
    assert_eq!(next_health(&mut events).await, (State::Unhealthy, "no end within 0.05 s".into()));
    spec.health = None;
    supervisor.update(update(&spec)).await.unwrap();
    assert_eq!(supervisor.status().await.unwrap().health, None);
    let (_, programs) = instance.exec(supervisor, &["ls", "/proc"]).await;
    let programs = programs.lines().filter(|name| name.parse::<u32>().is_ok()).count();
    assert_eq!(programs, 3, "pid 1, the workload and ls itself");
    supervisor.stop(true).await.unwrap();
    spawned.process.wait().await.unwrap();
    instance.assert_nothing_left();
}

#[tokio::test]
async fn a_port_s_health_is_whether_it_answers_inside() {
    let instance = Instance::new();
    let script = "mkdir /tmp/www; echo fine > /tmp/www/up; httpd -p '[::1]:8081' -h /tmp/www; while [ ! -e /tmp/go ]; do sleep 0.01; done; \
                  exec httpd -f -p 8080 -h /tmp/www";
    let mut spec = instance.spec(&["sh", "-c", script]);
    spec.health = check(Probe::Tcp { port: 8080 });
    let mut spawned = instance.spawn(&spec).await.unwrap();
    let supervisor = &spawned.supervisor;
    let mut events = supervisor.watch().await.unwrap();
    let (state, output) = next_health(&mut events).await;
    assert!(state == State::Unhealthy && output.contains("refused"), "{output}");
    instance.exec(supervisor, &["touch", "/tmp/go"]).await;
    assert_eq!(next_health(&mut events).await, (State::Healthy, "connected".into()));
    for (port, path, wanted, line) in [
        (8080, "/up", State::Healthy, "HTTP/1.1 200 OK"),
        (8080, "/down", State::Unhealthy, "HTTP/1.1 404 Not Found"),
        (8081, "/up", State::Healthy, "HTTP/1.1 200 OK"),
    ] {
        spec.health = check(Probe::Http { port, path: path.into(), tls: None });
        supervisor.update(update(&spec)).await.unwrap();
        assert_eq!(next_health(&mut events).await.0, State::Starting);
        assert_eq!(next_health(&mut events).await, (wanted, line.into()));
    }
    supervisor.stop(true).await.unwrap();
    spawned.process.wait().await.unwrap();
    instance.assert_nothing_left();
}

#[tokio::test]
async fn what_a_program_may_is_what_its_spec_says() {
    let instance = Instance::new();
    let script = "grep -E 'CapEff|Seccomp:|NoNewPrivs|Groups' /proc/self/status; ulimit -n; ulimit -c; \
                  touch /here || echo read-only; cat /proc/sys/net/ipv4/ip_default_ttl /proc/sys/kernel/msgmax";
    let mut spec = instance.spec(&["sh", "-c", script]);
    spec.process.capabilities = Some(vec!["CAP_CHOWN".into(), "CAP_NET_ADMIN".into()]);
    spec.process.unfiltered = true;
    spec.process.no_new_privileges = true;
    spec.process.groups = vec!["web".into(), "777".into()];
    let rlimit = |name: &str, soft, hard| RlimitSpec { name: name.into(), soft, hard };
    spec.process.rlimits = vec![rlimit("nofile", 77, 99), rlimit("core", 0, 0)];
    spec.kernel.read_only_root = true;
    spec.kernel.sysctls =
        vec![("net.ipv4.ip_default_ttl".into(), "77".into()), ("kernel.msgmax".into(), "4097".into())];
    let mut spawned = instance.spawn(&spec).await.unwrap();
    spawned.process.wait().await.unwrap();
    let log = texts(&spec.log.directory).join("\n");
    for line in [
        "CapEff:\t0000000000001001",
        "Seccomp:\t0",
        "NoNewPrivs:\t1",
        "Groups:\t0 33 777 ",
        "F 77",
        "F 0",
        "F read-only",
        "F 4097",
    ] {
        assert!(log.contains(line), "no {line} in {log}");
    }
    spec.kernel.sysctls = vec![("net.ipv4.no_such".into(), "1".into())];
    match instance.spawn(&spec).await {
        Err(ClientError::Launch(error)) => assert_eq!(error.path.to_str(), Some("net.ipv4.no_such")),
        other => panic!("{other:?}"),
    }
    instance.assert_nothing_left();
}
