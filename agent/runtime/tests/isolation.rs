//! What a hostile image or program can reach: nothing of the host's.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;
use std::os::unix::fs::symlink;

use berth_runtime::client::ClientError;
use berth_runtime::exit;
use berth_runtime::launch::Stage;
use support::{Instance, texts};

/// Runs a script to its end and gives its output.
async fn output(instance: &Instance, script: &str) -> Vec<String> {
    let spec = instance.spec(&["sh", "-c", script]);
    let mut spawned = instance.spawn(&spec).await.unwrap();
    spawned.process.wait().await.unwrap();
    texts(&spec.log.directory).into_iter().map(|line| line[9..].to_owned()).collect()
}

#[tokio::test]
async fn the_usual_paths_are_hidden_or_read_only() {
    let instance = Instance::new();
    let script = "
        wc -c < /proc/keys; wc -c < /proc/timer_list; ls /sys/firmware | wc -l
        for f in /proc/sysrq-trigger /proc/sys/kernel/core_pattern /sys/kernel/uevent_helper; do
            (echo x > $f) 2>/dev/null && echo wrote $f
        done
        ls -l /dev/null | head -c 1; echo
        ls /dev | wc -l; hostname
        for f in exe root cwd; do readlink /proc/1/$f || echo denied; done; ls /proc/1/fd 2>/dev/null || echo denied";
    let lines = output(&instance, script).await;
    assert_eq!(
        lines,
        ["0", "0", "0", "c", "14", "test", "denied", "denied", "denied", "denied"],
        "{lines:?}"
    );
    instance.assert_nothing_left();
}

#[tokio::test]
async fn the_filter_forbids_what_only_a_host_needs() {
    let instance = Instance::new();
    let lines =
        output(&instance, "unshare -U true 2>&1 || echo no; mount -t tmpfs none /tmp 2>&1 || echo no").await;
    assert_eq!(lines.iter().filter(|line| *line == "no").count(), 2, "{lines:?}");
    instance.assert_nothing_left();
}

#[tokio::test]
async fn directories_that_are_links_are_refused_by_name() {
    for name in ["proc", "sys", "dev"] {
        let instance = Instance::new();
        symlink("/tmp", instance.directory.path().join("lower").join(name)).unwrap();
        match instance.spawn(&instance.spec(&["true"])).await {
            Err(ClientError::Launch(error)) => {
                assert_eq!(
                    (error.stage, error.path.to_str().unwrap()),
                    (Stage::Mount, format!("/{name}").as_str())
                );
            }
            other => panic!("{name}: {other:?}"),
        }
        instance.assert_nothing_left();
    }
}

#[tokio::test]
async fn a_link_in_the_place_of_a_file_leads_nowhere() {
    let instance = Instance::new();
    let secret = instance.directory.path().join("secret");
    fs::write(&secret, "host").unwrap();
    let source = instance.directory.path().join("resolv.conf");
    fs::write(&source, "nameserver 192.0.2.1\n").unwrap();
    symlink(&secret, instance.directory.path().join("lower/etc/resolv.conf")).unwrap();
    let mut spec = instance.spec(&["cat", "/etc/resolv.conf"]);
    spec.files.push(berth_runtime::spec::FileBind {
        source,
        target: "/etc/resolv.conf".into(),
        read_only: false,
    });
    let mut spawned = instance.spawn(&spec).await.unwrap();
    spawned.process.wait().await.unwrap();
    assert_eq!(texts(&spec.log.directory), ["stdout F nameserver 192.0.2.1"]);
    assert_eq!(fs::read_to_string(&secret).unwrap(), "host");
    instance.assert_nothing_left();
}

#[tokio::test]
async fn device_nodes_of_an_image_are_dead() {
    let instance = Instance::new();
    let node = instance.directory.path().join("lower/disk");
    let kind = nix::sys::stat::SFlag::S_IFCHR;
    nix::sys::stat::mknod(
        &node,
        kind,
        nix::sys::stat::Mode::from_bits_truncate(0o666),
        nix::sys::stat::makedev(1, 3),
    )
    .unwrap();
    fs::set_permissions(&node, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let lines = output(&instance, "cat /disk 2>/dev/null || echo dead").await;
    assert_eq!(lines, ["dead"]);
    instance.assert_nothing_left();
}

#[tokio::test]
async fn a_program_that_eats_memory_is_told_apart_from_one_that_fails() {
    let instance = Instance::new();
    let mut spec = instance.spec(&["sh", "-c", "exec dd if=/dev/zero of=/dev/null bs=512M count=1"]);
    spec.cgroup.memory_bytes = Some(64 << 20);
    let mut spawned = instance.spawn(&spec).await.unwrap();
    spawned.process.wait().await.unwrap();
    let record = exit::read(&spec.run_dir).unwrap();
    assert_eq!((record.code, record.oom_killed), (137, true));
    instance.assert_nothing_left();
}

#[tokio::test]
async fn a_fork_bomb_stays_inside() {
    let instance = Instance::new();
    let mut spec = instance.spec(&["sh", "-c", "b() { b | b & }; echo up; b; sleep 1000"]);
    spec.cgroup.pids = Some(64);
    let mut spawned = instance.spawn(&spec).await.unwrap();
    instance.wait_for_log("up").await;
    spawned.supervisor.stop(true).await.unwrap();
    spawned.process.wait().await.unwrap();
    instance.assert_nothing_left();
}

#[tokio::test]
async fn a_daemon_that_outlives_its_parent_ends_with_the_container() {
    let instance = Instance::new();
    let spec = instance.spec(&["sh", "-c", "(sleep 12345 &) ; echo up; exit 0"]);
    let mut spawned = instance.spawn(&spec).await.unwrap();
    spawned.process.wait().await.unwrap();
    instance.assert_nothing_left();
}

#[tokio::test]
async fn a_users_program_has_its_home_and_can_open_its_output_again() {
    let instance = Instance::new();
    let mut spec = instance.spec(&["sh", "-c", "echo again > /dev/stdout; id -u; echo $HOME $PATH"]);
    spec.process.user = "web".into();
    let mut spawned = instance.spawn(&spec).await.unwrap();
    spawned.process.wait().await.unwrap();
    assert_eq!(
        texts(&spec.log.directory),
        [
            "stdout F again",
            "stdout F 33",
            "stdout F / /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        ]
    );
    instance.assert_nothing_left();
}
