//! Times what an interface adds to a start: `interface SUPERVISOR ROUNDS` prints milliseconds from the supervisor's spawn until
//! the program runs, of starts with an interface on a bridge (`with`) and, in turn, of starts without (`without`), as JSON.
//!
//! With the interface up, addressed and routed: the program runs after that. TMPDIR says where, as in the example `start`.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // A measuring tool: what fails ends it.

use std::path::Path;
use std::time::Instant;

#[path = "../tests/support/mod.rs"]
mod support;

use berth_runtime::spec::{InterfaceKind, InterfaceSpec, LaunchSpec};
use berth_sys::netlink::{BridgeSpec, Netlink};
use nix::sched::{CloneFlags, unshare};
use support::Instance;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [supervisor, rounds] = arguments.as_slice() else {
        println!("usage: interface SUPERVISOR ROUNDS");
        return;
    };
    let rounds: usize = rounds.parse().unwrap();
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    let mut netlink = Netlink::open().unwrap();
    netlink.create_bridge(&BridgeSpec { name: "bench0", mac: None, mtu: None }).unwrap();
    netlink.add_address("bench0", "10.99.0.1".parse().unwrap(), 24).unwrap();
    let instance = Instance::new();
    let without = instance.spec(&["sleep", "1000"]);
    let mut with = without.clone();
    with.networks.push(interface());
    let (mut times_with, mut times_without) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        times_with.push(start(Path::new(supervisor), &with).await);
        times_without.push(start(Path::new(supervisor), &without).await);
    }
    println!("{{\"with\":{times_with:?},\"without\":{times_without:?}}}");
}

/// Until the program runs; then it is ended.
async fn start(supervisor: &Path, spec: &LaunchSpec) -> f64 {
    let begun = Instant::now();
    let mut spawned = berth_runtime::client::spawn(supervisor, spec).await.unwrap();
    let time = begun.elapsed().as_secs_f64() * 1000.0;
    spawned.supervisor.stop(true).await.unwrap();
    spawned.process.wait().await.unwrap();
    time
}

fn interface() -> InterfaceSpec {
    InterfaceSpec {
        name: "eth0".into(),
        host_name: "vbench0".into(),
        kind: InterfaceKind::Bridge,
        bridge: "bench0".into(),
        mac: "02:00:00:00:00:07".into(),
        ipv4_address: Some("10.99.0.2".parse().unwrap()),
        ipv4_prefix: 24,
        ipv4_gateway: Some("10.99.0.1".parse().unwrap()),
        ipv6_address: None,
        ipv6_prefix: 0,
        ipv6_gateway: None,
        dhcp: None,
        ipv6_autoconf: false,
        mtu: None,
        vlan: None,
    }
}
