//! What an image or a workload tries on the runtime itself: lines of what Berth must survive that have no better place.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;
use std::os::unix::fs::symlink;

use berth_runtime::client::ClientError;
use berth_runtime::control::Event;
use berth_runtime::launch::Stage;
use berth_runtime::spec::RestartPolicy;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{Instance, texts};

/// CVE-2025-31133, CVE-2025-52565: what hides the kernel's files is not what the image, or a workload before, has put there.
#[tokio::test]
async fn devices_and_masks_are_not_the_image_s() {
    let instance = Instance::new();
    let lower = instance.directory.path().join("lower");
    let secret = instance.directory.path().join("secret");
    fs::write(&secret, "host").unwrap();
    fs::create_dir(lower.join("dev")).unwrap();
    for name in ["null", "zero", "console", "ptmx", "tty", "pts", "shm", "mqueue"] {
        symlink(&secret, lower.join("dev").join(name)).unwrap();
    }
    // A workload that runs again finds its devices and masks anew, whatever it did to them.
    let script = "
        ls -l /dev/null | head -c 1; echo; echo gone > /dev/null; wc -c < /proc/keys; ls /sys/firmware | wc -l
        for name in null zero console ptmx tty pts shm mqueue; do readlink /dev/$name | grep secret; done
        (echo x > /proc/sysrq-trigger) 2> /dev/null && echo wrote
        rm /dev/null 2> /dev/zero && echo removed
        busybox ln -snf /proc/sys/kernel/core_pattern /dev/null 2> /dev/zero && echo replaced
        busybox ln -snf /proc/sys/kernel/core_pattern /dev/console 2> /dev/zero
        test -e /once && exit 0; touch /once; exit 1";
    let mut spec = instance.spec(&["sh", "-c", script]);
    spec.restart.policy = RestartPolicy::OnFailure;
    spec.restart.backoff_ms = 1;
    let mut spawned = instance.spawn(&spec).await.unwrap();
    spawned.process.wait().await.unwrap();
    let lines: Vec<_> = texts(&spec.log.directory).into_iter().map(|line| line[9..].to_owned()).collect();
    assert_eq!(lines, ["c", "0", "0", "c", "0", "0"]);
    assert_eq!(fs::read_to_string(&secret).unwrap(), "host");
    instance.assert_nothing_left();
}

/// CVE-2025-52881: what is written for a workload goes to the kernel, not to what the image has in its place.
#[tokio::test]
async fn settings_are_not_written_into_an_image_s_own_proc() {
    let instance = Instance::new();
    let own = instance.directory.path().join("lower/proc/sys/net/ipv4");
    fs::create_dir_all(&own).unwrap();
    fs::write(own.join("ip_local_port_range"), "the image's").unwrap();
    let mut spec = instance.spec(&["cat", "/proc/sys/net/ipv4/ip_local_port_range"]);
    spec.kernel.sysctls = vec![("net.ipv4.ip_local_port_range".into(), "2000 3000".into())];
    let mut spawned = instance.spawn(&spec).await.unwrap();
    spawned.process.wait().await.unwrap();
    assert_eq!(texts(&spec.log.directory), ["stdout F 2000\t3000"]);
    assert_eq!(fs::read_to_string(own.join("ip_local_port_range")).unwrap(), "the image's");
    assert!(!instance.directory.path().join("upper/proc/sys").exists(), "it was written into the container");
    instance.assert_nothing_left();
}

/// As CVE-2024-40635: an id that the kernel takes for none leaves nobody root.
#[tokio::test]
async fn a_user_with_an_impossible_number_does_not_run_as_root() {
    let instance = Instance::new();
    let passwd = "last:x:4294967295:0:::\nhigh:x:2147483648:0:::\nbeyond:x:70000:0:::\n";
    fs::write(instance.directory.path().join("lower/etc/passwd"), passwd).unwrap();
    let cases = [
        ("last", Stage::User),
        ("4294967295", Stage::User),
        ("0:4294967295", Stage::Group),
        ("high", Stage::Privileges),
        ("beyond", Stage::Privileges),
    ];
    for (user, stage) in cases {
        let mut spec = instance.spec(&["id", "-u"]);
        spec.process.user = user.into();
        match instance.spawn(&spec).await {
            Err(ClientError::Launch(error)) => assert_eq!(error.stage, stage, "{user}: {error}"),
            other => panic!("{user}: {other:?}, {:?}", texts(&spec.log.directory)),
        }
        instance.assert_nothing_left();
    }
}

/// As the kernel does when memory runs out: with pid 1 goes all of its container, and the policy starts it again.
#[tokio::test]
async fn a_pid_1_that_is_killed_takes_its_container_along_and_comes_again() {
    let instance = Instance::new();
    let mut spec = instance.spec(&["sh", "-c", "sleep 1000 & echo up; wait"]);
    spec.restart.policy = RestartPolicy::OnFailure;
    spec.restart.backoff_ms = 10;
    let mut spawned = instance.spawn(&spec).await.unwrap();
    let mut events = spawned.supervisor.watch().await.unwrap();
    instance.wait_for_log("up").await;
    let is_pid_1 = |pid: &i32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        status.lines().any(|line| line.starts_with("NSpid:") && line.ends_with("\t1"))
    };
    let members = instance.members();
    let pid_1 = members.iter().copied().find(is_pid_1).unwrap();
    kill(Pid::from_raw(pid_1), Signal::SIGKILL).unwrap();
    let again = loop {
        match events.next().await.unwrap().unwrap() {
            Event::Restarting { exit, .. } => assert_eq!((exit.code, exit.signal), (137, Some(9))),
            Event::Started { pid, restarts: 1, .. } => break pid,
            _ => {}
        }
    };
    assert!(again != spawned.pid && instance.members().iter().all(|pid| !members.contains(pid)));
    spawned.supervisor.stop(true).await.unwrap();
    spawned.process.wait().await.unwrap();
    instance.assert_nothing_left();
}

/// A control group in which others were made is emptied and removed with all of them.
#[tokio::test]
async fn groups_within_the_control_group_go_with_it() {
    let instance = Instance::new();
    let spec = instance.spec(&["sleep", "1000"]);
    let mut spawned = instance.spawn(&spec).await.unwrap();
    let (_, output) =
        instance.exec(&spawned.supervisor, &["sh", "-c", "sleep 1000 > /dev/null 2>&1 & echo up"]).await;
    assert_eq!(output, "up\n");
    let group = std::path::Path::new("/sys/fs/cgroup/pids/berthtest").join(&instance.name);
    fs::create_dir_all(group.join("within/deep")).unwrap();
    for pid in fs::read_to_string(group.join("cgroup.procs")).unwrap().lines() {
        fs::write(group.join("within/deep/cgroup.procs"), pid).unwrap();
    }
    assert_eq!(fs::read_to_string(group.join("cgroup.procs")).unwrap(), "");
    spawned.supervisor.stop(true).await.unwrap();
    spawned.process.wait().await.unwrap();
    instance.assert_nothing_left();
}
