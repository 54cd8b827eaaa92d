//! What a machine is given and gives back while it runs: its process and its workload stay.

#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests.

#[path = "../../runtime/tests/support/mod.rs"]
mod support;

mod machines;

use std::fs;

use berth_runtime::client::{ClientError, Spawned};
use berth_runtime::control::{MachineSize, State, Update};
use berth_runtime::mount::{MountSource, MountSpec};
use berth_runtime::spec::LaunchSpec;
use machines::machine;
use nix::errno::Errno;
use support::Instance;

const MIB: u64 = 1 << 20;

/// Under emulation, on a busy machine.
const PATIENCE_MS: u64 = 60_000;

struct World {
    instance: Instance,
    spec: LaunchSpec,
    spawned: Spawned,
}

impl World {
    async fn sh(&self, script: &str) -> String {
        let (code, said) = self.instance.exec(&self.spawned.supervisor, &["sh", "-c", script]).await;
        assert_eq!(code, 0, "{script}: {said}");
        said.trim_end().to_owned()
    }

    /// Processors that run, and memory in MiB.
    async fn has(&self) -> (u32, u64) {
        let script = "grep -c ^processor /proc/cpuinfo; grep MemTotal /proc/meminfo | busybox tr -dc 0-9";
        let said = self.sh(script).await;
        let (cpus, memory) = said.split_once('\n').unwrap();
        (cpus.parse().unwrap(), memory.parse::<u64>().unwrap() / 1024)
    }

    async fn update(
        &mut self,
        cpus: u32,
        mib: u64,
        mounts: &[MountSpec],
        patience_ms: u64,
    ) -> Result<(), ClientError> {
        let update = Update {
            restart: self.spec.restart,
            stop: self.spec.stop,
            cgroup: self.spec.cgroup.clone(),
            mounts: Some(mounts.to_vec()),
            networks: None,
            writes: Vec::new(),
            notify: None,
            health: None,
            machine: Some(MachineSize { cpus, memory_bytes: mib * MIB }),
            patience_ms,
        };
        self.spawned.supervisor.update(update).await
    }

    async fn is_refused(&mut self, cpus: u32, mib: u64, patience_ms: u64) -> (String, Option<i32>) {
        match self.update(cpus, mib, &[], patience_ms).await {
            Err(ClientError::LimitRefused { limit, source }) => (limit, source.raw_os_error()),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn processors_memory_and_mounts_come_and_go_and_the_workload_stays() {
    let instance = Instance::new();
    let mut spec = machine(&instance, &["sh", "-c", "echo up; exec sleep 1000"]);
    let vm = spec.vm.as_mut().unwrap();
    (vm.cpus, vm.memory_bytes) = (2, 320 * MIB);
    spec.kernel.shm_bytes = Some(300 * MIB);
    let spawned = instance.spawn(&spec).await.unwrap();
    let mut world = World { instance, spec, spawned };
    // What the kernel keeps for itself is no one else's.
    let (cpus, first) = world.has().await;
    assert!(cpus == 2 && (240..320).contains(&first), "{cpus} and {first} MiB");

    world.update(3, 512, &[], PATIENCE_MS).await.unwrap();
    assert_eq!(world.has().await, (3, first + 192));
    world.update(1, 256, &[], PATIENCE_MS).await.unwrap();
    assert_eq!(world.has().await, (1, first - 64));
    // Again: what is plugged in stays so, and is used again.
    world.update(4, 384, &[], PATIENCE_MS).await.unwrap();
    assert_eq!(world.has().await, (4, first + 64));

    // More than it can have, less than it has booted with, and what is in use.
    let refused = Some(Errno::EOPNOTSUPP as i32);
    assert_eq!(world.is_refused(5, 384, PATIENCE_MS).await, ("cpu".into(), refused));
    assert_eq!(world.is_refused(4, 255, PATIENCE_MS).await, ("memory".into(), refused));
    assert_eq!(world.is_refused(4, 2048, PATIENCE_MS).await, ("memory".into(), refused));
    world.sh("dd if=/dev/zero of=/dev/shm/held bs=1M count=240").await;
    assert_eq!(world.is_refused(4, 256, PATIENCE_MS).await, ("memory".into(), Some(Errno::EBUSY as i32)));
    assert_eq!(world.has().await, (4, first + 64), "as it was");

    mounts_come_and_go(&mut world).await;
    let status = world.spawned.supervisor.status().await.unwrap();
    assert!(matches!(status.state, State::Running { pid, .. } if pid == world.spawned.pid), "{status:?}");
    assert_eq!(status.restarts, 0);
    world.spawned.supervisor.stop(true).await.unwrap();
    world.spawned.process.wait().await.unwrap();
    world.instance.assert_nothing_left();
}

async fn mounts_come_and_go(world: &mut World) {
    let volume = world.instance.directory.path().join("volume");
    let directory = volume.join("data");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("kept"), "of the volume\n").unwrap();
    let mount = |name: &str, source| MountSpec {
        name: name.into(),
        target: format!("/{name}").into(),
        read_only: false,
        source,
    };
    let data = mount("data", MountSource::Volume { directory: volume, keep: Default::default() });
    let memory = mount("mem", MountSource::Tmpfs { size: Some(MIB), uid: 0, gid: 0, mode: 0o700 });
    // It has looked there before.
    world.sh("mkdir -p /data /mem; ls /data /mem").await;
    world.update(4, 384, &[data, memory.clone()], PATIENCE_MS).await.unwrap();
    assert_eq!(
        world.sh("cat /data/kept; echo made > /data/made; ls /data").await,
        "of the volume\nkept\nmade"
    );
    assert_eq!(fs::read_to_string(directory.join("made")).unwrap(), "made\n");
    world.sh("echo x > /mem/file").await;
    world.update(4, 384, &[memory], PATIENCE_MS).await.unwrap();
    assert_eq!(world.sh("ls /data; cat /mem/file").await, "x");
    world.update(4, 384, &[], PATIENCE_MS).await.unwrap();
    assert_eq!(world.sh("ls /mem | wc -l").await, "0");
}
