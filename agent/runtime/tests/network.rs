//! An instance's interface, on a bridge of a network namespace that each test has for itself.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::net::Ipv4Addr;

use berth_runtime::client::ClientError;
use berth_runtime::launch::Stage;
use berth_runtime::spec::{InterfaceSpec, LaunchSpec};
use berth_sys::netlink::{BridgeSpec, Netlink};
use nix::sched::{CloneFlags, unshare};
use support::Instance;

const BRIDGE: &str = "bridge0";
const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// From here on this thread, and the supervisor that it spawns, are on a host of their own: it has one bridge.
fn enter_own_host() -> Netlink {
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    let mut netlink = Netlink::open().unwrap();
    netlink.create_bridge(&BridgeSpec { name: BRIDGE, mac: None, mtu: None }).unwrap();
    netlink.add_address(BRIDGE, GATEWAY.into(), 24).unwrap();
    netlink
}

fn connected(mut spec: LaunchSpec) -> LaunchSpec {
    spec.networks.push(InterfaceSpec {
        name: "eth0".into(),
        host_name: "vbtest0".into(),
        bridge: BRIDGE.into(),
        mac: "02:00:00:00:00:07".into(),
        ipv4_address: Ipv4Addr::new(192, 0, 2, 7),
        ipv4_prefix: 24,
        ipv4_gateway: Some(GATEWAY),
        mtu: 1400,
    });
    spec
}

fn links(netlink: &mut Netlink) -> Vec<String> {
    netlink.links().unwrap().into_iter().map(|link| link.name).collect()
}

#[tokio::test]
async fn an_interface_has_its_addresses_and_goes_with_its_instance() {
    let mut netlink = enter_own_host();
    let before = links(&mut netlink);
    let instance = Instance::new();
    let mut spawned = instance.spawn(&connected(instance.spec(&["sleep", "1000"]))).await.unwrap();
    let script = "cat /sys/class/net/eth0/address /sys/class/net/eth0/mtu; ip -4 -o addr show eth0; ip route";
    let (code, output) = instance.exec(&spawned.supervisor, &["sh", "-c", script]).await;
    assert_eq!(code, 0, "{output}");
    for part in ["02:00:00:00:00:07\n", "1400\n", "inet 192.0.2.7/24", "default via 192.0.2.1 dev eth0"] {
        assert!(output.contains(part), "no {part:?} in {output}");
    }
    spawned.supervisor.stop(true).await.unwrap();
    spawned.process.wait().await.unwrap();
    assert_eq!(links(&mut netlink), before);
    instance.assert_nothing_left();
}

#[tokio::test]
async fn every_group_of_an_instance_may_ping() {
    let instance = Instance::new();
    let mut spawned = instance.spawn(&instance.spec(&["sleep", "1000"])).await.unwrap();
    // As the kernel tells it inside: it compares the groups that these stand for on the host.
    let range = instance.exec(&spawned.supervisor, &["cat", "/proc/sys/net/ipv4/ping_group_range"]).await;
    assert_eq!(range, (0, "0\t65535\n".into()));
    spawned.supervisor.stop(true).await.unwrap();
    spawned.process.wait().await.unwrap();
    instance.assert_nothing_left();
}

#[tokio::test]
async fn a_network_that_is_not_there_is_named_and_leaves_nothing() {
    let mut netlink = enter_own_host();
    let before = links(&mut netlink);
    let instance = Instance::new();
    let mut spec = connected(instance.spec(&["true"]));
    spec.networks[0].bridge = "nowhere0".into();
    match instance.spawn(&spec).await {
        Err(ClientError::Launch(error)) => assert_eq!(error.stage, Stage::Network, "{error}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(links(&mut netlink), before);
    instance.assert_nothing_left();
}
