//! What users mount: there at the start, changed while a program runs, and nothing of the host's in reach by it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use berth_runtime::client::{ClientError, Spawned};
use berth_runtime::control::Update;
use berth_runtime::file::FileWrite;
use berth_runtime::launch::{LaunchError, Stage};
use berth_runtime::mount::{Keep, MountSource, MountSpec};
use berth_runtime::spec::{IdRange, LaunchSpec, RestartPolicy};
use support::Instance;

fn mount(name: &str, target: &str, source: MountSource) -> MountSpec {
    MountSpec { name: name.to_owned(), target: target.into(), read_only: false, source }
}

fn volume(directory: &Path) -> MountSource {
    berth_storage::volume::ensure(directory, berth_storage::volume::Root::default(), None).unwrap();
    MountSource::Volume { directory: directory.to_owned(), keep: Keep::default() }
}

fn bind(path: &Path) -> MountSource {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    MountSource::Bind { requested: path.clone(), path, id_mapped: true }
}

fn tmpfs() -> MountSource {
    MountSource::Tmpfs { size: Some(1 << 20), uid: 33, gid: 33, mode: 0o750 }
}

fn lower(instance: &Instance) -> PathBuf {
    instance.directory.path().join("lower")
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

fn refused(result: Result<(), ClientError>) -> LaunchError {
    match result {
        Err(ClientError::Update(error)) => error,
        other => panic!("{other:?}"),
    }
}

async fn sh(instance: &Instance, spawned: &Spawned, script: &str) -> String {
    let (code, said) = instance.exec(&spawned.supervisor, &["sh", "-c", script]).await;
    format!("{}{said}", if code == 0 { "" } else { "failed: " }).trim().to_owned()
}

async fn end(mut spawned: Spawned) {
    spawned.supervisor.stop(true).await.unwrap();
    spawned.process.wait().await.unwrap();
}

#[tokio::test]
async fn a_volume_is_filled_from_the_image_and_is_each_instance_s_own() {
    let (one, two) = (Instance::new(), Instance::new());
    let place = tempfile::tempdir().unwrap();
    let data = lower(&one).join("var/data");
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join("seed"), "from the image\n").unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o750)).unwrap();
    for path in [&data, &data.join("seed")] {
        chown(path, Some(33), Some(33)).unwrap();
    }
    let source = volume(&place.path().join("volume"));
    let mut spec = one.spec(&["sleep", "1000"]);
    spec.mounts.push(mount("data", "/var/data", source.clone()));
    let first = one.spawn(&spec).await.unwrap();
    assert_eq!(
        sh(&one, &first, "cat /var/data/seed; ls -ldn /var/data | head -c 20").await,
        "from the image\ndrwxr-x---    2 33"
    );
    assert_eq!(sh(&one, &first, "rm /var/data/seed; echo one > /var/data/file").await, "");
    let mut spec = two.spec(&["sleep", "1000"]);
    spec.ids = IdRange { host_base: 2_000_000, count: 65_536 };
    spec.mounts.push(mount("data", "/srv", source));
    let second = two.spawn(&spec).await.unwrap();
    let said = sh(&two, &second, "cat /srv/file; ls -ln /srv/file | head -c 20; echo two >> /srv/file").await;
    assert_eq!(said, "one\n-rw-r--r--    1 0");
    assert_eq!(sh(&one, &first, "cat /var/data/file; ls /var/data").await, "one\ntwo\nfile");
    let on_disk = place.path().join("volume/data");
    assert_eq!(
        (fs::metadata(&on_disk).unwrap().uid(), fs::metadata(on_disk.join("file")).unwrap().uid()),
        (33, 0)
    );
    end(first).await;
    end(second).await;
    one.assert_nothing_left();
    two.assert_nothing_left();
}

#[tokio::test]
async fn mounts_come_and_go_while_the_program_runs() {
    let instance = Instance::new();
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("greeting"), "hello").unwrap();
    fs::create_dir(place.path().join("dir")).unwrap();
    let spec = instance.spec(&["sleep", "1000"]);
    let spawned = instance.spawn(&spec).await.unwrap();
    let mut bound = mount("bound", "/srv/dir", bind(&place.path().join("dir")));
    let mounts = [
        mount("vol", "/data", volume(&place.path().join("volume"))),
        bound.clone(),
        MountSpec { read_only: true, ..mount("file", "/etc/greeting", bind(&place.path().join("greeting"))) },
        mount("mem", "/data/mem", tmpfs()),
    ];
    update(&spec, &spawned, &mounts).await.unwrap();
    let script = "cat /etc/greeting; echo x > /etc/greeting; echo b > /srv/dir/b; echo v > /data/v; ls -ldn /data/mem | head -c 40";
    let said = sh(&instance, &spawned, &format!("({script}) 2>&1")).await;
    assert!(said.starts_with("hello") && said.contains("Read-only file system"), "{said}");
    assert!(said.contains("drwxr-x---    2 33       33"), "{said}");
    let made = fs::metadata(place.path().join("dir/b")).unwrap();
    assert_eq!((made.uid(), fs::read(place.path().join("greeting")).unwrap()), (0, b"hello".to_vec()));
    // Read-only from now on, and what lay in a mount that goes comes back in its place.
    bound.read_only = true;
    update(&spec, &spawned, &[bound, mounts[3].clone()]).await.unwrap();
    let said = sh(
        &instance,
        &spawned,
        "echo x > /srv/dir/c; cat /etc/greeting; ls -a /data; grep -c berth-tmpfs /proc/mounts",
    )
    .await;
    assert!(said.contains("Read-only") && !said.contains("hello"), "{said}");
    assert!(said.contains("mem") && !said.contains("\nv\n") && said.contains("\n1"), "{said}");
    update(&spec, &spawned, &[]).await.unwrap();
    assert_eq!(
        sh(&instance, &spawned, "ls /srv/dir /data/mem | wc -l; grep -c -e berth-tmpfs -e /srv /proc/mounts")
            .await,
        "failed: 3\n0"
    );
    assert_eq!(instance.exec(&spawned.supervisor, &["true"]).await.0, 0);
    let status = spawned.supervisor.status().await.unwrap();
    assert!(matches!(status.state, berth_runtime::control::State::Running { pid, .. } if pid == spawned.pid));
    end(spawned).await;
    instance.assert_nothing_left();
}

#[tokio::test]
async fn a_change_that_cannot_be_made_changes_nothing() {
    let instance = Instance::new();
    let place = tempfile::tempdir().unwrap();
    for name in ["one", "two"] {
        fs::create_dir(place.path().join(name)).unwrap();
        fs::write(place.path().join(name).join("which"), name).unwrap();
    }
    symlink("/proc/1", lower(&instance).join("link")).unwrap();
    let mut spec = instance.spec(&["sleep", "1000"]);
    let one = mount("it", "/it", bind(&place.path().join("one")));
    let mem = mount("mem", "/it/mem", tmpfs());
    spec.mounts = vec![one.clone(), mem.clone()];
    fs::create_dir(place.path().join("one/mem")).unwrap();
    let spawned = instance.spawn(&spec).await.unwrap();
    assert_eq!(sh(&instance, &spawned, "echo kept > /it/mem/file").await, "");
    let two = mount("it", "/it", bind(&place.path().join("two")));
    let bad = [
        (mount("x", "/x", bind(&place.path().join("gone"))), Stage::MountSource, "gone"),
        (mount("x", "/bin/sh", tmpfs()), Stage::MountTarget, "/bin/sh"),
        (mount("x", "/link", tmpfs()), Stage::MountTarget, "/link"),
        (mount("x", "/link/root/x", tmpfs()), Stage::MountTarget, "/link/root/x"),
        (mount("x", "/proc", tmpfs()), Stage::MountTarget, "/proc"),
        (mount("x", "/sys/fs", tmpfs()), Stage::MountTarget, "/sys/fs"),
        (mount("x", "/dev", tmpfs()), Stage::MountTarget, "/dev"),
        (mount("x", "/../..", tmpfs()), Stage::MountTarget, "/../.."),
        (mount("x", "/", tmpfs()), Stage::MountTarget, "/"),
        (mount("x", "/x", bind(Path::new("/proc"))), Stage::MountIds, "/proc"),
    ];
    for (mount, stage, path) in bad {
        let error = refused(update(&spec, &spawned, &[two.clone(), mount]).await);
        assert!(error.stage == stage && error.path.to_string_lossy().ends_with(path), "{path}: {error:?}");
        assert_eq!(sh(&instance, &spawned, "cat /it/which /it/mem/file").await, "onekept", "{path}");
    }
    // What was put back can be taken out again.
    update(&spec, &spawned, std::slice::from_ref(&two)).await.unwrap();
    assert_eq!(sh(&instance, &spawned, "cat /it/which; grep -c ' /it' /proc/mounts").await, "two1");
    update(&spec, &spawned, &[]).await.unwrap();
    assert_eq!(sh(&instance, &spawned, "grep -c ' /it' /proc/mounts").await, "failed: 0");
    end(spawned).await;
    instance.assert_nothing_left();
}

#[tokio::test]
async fn links_lead_nowhere_but_into_the_container() {
    let instance = Instance::new();
    let place = tempfile::tempdir().unwrap();
    let host = place.path().join("host");
    fs::create_dir_all(&host).unwrap();
    fs::create_dir(lower(&instance).join("real")).unwrap();
    symlink("/real", lower(&instance).join("inner")).unwrap();
    symlink(format!("../../../../../..{}", host.display()), lower(&instance).join("outer")).unwrap();
    let mut spec = instance.spec(&["sleep", "1000"]);
    spec.mounts.push(mount("in", "/inner/data", volume(&place.path().join("volume"))));
    spec.mounts.push(mount("top", "/top/mem", tmpfs()));
    let spawned = instance.spawn(&spec).await.unwrap();
    assert_eq!(sh(&instance, &spawned, "echo x > /real/data/file; ls /inner/data").await, "file");
    let with = [&spec.mounts[..], &[mount("out", "/outer/data", tmpfs())]].concat();
    refused(update(&spec, &spawned, &with).await);
    assert!(!host.join("data").exists(), "it was made on the host");
    // A directory that is moved takes its mount with it, and what is in its place now is left alone.
    let script =
        "cd /; echo x > /top/mem/file; busybox mv /top /moved; busybox ln -s /proc /top; ls /moved/mem";
    assert_eq!(sh(&instance, &spawned, script).await, "file");
    update(&spec, &spawned, &spec.mounts[..1]).await.unwrap();
    let script = "ls /moved/mem /real/data; wc -c < /proc/keys; wc -l < /proc/uptime";
    assert_eq!(sh(&instance, &spawned, script).await, "/moved/mem:\n\n/real/data:\nfile\n0\n1");
    end(spawned).await;
    instance.assert_nothing_left();
}

#[tokio::test]
async fn a_restart_mounts_what_is_wanted_by_then() {
    let instance = Instance::new();
    let place = tempfile::tempdir().unwrap();
    let script = "cat /data/run /more/x 2>/dev/null; echo ran >> /data/run; sleep 0.3; echo again";
    let mut spec = instance.spec(&["sh", "-c", script]);
    spec.restart.policy = RestartPolicy::Always;
    spec.restart.backoff_ms = 1;
    spec.mounts.push(mount("data", "/data", volume(&place.path().join("volume"))));
    let spawned = instance.spawn(&spec).await.unwrap();
    fs::write(place.path().join("x"), "late\n").unwrap();
    let mut mounts = spec.mounts.clone();
    mounts.push(mount("more", "/more/x", bind(&place.path().join("x"))));
    update(&spec, &spawned, &mounts).await.unwrap();
    instance.wait_for_log("ran").await;
    instance.wait_for_log("late").await;
    end(spawned).await;
    instance.assert_nothing_left();
}

fn write(instance: &Instance, target: &str, content: Option<&str>) -> FileWrite {
    let source = content.map(|content| {
        let path = instance.directory.path().join(berth_sys::fs::unique_name("pending-"));
        fs::write(&path, content).unwrap();
        path
    });
    FileWrite { target: target.into(), source, uid: 33, gid: 34, mode: 0o640 }
}

async fn update_files(
    spec: &LaunchSpec,
    spawned: &Spawned,
    writes: Vec<FileWrite>,
) -> Result<(), ClientError> {
    let (restart, stop, cgroup) = (spec.restart, spec.stop, spec.cgroup.clone());
    spawned
        .supervisor
        .update(Update {
            health: None,
            machine: None,
            patience_ms: 0,
            restart,
            stop,
            cgroup,
            mounts: None,
            networks: None,
            writes,
            notify: Some(1),
        })
        .await
}

#[tokio::test]
async fn files_are_written_before_the_start_and_while_it_runs_all_or_none() {
    let instance = Instance::new();
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("bound"), "old").unwrap();
    fs::write(place.path().join("secret"), "host's").unwrap();
    symlink(place.path(), lower(&instance).join("outer")).unwrap();
    symlink("/etc", lower(&instance).join("conf")).unwrap();
    let script = "trap 'echo told' HUP; cat /conf/app/one; echo; while :; do sleep 0.05; done";
    let mut spec = instance.spec(&["sh", "-c", script]);
    spec.mounts.push(mount("data", "/data", volume(&place.path().join("volume"))));
    spec.mounts.push(mount("bound", "/etc/bound", bind(&place.path().join("bound"))));
    spec.writes = vec![
        write(&instance, "/conf/app/one", Some("first")),
        write(&instance, "/data/deep/two", Some("in the volume")),
        write(&instance, "/etc/bound", Some("through the bind")),
    ];
    let spawned = instance.spawn(&spec).await.unwrap();
    instance.wait_for_log("first").await;
    assert!(spec.writes.iter().all(|write| !write.source.as_ref().unwrap().exists()), "a source is left");
    assert_eq!(fs::read_to_string(place.path().join("bound")).unwrap(), "through the bind");
    let on_disk = place.path().join("volume/data/deep/two");
    let facts = fs::metadata(&on_disk).unwrap();
    assert_eq!((facts.uid(), facts.gid(), facts.mode() & 0o7777), (33, 34, 0o640));
    for (bad, path) in [
        ("/outer/x", "/outer/x"),
        ("/proc/x", "/proc/x"),
        ("/data", "/data"),
        ("/etc/passwd/x", "/etc/passwd/x"),
    ] {
        let writes = vec![write(&instance, "/etc/app/one", Some("second")), write(&instance, bad, Some("x"))];
        let error = refused(update_files(&spec, &spawned, writes).await);
        assert_eq!((error.stage, error.path.to_str()), (Stage::File, Some(path)));
        assert_eq!(
            sh(&instance, &spawned, "cat /etc/app/one; ls -a /etc/app | wc -l").await,
            "first3",
            "{bad}"
        );
    }
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 3, "something was written on the host");
    let writes =
        vec![write(&instance, "/etc/app/one", Some("second")), write(&instance, "/data/deep/two", None)];
    update_files(&spec, &spawned, writes).await.unwrap();
    instance.wait_for_log("told").await;
    assert_eq!(sh(&instance, &spawned, "cat /etc/app/one; ls /data/deep | wc -l").await, "second0");
    end(spawned).await;
    instance.assert_nothing_left();
}
