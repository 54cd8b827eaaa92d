//! What a machine is given and gives back while it runs: its process and its workload stay.

#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests.

#[path = "../../runtime/tests/support/mod.rs"]
mod support;

mod machines;

use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use berth_runtime::client::{ClientError, Spawned};
use berth_runtime::control::{Event, MachineSize, State, Update};
use berth_runtime::launch::{LaunchError, Stage};
use berth_runtime::mount::{MountSource, MountSpec};
use berth_runtime::spec::{InterfaceSpec, LaunchSpec, RestartPolicy};
use machines::{bridges, interface, machine};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
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
        let machine = Some(MachineSize { cpus, memory_bytes: mib * MIB });
        let update = Update { mounts: Some(mounts.to_vec()), machine, patience_ms, ..self.nothing_new() };
        self.spawned.supervisor.update(update).await
    }

    fn nothing_new(&self) -> Update {
        Update {
            restart: self.spec.restart,
            stop: self.spec.stop,
            cgroup: self.spec.cgroup.clone(),
            mounts: None,
            networks: None,
            writes: Vec::new(),
            notify: None,
            health: None,
            machine: None,
            patience_ms: 0,
        }
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

/// Whether the guest is reached there: it refuses a connection, as nothing listens.
fn answers(address: [u8; 4]) -> bool {
    let address = (Ipv4Addr::from(address), 9).into();
    match TcpStream::connect_timeout(&address, Duration::from_secs(20)) {
        Err(error) => error.kind() == ErrorKind::ConnectionRefused,
        Ok(_) => panic!("something listens"),
    }
}

impl World {
    async fn rewire(&mut self, networks: &[InterfaceSpec], patience_ms: u64) -> Result<(), LaunchError> {
        let update = Update { networks: Some(networks.to_vec()), patience_ms, ..self.nothing_new() };
        match self.spawned.supervisor.update(update).await {
            Ok(()) => Ok(()),
            Err(ClientError::Update(error)) => Err(error),
            Err(other) => panic!("{other:?}"),
        }
    }

    /// Its interfaces with their addresses, and where all else goes.
    async fn wires(&self) -> Vec<String> {
        let script = "busybox ip -o -4 addr show | busybox awk '$2 != \"lo\" { print $2, $4 }' | busybox sort; \
                      busybox ip route | busybox awk '$1 == \"default\" { print $3, $5 }'";
        self.sh(script).await.lines().map(str::to_owned).collect()
    }
}

#[tokio::test]
async fn interfaces_come_and_go_and_the_workload_stays() {
    let mut netlink = bridges();
    let instance = Instance::new();
    let mut spec = machine(&instance, &["sh", "-c", "echo up; exec sleep 1000"]);
    spec.restart.policy = RestartPolicy::OnFailure;
    spec.restart.backoff_ms = 10;
    let first = interface(0, [192, 0, 2, 7]);
    spec.networks.push(first.clone());
    let spawned = instance.spawn(&spec).await.unwrap();
    let mut world = World { instance, spec, spawned };
    assert_eq!(world.wires().await, ["eth0 192.0.2.7/24", "192.0.2.1 eth0"]);

    // A second one, on another bridge.
    let second = InterfaceSpec { ipv4_gateway: None, ..interface(1, [198, 51, 100, 7]) };
    world.rewire(&[first.clone(), second.clone()], PATIENCE_MS).await.unwrap();
    assert!(answers([198, 51, 100, 7]) && answers([192, 0, 2, 7]));

    // Other addresses and another way out, of the interfaces that there are.
    let moved = InterfaceSpec { ipv4_gateway: None, mtu: Some(1300), ..interface(0, [192, 0, 2, 8]) };
    let leads = interface(1, [198, 51, 100, 7]);
    world.rewire(&[moved.clone(), leads.clone()], PATIENCE_MS).await.unwrap();
    assert!(answers([192, 0, 2, 8]));
    let wires = ["eth0 192.0.2.8/24", "eth1 198.51.100.7/24", "198.51.100.1 eth1"];
    assert_eq!(world.wires().await, wires);
    assert_eq!(world.sh("cat /sys/class/net/eth0/mtu").await, "1300");
    assert_eq!(netlink.link("vbtest0").unwrap().unwrap().mtu, 1300);

    what_cannot_be_is_as_it_was(&mut world, &moved, &leads).await;
    assert_eq!(world.wires().await, wires);
    assert!(answers([192, 0, 2, 8]) && answers([198, 51, 100, 7]));

    // The one that it has booted with goes; then another of its name comes, on another bridge.
    world.rewire(std::slice::from_ref(&leads), PATIENCE_MS).await.unwrap();
    assert_eq!(world.wires().await, wires[1..]);
    assert_eq!(netlink.link("vbtest0").unwrap(), None);
    let other =
        InterfaceSpec { bridge: leads.bridge.clone(), ipv4_gateway: None, ..interface(0, [198, 51, 100, 8]) };
    world.rewire(&[leads.clone(), other.clone()], PATIENCE_MS).await.unwrap();
    assert!(answers([198, 51, 100, 8]));
    assert_eq!(world.sh("ls /sys/class/net").await, "eth0\neth1\nlo");

    it_is_another_boot_s_too(&mut world).await;
    world.spawned.supervisor.stop(true).await.unwrap();
    world.spawned.process.wait().await.unwrap();
    assert_eq!(netlink.link("vbtest1").unwrap(), None);
    world.instance.assert_nothing_left();
}

/// What is refused by the host or by the guest, or not made in time, is undone.
async fn what_cannot_be_is_as_it_was(world: &mut World, eth0: &InterfaceSpec, eth1: &InterfaceSpec) {
    let nowhere = InterfaceSpec { bridge: "nobridge".into(), ..interface(2, [203, 0, 113, 7]) };
    let refused = world.rewire(&[eth1.clone(), nowhere], PATIENCE_MS).await.unwrap_err();
    assert_eq!((refused.stage, refused.errno), (Stage::NetworkParent, Errno::ENODEV as i32));

    // One that goes is out before the host refuses the other.
    let long = InterfaceSpec { host_name: "longer-than-a-link".into(), ..interface(1, [198, 51, 100, 9]) };
    let refused = world.rewire(&[eth0.clone(), long], PATIENCE_MS).await.unwrap_err();
    assert_eq!((refused.stage, refused.errno), (Stage::Network, 0), "{refused}");

    let lost = InterfaceSpec { ipv4_gateway: Some([203, 0, 113, 1].into()), ..eth0.clone() };
    let refused = world.rewire(&[lost], PATIENCE_MS).await.unwrap_err();
    assert_eq!((refused.stage, refused.path.to_str()), (Stage::Network, Some("eth0")));

    // QEMU and its guest do nothing for a while.
    let pid = Pid::from_raw(world.spawned.pid);
    kill(pid, Signal::SIGSTOP).unwrap();
    let late = world.rewire(std::slice::from_ref(eth0), 200).await.unwrap_err();
    assert_eq!((late.stage, late.errno), (Stage::Network, Errno::ETIMEDOUT as i32));
    kill(pid, Signal::SIGCONT).unwrap();
}

/// QEMU is killed: the next one has what was plugged in.
async fn it_is_another_boot_s_too(world: &mut World) {
    let status = world.spawned.supervisor.status().await.unwrap();
    assert!(matches!(status.state, State::Running { pid, .. } if pid == world.spawned.pid), "{status:?}");
    let mut events = world.spawned.supervisor.watch().await.unwrap();
    let before = world.wires().await;
    kill(Pid::from_raw(world.spawned.pid), Signal::SIGKILL).unwrap();
    while !matches!(events.next().await.unwrap().unwrap(), Event::Started { restarts: 1, .. }) {}
    let sorted = |mut wires: Vec<String>| {
        wires.sort();
        wires
    };
    assert_eq!(sorted(world.wires().await), sorted(before));
}
