//! Devices, plugged in and out of a program that runs.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::os::unix::fs::symlink;
use std::path::Path;

use berth_runtime::client::{ClientError, Spawned};
use berth_runtime::control::Update;
use berth_runtime::launch::Stage;
use berth_runtime::mount::{MountSource, MountSpec};
use berth_runtime::spec::{LaunchSpec, RestartPolicy};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use support::Instance;

/// The kernel's log, which no container may have of its own, and which this one asks for.
const LOG: (u64, u64) = (1, 11);

fn node(path: &Path, kind: SFlag, (major, minor): (u64, u64)) {
    mknod(path, kind, Mode::from_bits_truncate(0o600), makedev(major, minor)).unwrap();
}

fn device(name: &str, path: &Path, block: bool, optional: bool) -> MountSpec {
    let source = MountSource::Device {
        requested: path.to_owned(),
        path: path.to_owned(),
        block,
        number: None,
        uid: 33,
        gid: 34,
        mode: 0o640,
        optional,
        permissions: None,
    };
    MountSpec { name: name.into(), target: format!("/dev/{name}").into(), read_only: false, source }
}

async fn update(spec: &LaunchSpec, spawned: &Spawned, mounts: &[MountSpec]) -> Result<(), ClientError> {
    let update = Update {
        health: None,
        machine: None,
        patience_ms: 0,
        restart: spec.restart,
        stop: spec.stop,
        cgroup: spec.cgroup.clone(),
        mounts: Some(mounts.to_vec()),
        networks: None,
        writes: Vec::new(),
        notify: None,
    };
    spawned.supervisor.update(update).await
}

async fn sh(instance: &Instance, spawned: &Spawned, script: &str) -> String {
    instance.exec(&spawned.supervisor, &["sh", "-c", script]).await.1.trim().to_owned()
}

#[tokio::test]
async fn a_device_is_plugged_in_and_out_while_the_program_runs() {
    let instance = Instance::new();
    let place = tempfile::tempdir().unwrap();
    let full = place.path().join("full");
    node(&full, SFlag::S_IFCHR, (1, 7));
    let log = place.path().join("log");
    node(&log, SFlag::S_IFCHR, LOG);
    let mut spec = instance.spec(&["sleep", "1000"]);
    spec.restart.policy = RestartPolicy::Always;
    let spawned = instance.spawn(&spec).await.unwrap();
    let open = "(exec 3> /dev/log) 2>&1 && echo opened";
    update(&spec, &spawned, &[device("log", &log, false, false), device("own-full", &full, false, false)])
        .await
        .unwrap();
    assert_eq!(sh(&instance, &spawned, open).await, "opened");
    assert_eq!(sh(&instance, &spawned, "ls -ln /dev/log | head -c 30").await, "crw-r-----    1 33       34");
    let said = sh(&instance, &spawned, "echo x > /dev/own-full").await;
    assert!(said.contains("No space left"), "{said}");
    // A change of limits takes nothing of it away.
    update(&spec, &spawned, &[device("log", &log, false, false)]).await.unwrap();
    assert_eq!(
        sh(&instance, &spawned, &format!("{open}; ls -l /dev/own-full | head -c 1")).await,
        "opened\n-"
    );
    update(&spec, &spawned, &[]).await.unwrap();
    let said = sh(
        &instance,
        &spawned,
        "ls -l /dev/log | head -c 1; busybox mknod /tmp/log c 1 11 2>&1; echo x > /dev/full",
    )
    .await;
    assert!(said.starts_with('-') && said.contains("not permitted") && said.contains("No space"), "{said}");
    let mut spawned = spawned;
    spawned.supervisor.stop(true).await.unwrap();
    spawned.process.wait().await.unwrap();
    instance.assert_nothing_left();
}

#[tokio::test]
async fn a_device_that_is_not_there_or_is_something_else_is_refused_by_its_path() {
    let instance = Instance::new();
    let place = tempfile::tempdir().unwrap();
    let (gone, file, link, log) = (
        place.path().join("gone"),
        place.path().join("file"),
        place.path().join("link"),
        place.path().join("log"),
    );
    std::fs::write(&file, "no device").unwrap();
    node(&log, SFlag::S_IFCHR, LOG);
    symlink(&log, &link).unwrap();
    let mut spec = instance.spec(&["sleep", "1000"]);
    for (bad, block) in [(&gone, false), (&file, false), (&link, false), (&log, true)] {
        spec.mounts = vec![device("it", bad, block, false)];
        match instance.spawn(&spec).await {
            Err(ClientError::Launch(error)) => {
                assert_eq!((error.stage, &error.path), (Stage::MountSource, bad))
            }
            other => panic!("{}: {other:?}", bad.display()),
        }
        instance.assert_nothing_left();
    }
    spec.mounts = vec![device("it", &gone, false, true), device("log", &log, false, true)];
    let mut spawned = instance.spawn(&spec).await.unwrap();
    assert_eq!(sh(&instance, &spawned, "ls -l /dev/it 2>/dev/null; ls -l /dev/log | head -c 1").await, "c");
    spawned.supervisor.stop(true).await.unwrap();
    spawned.process.wait().await.unwrap();
    instance.assert_nothing_left();
}
