//! Machines of the tests: what `agent/runtime/tests` makes of containers, with a kernel of the host's.

use std::path::Path;

use berth_runtime::spec::{InterfaceKind, InterfaceSpec, LaunchSpec, VmSpec};
use berth_sys::netlink::{BridgeSpec, Netlink};
use berth_vm::boot::{self, BootFiles};
use nix::sched::{CloneFlags, unshare};

use crate::support::{self, Instance};

pub fn vm(directory: &Path) -> VmSpec {
    let kernel = boot::find_kernel(Path::new("/"), None).expect("run `cargo xtask setup`");
    let init = support::supervisor().with_file_name("berth-guest-init");
    let boot = BootFiles::new(directory.join("vm")).prepare(&kernel, &init).expect("run `cargo xtask build`");
    VmSpec {
        kernel: boot.kernel,
        initramfs: boot.initramfs,
        qemu: "/usr/bin/qemu-system-x86_64".into(),
        virtiofsd: "/usr/lib/qemu/virtiofsd".into(),
        kvm: false,
        kvm_reason: String::new(),
        memory_bytes: 256 << 20,
        cpus: 1,
        max_memory_bytes: 1 << 30,
        max_cpus: 4,
        has_slots: true,
        boot_timeout_ms: 120_000,
    }
}

pub fn machine(instance: &Instance, argv: &[&str]) -> LaunchSpec {
    LaunchSpec { vm: Some(vm(instance.directory.path())), ..instance.spec(argv) }
}

/// From here on this thread, and the supervisor that it spawns, are on a host of their own, which has two bridges.
#[allow(dead_code, reason = "some of those who share this file have no network")]
pub fn bridges() -> Netlink {
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    let mut netlink = Netlink::open().unwrap();
    netlink.set_up("lo").unwrap();
    for (name, gateway) in [("bridge0", [192, 0, 2, 1]), ("bridge1", [198, 51, 100, 1])] {
        netlink.create_bridge(&BridgeSpec { name, mac: None, mtu: None }).unwrap();
        netlink.add_address(name, std::net::Ipv4Addr::from(gateway).into(), 24).unwrap();
    }
    netlink
}

/// The interface of that number, on the bridge of its number, which is the way to everywhere else.
#[allow(dead_code, reason = "some of those who share this file have no network")]
pub fn interface(number: u8, address: [u8; 4]) -> InterfaceSpec {
    let [a, b, c, _] = address;
    InterfaceSpec {
        name: format!("eth{number}"),
        host_name: format!("vbtest{number}"),
        kind: InterfaceKind::Bridge,
        bridge: format!("bridge{number}"),
        vlan: None,
        mac: format!("02:00:00:00:00:0{}", 7 + number),
        ipv4_address: Some(address.into()),
        ipv4_prefix: 24,
        ipv4_gateway: Some([a, b, c, 1].into()),
        ipv6_address: None,
        ipv6_prefix: 0,
        ipv6_gateway: None,
        dhcp: None,
        ipv6_autoconf: false,
        mtu: Some(1400),
    }
}
