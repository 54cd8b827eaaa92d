//! A real supervisor with a real container on this kernel. The root file system is busybox in a plain directory.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use berth_runtime::client::{self, ClientError, ExecStdio};
use berth_runtime::control::{Event, State};
use berth_runtime::exit;
use berth_runtime::launch::Stage;
use berth_runtime::spec::RestartPolicy;
use support::{Instance, texts};

#[tokio::test]
async fn a_program_runs_and_its_output_and_exit_code_are_kept() {
    let instance = Instance::new();
    let spec = instance.spec(&["sh", "-c", "echo out; echo err >&2; exit 3"]);
    let mut spawned = instance.spawn(&spec).await.unwrap();
    spawned.process.wait().await.unwrap();
    let record = exit::read(&spec.run_dir).unwrap();
    assert_eq!((record.code, record.signal, record.stopped), (3, None, false));
    let mut lines = texts(&spec.log.directory);
    lines.sort();
    assert_eq!(lines, ["stderr F err", "stdout F out"]);
    instance.assert_nothing_left();
}

#[tokio::test]
async fn a_stop_ends_a_program_by_its_signal_and_kills_one_that_will_not() {
    let instance = Instance::new();
    let mut spec =
        instance.spec(&["sh", "-c", "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.1; done"]);
    let mut spawned = instance.spawn(&spec).await.unwrap();
    instance.wait_for_log("up").await;
    spawned.supervisor.stop(false).await.unwrap();
    spawned.process.wait().await.unwrap();
    let record = exit::read(&spec.run_dir).unwrap();
    assert_eq!((record.code, record.stopped), (0, true));

    spec.process.argv =
        ["sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.1; done"].map(Into::into).into();
    spec.stop.timeout_ms = 200;
    let mut spawned = instance.spawn(&spec).await.unwrap();
    instance.wait_for_log("deaf").await;
    spawned.supervisor.stop(false).await.unwrap();
    spawned.process.wait().await.unwrap();
    let record = exit::read(&spec.run_dir).unwrap();
    assert_eq!((record.code, record.signal, record.stopped), (137, Some(9), true));
    instance.assert_nothing_left();
}

#[tokio::test]
async fn what_cannot_start_says_why_and_leaves_nothing() {
    let instance = Instance::new();
    let failure = async |change: &dyn Fn(&mut berth_runtime::spec::LaunchSpec)| {
        let mut spec = instance.spec(&["true"]);
        change(&mut spec);
        match instance.spawn(&spec).await {
            Err(ClientError::Launch(error)) => (error.stage, error.errno, error.path.display().to_string()),
            other => panic!("{other:?}"),
        }
    };
    let (enoent, eacces) = (2, 13);
    assert_eq!(
        failure(&|spec| spec.process.argv = vec!["/no/such".into()]).await,
        (Stage::Exec, enoent, "/no/such".into())
    );
    assert_eq!(
        failure(&|spec| spec.process.argv = vec!["nothing".into()]).await,
        (Stage::Exec, enoent, "nothing".into())
    );
    assert_eq!(
        failure(&|spec| spec.process.argv = vec!["/etc/passwd".into()]).await,
        (Stage::Exec, eacces, "/etc/passwd".into())
    );
    assert_eq!(
        failure(&|spec| spec.process.user = "ghost".into()).await,
        (Stage::User, enoent, "ghost".into())
    );
    assert_eq!(
        failure(&|spec| spec.process.user = "0:ghosts".into()).await,
        (Stage::Group, enoent, "ghosts".into())
    );
    let (stage, _, path) = failure(&|spec| spec.process.working_dir = "/etc/passwd".into()).await;
    assert_eq!((stage, path.as_str()), (Stage::WorkingDir, "/etc/passwd"));
    // Whatever the supervisor has open by then, a directory of the host's or not (CVE-2024-21626).
    for number in 3..20 {
        let inherited = format!("/proc/self/fd/{number}");
        let (stage, _, path) = failure(&|spec| spec.process.working_dir = inherited.clone()).await;
        assert_eq!((stage, path), (Stage::WorkingDir, inherited));
    }
    // Less than a thousandth of a second each tenth: the kernel will not have it.
    let (stage, ..) = failure(&|spec| spec.cgroup.cpu_millis = Some(1)).await;
    assert_eq!(stage, Stage::Cgroup);
    instance.assert_nothing_left();
}

#[tokio::test]
async fn the_policy_starts_a_program_again_and_gives_up_when_told() {
    let instance = Instance::new();
    let mut spec = instance.spec(&["sh", "-c", "echo try; exit 1"]);
    spec.restart.policy = RestartPolicy::OnFailure;
    spec.restart.max_retries = 2;
    spec.restart.backoff_ms = 10;
    let mut spawned = instance.spawn(&spec).await.unwrap();
    spawned.process.wait().await.unwrap();
    let record = exit::read(&spec.run_dir).unwrap();
    assert_eq!((record.code, record.restarts), (1, 2));
    assert_eq!(texts(&spec.log.directory), ["stdout F try"; 3]);
    instance.assert_nothing_left();
}

#[tokio::test]
async fn events_tell_of_restarts_and_of_the_end() {
    let instance = Instance::new();
    let mut spec = instance.spec(&[
        "sh",
        "-c",
        "read line < /dev/null; test -e /once && exec sleep 1000; touch /once; exit 1",
    ]);
    spec.restart.policy = RestartPolicy::Always;
    spec.restart.backoff_ms = 300;
    let mut spawned = instance.spawn(&spec).await.unwrap();
    let mut events = spawned.supervisor.watch().await.unwrap();
    let mut seen = Vec::new();
    while let Some(event) = events.next().await.unwrap() {
        match event {
            Event::Started { restarts: 1, .. } => {
                seen.push("started again");
                spawned.supervisor.stop(true).await.unwrap();
            }
            Event::Started { .. } => seen.push("started"),
            other @ (Event::Addresses { .. } | Event::Health(_)) => panic!("{other:?}"),
            Event::Restarting { exit, .. } => {
                assert_eq!(exit.code, 1);
                seen.push("restarting");
            }
            Event::Gone(record) => {
                assert!(record.stopped);
                seen.push("gone");
            }
        }
    }
    seen.retain(|what| *what != "started");
    assert_eq!(seen, ["restarting", "started again", "gone"]);
    spawned.process.wait().await.unwrap();
    instance.assert_nothing_left();
}

#[tokio::test]
async fn a_supervisor_is_found_again_by_who_did_not_start_it() {
    let instance = Instance::new();
    let spec = instance.spec(&["sleep", "1000"]);
    let mut spawned = instance.spawn(&spec).await.unwrap();
    let (supervisor, status) = client::adopt(&spec.run_dir).await.unwrap().unwrap();
    let State::Running { pid, .. } = status.state else { panic!("{status:?}") };
    assert_eq!(pid, spawned.pid);
    supervisor.stop(true).await.unwrap();
    spawned.process.wait().await.unwrap();
    assert!(client::adopt(&spec.run_dir).await.unwrap().is_none());
    instance.assert_nothing_left();
}

#[tokio::test]
async fn a_killed_agent_leaves_its_container_running() {
    let instance = Instance::new();
    let spec = instance.spec(&["sh", "-c", "echo up; sleep 1000"]);
    let mut agent = instance.spawn_by_another(&spec);
    instance.wait_for_log("up").await;
    agent.kill().unwrap();
    agent.wait().unwrap();
    let (supervisor, status) = client::adopt(&spec.run_dir).await.unwrap().expect("it runs on");
    assert!(matches!(status.state, State::Running { .. }), "{status:?}");
    assert_eq!(instance.exec(&supervisor, &["true"]).await.0, 0);
    let mut events = supervisor.watch().await.unwrap();
    supervisor.stop(true).await.unwrap();
    while events.next().await.unwrap().is_some() {}
    instance.assert_nothing_left();
}

#[tokio::test]
async fn a_killed_supervisor_takes_its_container_along() {
    let instance = Instance::new();
    let spec = instance.spec(&["sleep", "1000"]);
    let mut spawned = instance.spawn(&spec).await.unwrap();
    let pidfd = berth_sys::process::open_pidfd(nix::unistd::Pid::from_raw(spawned.pid)).unwrap();
    spawned.process.kill().await.unwrap();
    #[allow(deprecated)] // Deprecated for types that may close their descriptor under it.
    let ended = tokio::io::unix::AsyncFd::new(pidfd).unwrap();
    let _ = ended.readable().await.unwrap();
    instance.remove_cgroup();
    instance.assert_nothing_left();
}

#[tokio::test]
async fn exec_is_inside_all_namespaces_with_the_workloads_privileges() {
    let instance = Instance::new();
    let spec = instance.spec(&["sleep", "1000"]);
    let mut spawned = instance.spawn(&spec).await.unwrap();
    let script = "for n in user mnt pid ipc uts net cgroup; do readlink /proc/self/ns/$n; done; grep -E 'Cap|Seccomp:|NoNewPrivs' /proc/self/status";
    let (code, inside) = instance.exec(&spawned.supervisor, &["sh", "-c", script]).await;
    assert_eq!(code, 0);
    let mut expected = String::new();
    for namespace in ["user", "mnt", "pid", "ipc", "uts", "net", "cgroup"] {
        let link = std::fs::read_link(format!("/proc/{}/ns/{namespace}", spawned.pid)).unwrap();
        let host = std::fs::read_link(format!("/proc/self/ns/{namespace}")).unwrap();
        assert_ne!(link, host, "{namespace}");
        expected += &format!("{}\n", link.display());
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", spawned.pid)).unwrap();
    for line in status.lines() {
        if line.starts_with("Cap") || line.starts_with("Seccomp:") || line.starts_with("NoNewPrivs") {
            expected += &format!("{line}\n");
        }
    }
    assert_eq!(inside, expected);
    assert!(inside.contains("CapBnd:\t00000000a80425fb"), "Docker's default set: {inside}");
    assert!(inside.contains("Seccomp:\t2"), "{inside}");
    spawned.supervisor.stop(true).await.unwrap();
    spawned.process.wait().await.unwrap();
    instance.assert_nothing_left();
}

#[tokio::test]
async fn an_execs_streams_can_be_opened_again() {
    let instance = Instance::new();
    let mut spawned = instance.spawn(&instance.spec(&["sleep", "1000"])).await.unwrap();
    let script = "echo out > /dev/stdout; echo err > /dev/stderr; cat < /dev/stdin";
    for user in ["", "web"] {
        let mut process = instance.process(&["sh", "-c", script]);
        process.user = user.into();
        assert_eq!(instance.run(&spawned.supervisor, process).await, (0, "out\nerr\n".into()), "{user}");
    }
    spawned.supervisor.stop(true).await.unwrap();
    spawned.process.wait().await.unwrap();
    instance.assert_nothing_left();
}

#[tokio::test]
async fn exec_has_an_exit_code_a_user_and_a_terminal() {
    let instance = Instance::new();
    let spec = instance.spec(&["sleep", "1000"]);
    let mut spawned = instance.spawn(&spec).await.unwrap();
    let mut process = instance.process(&["sh", "-c", "tty; id -u; stty size; exit 7"]);
    process.user = "web".into();
    let (mut session, stdio) = spawned.supervisor.exec(process, true).await.unwrap();
    let ExecStdio::Terminal(terminal) = stdio else { panic!("{stdio:?}") };
    let mut output = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        match terminal.read(&mut buffer).await.unwrap() {
            0 => break,
            length => output.extend_from_slice(&buffer[..length]),
        }
    }
    assert_eq!(session.wait().await.unwrap(), Some(7));
    let output = String::from_utf8(output).unwrap();
    assert!(output.starts_with("/dev/pts/0\r\n33\r\n"), "{output}");
    spawned.supervisor.stop(true).await.unwrap();
    spawned.process.wait().await.unwrap();
    instance.assert_nothing_left();
}

#[tokio::test]
async fn arguments_and_variables_of_any_bytes_reach_the_program() {
    let instance = Instance::new();
    let script = r#"printf '%s|%s' "$1" "$ODD" | od -An -tx1"#;
    let mut spec = instance.spec(&["sh", "-c", script, "sh"]);
    spec.process.argv.push(b"\xff'\"\n\xc3".to_vec().into());
    spec.process.environment.push(("ODD".into(), b"\x80=\x01".to_vec().into()));
    let mut spawned = instance.spawn(&spec).await.unwrap();
    spawned.process.wait().await.unwrap();
    assert_eq!(texts(&spec.log.directory), ["stdout F  ff 27 22 0a c3 7c 80 3d 01"]);
    instance.assert_nothing_left();
}
