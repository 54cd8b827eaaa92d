//! Making and mending bridges, and choosing their networks.

use std::time::Instant;

use berth_network::{
    Ipv4Net, Prefix,
    bridge::{self, Bridge, BridgeError, Ensured},
    subnet,
};
use berth_sys::netlink::{Address, Link, Netlink, VethEnd, VethSpec};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use crate::world::{Netns, World};

fn bridge() -> Bridge {
    Bridge::new("berthtest0".to_owned(), "10.77.1.0/24".parse().unwrap())
}

/// Settings are of the namespace that the thread is in, as the socket is.
fn ensure(host: &Netns, bridge: &Bridge) -> Result<Ensured, BridgeError> {
    host.run(|| bridge::ensure(&mut Netlink::open().unwrap(), bridge))
}

fn everything(host: &Netns) -> (Vec<Link>, Vec<Address>) {
    (host.netlink().links().unwrap(), host.netlink().addresses().unwrap())
}

fn addresses(host: &Netns) -> String {
    host.sh("ip -4 -o address show dev berthtest0 | awk '{print $4}'")
}

#[test]
fn a_bridge_is_made_and_left_alone_when_it_is_right() {
    let host = Netns::new();
    let started = Instant::now();
    assert_eq!(ensure(&host, &bridge()).unwrap(), Ensured::Created);
    println!("bridge with address and settings: {:?}", started.elapsed());
    assert_eq!(addresses(&host), "10.77.1.1/24\n");
    let link = host.netlink().link("berthtest0").unwrap().unwrap();
    assert_eq!((link.up, link.mac), (true, Some(bridge().mac())));
    for (setting, value) in
        [("ipv4/conf/berthtest0/route_localnet", "1"), ("ipv6/conf/berthtest0/accept_ra", "0")]
    {
        assert_eq!(host.sysctl(&format!("net/{setting}")), value);
    }
    assert_eq!(host.sysctl("net/ipv4/conf/all/route_localnet"), "0", "only the bridge's own");
    assert_eq!(
        host.sh("ip -6 -o address show dev berthtest0"),
        "",
        "nothing listens at a link-local address"
    );
    let seen = everything(&host);
    assert_eq!(ensure(&host, &bridge()).unwrap(), Ensured::Unchanged);
    assert_eq!(everything(&host), seen);
}

#[test]
fn a_bridge_that_was_changed_is_mended_and_keeps_its_ports() {
    let world = World::new();
    let instance = world.instance(2);
    instance.serve(80);
    let (host, bridge) = (&world.host, &world.agent.bridge);
    let damages = [
        "ip link set berthtest0 down",
        "ip address flush dev berthtest0",
        "ip address add 10.88.1.1/24 dev berthtest0",
        // The wanted address is then the second of its network, and goes with the first.
        "ip address flush dev berthtest0; ip address add 10.77.1.9/24 dev berthtest0; ip address add 10.77.1.1/24 dev berthtest0",
        "ip address add 10.77.1.1/16 dev berthtest0",
        "ip link set berthtest0 address 02:00:00:00:00:01",
        "sysctl -qw net.ipv4.conf.berthtest0.route_localnet=0",
    ];
    for damage in damages {
        host.sh(damage);
        assert_eq!(ensure(host, bridge).unwrap(), Ensured::Changed, "{damage}");
        assert_eq!(addresses(host), "10.77.1.1/24\n", "{damage}");
        assert_eq!(host.ask("10.77.1.2:80").unwrap(), "10.77.1.1", "{damage}");
        assert_eq!(ensure(host, bridge).unwrap(), Ensured::Unchanged, "{damage}");
    }
    let wider = Bridge { mtu: Some(1400), gateway: "10.78.0.1/20".parse().unwrap(), ..bridge.clone() };
    assert_eq!(ensure(host, &wider).unwrap(), Ensured::Changed);
    assert_eq!(addresses(host), "10.78.0.1/20\n");
    assert_eq!(host.netlink().link("berthtest0").unwrap().unwrap().mtu, 1400);
}

#[test]
fn what_is_no_bridge_is_not_touched() {
    let host = Netns::new();
    let end = |name| VethEnd { name, mac: None };
    let spec =
        VethSpec { host: end("berthtest0"), master: None, peer: end("x"), peer_namespace: None, mtu: None };
    host.netlink().create_veth(&spec).unwrap();
    let seen = everything(&host);
    let error = ensure(&host, &bridge()).unwrap_err();
    assert!(
        error.to_string().contains("there is a link named berthtest0 already, and it is veth"),
        "{error}"
    );
    assert!(matches!(bridge::remove(&mut host.netlink(), "berthtest0"), Err(BridgeError::NameTaken { .. })));
    assert_eq!(everything(&host), seen);
}

#[test]
fn a_bridge_that_cannot_be_set_up_is_not_left() {
    let host = Netns::new();
    // Kernel settings are often read-only inside a container.
    let error = host.run(|| {
        let none = None::<&str>;
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        mount(Some("/proc/sys"), "/proc/sys", none, MsFlags::MS_BIND, none).unwrap();
        let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(none, "/proc/sys", none, read_only, none).unwrap();
        bridge::ensure(&mut Netlink::open().unwrap(), &bridge()).unwrap_err()
    });
    assert!(matches!(error, BridgeError::Sysctl { .. }), "{error:?}");
    assert_eq!(host.netlink().link("berthtest0").unwrap(), None);
}

#[test]
fn a_network_is_chosen_that_the_host_has_no_route_to() {
    let host = Netns::new();
    let prefix = Prefix::new("test").unwrap();
    let mut netlink = host.netlink();
    let choose = |netlink: &mut Netlink, taken: &[Ipv4Net]| subnet::choose(netlink, &prefix, taken).unwrap();
    let first = choose(&mut netlink, &[]);
    let second = choose(&mut netlink, &[first]);
    assert_ne!(first, second);
    ensure(&host, &Bridge::new("berthtest0".to_owned(), first)).unwrap();
    assert_eq!(choose(&mut netlink, &[]), second, "the host is in the first");
    host.sh(&format!("ip route add {second} via {}", bridge::gateway(first).hosts().nth(4).unwrap()));
    assert!(![first, second].contains(&choose(&mut netlink, &[])));
    host.sh("ip route add blackhole 10.0.0.0/8; ip route add default dev berthtest0");
    let elsewhere = choose(&mut netlink, &[]);
    assert!("172.16.0.0/12".parse::<Ipv4Net>().unwrap().contains(&elsewhere), "{elsewhere}");
}
