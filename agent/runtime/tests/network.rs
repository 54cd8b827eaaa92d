//! An instance's interface, on a bridge of a network namespace that each test has for itself.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::net::{Ipv4Addr, Ipv6Addr};

use berth_runtime::client::ClientError;
use berth_runtime::control::Update;
use berth_runtime::launch::Stage;
use berth_runtime::spec::{InterfaceKind, InterfaceSpec, LaunchSpec};
use berth_sys::netlink::{BridgeSpec, Netlink, VethEnd, VethSpec};
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
    spec.networks.push(interface());
    spec
}

fn interface() -> InterfaceSpec {
    InterfaceSpec {
        name: "eth0".into(),
        host_name: "vbtest0".into(),
        kind: InterfaceKind::Bridge,
        bridge: BRIDGE.into(),
        vlan: None,
        mac: "02:00:00:00:00:07".into(),
        ipv4_address: Some(Ipv4Addr::new(192, 0, 2, 7)),
        ipv4_prefix: 24,
        ipv4_gateway: Some(GATEWAY),
        ipv6_address: None,
        ipv6_prefix: 0,
        ipv6_gateway: None,
        dhcp: None,
        ipv6_autoconf: false,
        mtu: Some(1400),
    }
}

fn update(spec: &LaunchSpec, networks: Vec<InterfaceSpec>) -> Update {
    Update {
        restart: spec.restart,
        stop: spec.stop,
        cgroup: spec.cgroup.clone(),
        mounts: None,
        networks: Some(networks),
        writes: Vec::new(),
        notify: None,
        health: None,
        machine: None,
        patience_ms: 0,
    }
}

/// A macvlan beside `nic0`, which stands for the host's network card.
fn beside_the_card() -> InterfaceSpec {
    InterfaceSpec {
        name: "lan0".into(),
        host_name: "vbtest1".into(),
        kind: InterfaceKind::Physical,
        bridge: "nic0".into(),
        vlan: None,
        mac: "02:00:00:00:00:08".into(),
        ipv4_address: Some(Ipv4Addr::new(198, 51, 100, 8)),
        ipv4_gateway: None,
        ipv6_address: Some(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 8)),
        ipv6_prefix: 64,
        mtu: None,
        ..interface()
    }
}

fn add_card(netlink: &mut Netlink) {
    let end = |name| VethEnd { name, mac: None };
    let pair = VethSpec {
        host: end("nic0"),
        master: None,
        peer: end("wire0"),
        peer_namespace: None,
        mtu: Some(1380),
    };
    netlink.create_veth(&pair).unwrap();
    netlink.set_up("wire0").unwrap();
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
        Err(ClientError::Launch(error)) => {
            assert_eq!(error.stage, Stage::NetworkParent, "{error}");
            assert_eq!(error.path, std::path::Path::new("nowhere0"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(links(&mut netlink), before);
    instance.assert_nothing_left();
}

#[tokio::test]
async fn interfaces_come_and_go_while_the_instance_runs() {
    let mut netlink = enter_own_host();
    add_card(&mut netlink);
    let instance = Instance::new();
    let spec = connected(instance.spec(&["sleep", "1000"]));
    let mut spawned = instance.spawn(&spec).await.unwrap();
    let before = spawned.supervisor.status().await.unwrap().state;
    let both = vec![interface(), beside_the_card()];
    spawned.supervisor.update(update(&spec, both)).await.unwrap();
    let script = "cat /sys/class/net/lan0/address /sys/class/net/lan0/mtu; ip -o addr show lan0; ip route";
    let (code, output) = instance.exec(&spawned.supervisor, &["sh", "-c", script]).await;
    assert_eq!(code, 0, "{output}");
    for part in
        ["02:00:00:00:00:08\n", "1380\n", "inet 198.51.100.8/24", "inet6 2001:db8::8/64", "via 192.0.2.1"]
    {
        assert!(output.contains(part), "no {part:?} in {output}");
    }
    assert!(!links(&mut netlink).contains(&"vbtest1".into()), "a macvlan has one end");
    spawned.supervisor.update(update(&spec, vec![beside_the_card()])).await.unwrap();
    let (_, output) = instance.exec(&spawned.supervisor, &["ls", "/sys/class/net"]).await;
    assert_eq!(output, "lan0\nlo\n");
    assert!(!links(&mut netlink).contains(&"vbtest0".into()));
    assert_eq!(spawned.supervisor.status().await.unwrap().state, before, "it was not restarted");
    spawned.supervisor.stop(true).await.unwrap();
    spawned.process.wait().await.unwrap();
    instance.assert_nothing_left();
}

#[tokio::test]
async fn a_change_of_interfaces_that_fails_is_undone() {
    let mut netlink = enter_own_host();
    add_card(&mut netlink);
    let before = links(&mut netlink);
    let instance = Instance::new();
    let spec = connected(instance.spec(&["sleep", "1000"]));
    let mut spawned = instance.spawn(&spec).await.unwrap();
    let missing = InterfaceSpec { bridge: "nowhere0".into(), ..beside_the_card() };
    // No unicast address: the kernel refuses it only when all else is done.
    let refused = InterfaceSpec { mac: "03:00:00:00:00:09".into(), ..beside_the_card() };
    let moved = InterfaceSpec { ipv4_address: Some(Ipv4Addr::new(192, 0, 2, 9)), ..interface() };
    for (wrong, stage) in [(missing, Stage::NetworkParent), (refused, Stage::Network)] {
        match spawned.supervisor.update(update(&spec, vec![moved.clone(), wrong])).await {
            Err(ClientError::Update(error)) => assert_eq!(error.stage, stage, "{error}"),
            other => panic!("{other:?}"),
        }
        let (_, output) = instance.exec(&spawned.supervisor, &["ls", "/sys/class/net"]).await;
        assert_eq!(output, "eth0\nlo\n");
        let (_, output) =
            instance.exec(&spawned.supervisor, &["ip", "-4", "-o", "addr", "show", "eth0"]).await;
        assert!(output.contains("inet 192.0.2.7/24"), "{output}");
    }
    spawned.supervisor.stop(true).await.unwrap();
    spawned.process.wait().await.unwrap();
    assert_eq!(links(&mut netlink), before);
    instance.assert_nothing_left();
}

#[tokio::test]
async fn a_physical_network_that_is_a_bridge_gets_a_port() {
    let mut netlink = enter_own_host();
    let instance = Instance::new();
    let mut spec = connected(instance.spec(&["sleep", "1000"]));
    spec.networks[0].kind = InterfaceKind::Physical;
    let mut spawned = instance.spawn(&spec).await.unwrap();
    let bridge = netlink.link(BRIDGE).unwrap().unwrap();
    assert_eq!(netlink.link("vbtest0").unwrap().unwrap().master, Some(bridge.index));
    spawned.supervisor.stop(true).await.unwrap();
    spawned.process.wait().await.unwrap();
    instance.assert_nothing_left();
}
