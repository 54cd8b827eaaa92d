//! Against the kernel, each in network namespaces of its own that vanish with the test.

use std::{
    fs::File,
    net::{IpAddr, Ipv4Addr, TcpListener, TcpStream},
    os::fd::AsFd,
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sched::{CloneFlags, setns, unshare},
};

use super::*;

/// A network namespace, alive as long as this.
struct Netns(File);

impl Netns {
    fn new() -> Self {
        thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            Self(File::open("/proc/thread-self/ns/net").unwrap())
        })
        .join()
        .unwrap()
    }

    /// Runs `body` on a thread inside.
    fn run<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&self.0, CloneFlags::CLONE_NEWNET).unwrap();
                body()
            });
            inside.join().unwrap()
        })
    }

    fn netlink(&self) -> Netlink {
        self.run(|| Netlink::open().unwrap())
    }
}

const MAC: MacAddress = MacAddress([0x02, 0, 0, 0xaa, 0xbb, 0xcc]);

fn v4(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn end(name: &str) -> VethEnd<'_> {
    VethEnd { name, mac: None }
}

fn pair<'a>(host: &'a str, peer: &'a str) -> VethSpec<'a> {
    VethSpec { host: end(host), master: None, peer: end(peer), peer_namespace: None, mtu: None }
}

#[test]
fn a_bridge_is_made_as_asked_and_once() {
    let mut netlink = Netns::new().netlink();
    let spec = BridgeSpec { name: "br0", mac: Some(MAC), mtu: Some(1400) };
    netlink.create_bridge(&spec).unwrap();
    let bridge = netlink.link("br0").unwrap().unwrap();
    assert_eq!(bridge.kind.as_deref(), Some("bridge"));
    assert_eq!((bridge.mac, bridge.mtu, bridge.up), (Some(MAC), 1400, true));

    let error = netlink.create_bridge(&spec).unwrap_err();
    assert!(error.is_exists());
    assert_eq!(error.to_string(), "cannot create the bridge br0");

    netlink.delete_link("br0").unwrap();
    assert_eq!(netlink.link("br0").unwrap(), None);
    assert!(netlink.delete_link("br0").unwrap_err().is_missing());
}

#[test]
fn a_veth_pair_joins_a_bridge_and_a_namespace_in_one_request() {
    let (host, inside) = (Netns::new(), Netns::new());
    let mut netlink = host.netlink();
    netlink.create_bridge(&BridgeSpec { name: "br0", mac: None, mtu: None }).unwrap();
    let peer_mac = MacAddress([2, 0, 0, 0, 0, 7]);
    let spec = VethSpec {
        host: VethEnd { name: "vhost", mac: Some(MAC) },
        master: Some("br0"),
        peer: VethEnd { name: "eth0", mac: Some(peer_mac) },
        peer_namespace: Some(Namespace::Fd(inside.0.as_fd())),
        mtu: Some(1300),
    };
    netlink.create_veth(&spec).unwrap();

    let bridge = netlink.link("br0").unwrap().unwrap();
    let port = netlink.link("vhost").unwrap().unwrap();
    assert_eq!((port.mac, port.mtu, port.master, port.up), (Some(MAC), 1300, Some(bridge.index), true));
    assert_eq!(netlink.link("eth0").unwrap(), None, "the peer is not here");
    let peer = inside.netlink().link("eth0").unwrap().unwrap();
    assert_eq!((peer.mac, peer.mtu, peer.up), (Some(peer_mac), 1300, false));

    netlink.set_hairpin("vhost", true).unwrap();
    netlink.set_master("vhost", None).unwrap();
    assert_eq!(netlink.link("vhost").unwrap().unwrap().master, None);
    assert!(netlink.set_hairpin("vhost", true).is_err(), "it is no port any more");
    netlink.delete_link("vhost").unwrap();
    assert_eq!(inside.netlink().link("eth0").unwrap(), None);
}

/// What this kernel can do is told; what it cannot is refused as such.
#[test]
fn vlans_are_made_where_the_kernel_has_them() {
    let mut netlink = Netns::new().netlink();
    netlink.create_bridge(&BridgeSpec { name: "br0", mac: None, mtu: None }).unwrap();
    netlink.create_veth(&VethSpec { master: Some("br0"), ..pair("port", "card") }).unwrap();
    netlink.set_up("card").unwrap();
    let made = netlink.create_vlan(&VlanSpec { name: "card.7", parent: "card", id: 7 });
    if netlink.supports(LinkKind::Vlan).unwrap() {
        made.unwrap();
        let link = netlink.link("card.7").unwrap().unwrap();
        assert_eq!((link.kind.as_deref(), link.up), (Some("vlan"), true));
        let again = netlink.create_vlan(&VlanSpec { name: "other", parent: "card", id: 7 }).unwrap_err();
        assert!(again.is_exists(), "{again}");
    } else {
        let refused = made.unwrap_err();
        assert_eq!(refused.errno(), Some(Errno::EOPNOTSUPP), "{refused}");
        assert_eq!(refused.to_string(), "cannot create the VLAN card.7");
    }
    match netlink.set_port_vlan("port", 7, None) {
        Ok(()) => {}
        Err(error) => assert_eq!(error.errno(), Some(Errno::EOPNOTSUPP), "{error}"),
    }
    let missing = netlink.create_vlan(&VlanSpec { name: "v", parent: "nothere", id: 7 }).unwrap_err();
    assert!(missing.is_missing(), "{missing}");
}

#[test]
fn a_refused_pair_leaves_nothing() {
    let mut netlink = Netns::new().netlink();
    let before = netlink.links().unwrap();
    let missing = netlink.create_veth(&VethSpec { master: Some("nobr"), ..pair("a", "b") }).unwrap_err();
    assert_eq!(missing.errno(), Some(Errno::ENODEV));
    assert!(missing.to_string().contains("nobr"), "{missing}");
    // A process that does not exist has no namespace.
    let nowhere = VethSpec { peer_namespace: Some(Namespace::Pid(u32::MAX / 2)), ..pair("a", "b") };
    assert_eq!(netlink.create_veth(&nowhere).unwrap_err().errno(), Some(Errno::ESRCH));
    assert_eq!(netlink.links().unwrap(), before);
}

#[test]
fn links_are_changed_and_moved() {
    let (host, inside) = (Netns::new(), Netns::new());
    let mut netlink = host.netlink();
    netlink.create_veth(&pair("a", "b")).unwrap();
    netlink.set_down("a").unwrap();
    netlink.set_mtu("a", 1234).unwrap();
    netlink.set_mac("a", MAC).unwrap();
    let link = netlink.link("a").unwrap().unwrap();
    assert_eq!((link.up, link.mtu, link.mac), (false, 1234, Some(MAC)));
    netlink.set_up("a").unwrap();
    assert!(netlink.link("a").unwrap().unwrap().up);

    netlink.move_link("b", Namespace::Fd(inside.0.as_fd()), "eth0").unwrap();
    assert_eq!(netlink.link("b").unwrap(), None);
    assert!(inside.netlink().link("eth0").unwrap().is_some());
    assert!(netlink.set_mtu("nothing", 1500).unwrap_err().is_missing());
}

#[test]
fn names_that_the_kernel_would_bend_are_refused() {
    let mut netlink = Netns::new().netlink();
    for name in ["", "a b", "a/b", "a:b", "veth%d", "sixteen-letters!", "..", "tab\t", "ü"] {
        let error = netlink.create_bridge(&BridgeSpec { name, mac: None, mtu: None }).unwrap_err();
        assert!(matches!(error.cause, Cause::BadName), "{name:?}: {error:?}");
        assert_eq!(netlink.link(name).unwrap(), None);
    }
    let name = "fifteen-letters";
    netlink.create_bridge(&BridgeSpec { name, mac: None, mtu: None }).unwrap();
}

#[test]
fn addresses_come_and_go() {
    let mut netlink = Netns::new().netlink();
    netlink.create_bridge(&BridgeSpec { name: "br0", mac: None, mtu: None }).unwrap();
    let index = netlink.link("br0").unwrap().unwrap().index;
    netlink.add_address("br0", v4("10.1.2.3"), 24).unwrap();
    netlink.add_address("br0", v4("fd00::1"), 64).unwrap();
    let addresses = netlink.addresses().unwrap();
    for (address, prefix_len) in [(v4("10.1.2.3"), 24), (v4("fd00::1"), 64)] {
        assert!(addresses.contains(&Address { link: index, address, prefix_len }), "{addresses:?}");
    }
    assert!(netlink.add_address("br0", v4("10.1.2.3"), 24).unwrap_err().is_exists());
    netlink.delete_address("br0", v4("10.1.2.3"), 24).unwrap();
    assert!(netlink.addresses().unwrap().iter().all(|address| address.address != v4("10.1.2.3")));
    assert!(netlink.delete_address("br0", v4("10.1.2.3"), 24).unwrap_err().is_missing());
    assert!(netlink.add_address("br0", v4("10.1.2.3"), 33).is_err());
}

#[test]
fn routes_come_and_go() {
    let mut netlink = Netns::new().netlink();
    netlink.create_bridge(&BridgeSpec { name: "br0", mac: None, mtu: None }).unwrap();
    netlink.add_address("br0", v4("10.1.2.3"), 24).unwrap();
    let unreachable = netlink.add_default_route(v4("10.9.9.9"), "br0").unwrap_err();
    assert_eq!(unreachable.errno(), Some(Errno::ENETUNREACH));
    netlink.add_default_route(v4("10.1.2.1"), "br0").unwrap();
    netlink.add_route((v4("10.50.0.0"), 16), None, "br0").unwrap();

    let index = netlink.link("br0").unwrap().unwrap().index;
    let routes = netlink.routes().unwrap();
    let find = |destination: IpAddr, prefix_len| {
        routes.iter().find(|route| (route.destination, route.prefix_len) == (destination, prefix_len))
    };
    let default = find(Ipv4Addr::UNSPECIFIED.into(), 0).unwrap();
    assert_eq!((default.gateway, default.link, default.table), (Some(v4("10.1.2.1")), Some(index), 254));
    assert_eq!(find(v4("10.50.0.0"), 16).unwrap().gateway, None);
    assert!(find(v4("10.1.2.0"), 24).is_some(), "the link's own network: {routes:?}");
    assert_eq!(find(v4("10.1.2.3"), 32).unwrap().table, 255);

    assert!(netlink.add_default_route(v4("10.1.2.1"), "br0").unwrap_err().is_exists());
    netlink.delete_route((v4("10.50.0.0"), 16), None, "br0").unwrap();
    assert!(netlink.delete_route((v4("10.50.0.0"), 16), None, "br0").unwrap_err().is_missing());
}

#[test]
fn listings_larger_than_one_datagram_are_whole() {
    let mut netlink = Netns::new().netlink();
    for number in 0..150 {
        let (host, peer) = (format!("a{number}"), format!("b{number}"));
        netlink.create_veth(&pair(&host, &peer)).unwrap();
    }
    let links = netlink.links().unwrap();
    assert_eq!(links.iter().filter(|link| link.kind.as_deref() == Some("veth")).count(), 300);
}

#[test]
fn packets_pass_from_one_namespace_to_another() {
    let (host, inside) = (Netns::new(), Netns::new());
    let mut netlink = host.netlink();
    let started = Instant::now();
    netlink.create_bridge(&BridgeSpec { name: "br0", mac: Some(MAC), mtu: None }).unwrap();
    netlink.add_address("br0", v4("10.1.2.1"), 24).unwrap();
    let bridge_ready = started.elapsed();
    let spec = VethSpec {
        master: Some("br0"),
        peer_namespace: Some(Namespace::Fd(inside.0.as_fd())),
        ..pair("vhost", "eth0")
    };
    netlink.create_veth(&spec).unwrap();
    let pair_ready = started.elapsed();
    let mut inner = inside.netlink();
    inner.set_up("lo").unwrap();
    inner.set_up("eth0").unwrap();
    inner.add_address("eth0", v4("10.1.2.2"), 24).unwrap();
    inner.add_default_route(v4("10.1.2.1"), "eth0").unwrap();
    println!("bridge {bridge_ready:?}, with pair {pair_ready:?}, with inside {:?}", started.elapsed());

    let listener = inside.run(|| TcpListener::bind("10.1.2.2:80").unwrap());
    let client = host
        .run(|| TcpStream::connect_timeout(&"10.1.2.2:80".parse().unwrap(), Duration::from_secs(5)).unwrap());
    let (_, from) = listener.accept().unwrap();
    assert_eq!(from, client.local_addr().unwrap());
    assert_eq!(from.ip(), v4("10.1.2.1"));
}

#[test]
fn a_macvlan_appears_in_its_namespace_beside_its_parent() {
    let (host, inside) = (Netns::new(), Netns::new());
    let mut netlink = host.netlink();
    netlink.create_veth(&VethSpec { mtu: Some(1400), ..pair("nic0", "wire0") }).unwrap();
    let spec = MacvlanSpec {
        name: "lan0",
        parent: "nic0",
        mac: Some(MAC),
        namespace: Some(Namespace::Fd(inside.0.as_fd())),
        mtu: None,
    };
    netlink.create_macvlan(&spec).unwrap();
    assert!(netlink.link("lan0").unwrap().is_none(), "nothing of it stays behind");
    let link = inside.netlink().link("lan0").unwrap().unwrap();
    assert_eq!((link.kind.as_deref(), link.mac, link.mtu), (Some("macvlan"), Some(MAC), 1400));
    assert!(netlink.create_macvlan(&spec).unwrap_err().is_exists());
    let missing = MacvlanSpec { parent: "nowhere0", ..spec };
    assert!(netlink.create_macvlan(&missing).unwrap_err().is_missing());
}

#[test]
fn the_socket_stays_in_the_namespace_it_was_opened_in() {
    let (first, second) = (Netns::new(), Netns::new());
    let mut netlink = first.netlink();
    second.run(|| netlink.create_bridge(&BridgeSpec { name: "br0", mac: None, mtu: None }).unwrap());
    assert!(first.netlink().link("br0").unwrap().is_some());
    assert!(second.netlink().link("br0").unwrap().is_none());
}

#[test]
fn what_the_kernel_can_make_is_known_without_making_it() {
    let mut netlink = Netns::new().netlink();
    let before = netlink.links().unwrap();
    assert!(netlink.supports(LinkKind::Bridge).unwrap());
    assert!(netlink.supports(LinkKind::Veth).unwrap());
    assert!(!netlink.supports(LinkKind::Other("nosuchkind".to_owned())).unwrap());
    assert_eq!(netlink.links().unwrap(), before);
}

#[test]
fn mac_addresses_are_read_strictly() {
    assert_eq!("02:00:00:aa:BB:cc".parse(), Ok(MAC));
    assert_eq!(MAC.to_string(), "02:00:00:aa:bb:cc");
    for wrong in [
        "",
        "02:00:00:aa:bb",
        "02:00:00:aa:bb:cc:dd",
        "2:0:0:aa:bb:cc",
        "02:00:00:aa:bb:+c",
        "02-00-00-aa-bb-cc",
    ] {
        assert_eq!(wrong.parse::<MacAddress>(), Err(InvalidMac(wrong.to_owned())));
    }
}

#[test]
fn changes_of_addresses_are_told_once() {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let netns = Netns::new();
    let changes = netns.run(|| Changes::of_addresses().unwrap());
    let told = |limit: u16| {
        let mut polled = [PollFd::new(changes.as_fd(), PollFlags::POLLIN)];
        poll(&mut polled, PollTimeout::from(limit)).unwrap() == 1
    };
    assert!(!told(0));
    let mut netlink = netns.netlink();
    netlink.add_address("lo", v4("192.0.2.1"), 24).unwrap();
    netlink.add_address("lo", v4("192.0.2.2"), 24).unwrap();
    assert!(told(5000));
    changes.drain();
    assert!(!told(0));
    netlink.delete_address("lo", v4("192.0.2.2"), 24).unwrap();
    assert!(told(5000));
}

#[test]
fn a_link_that_comes_is_told_and_a_macvtap_is_opened() {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let netns = Netns::new();
    let changes = netns.run(|| Changes::of_links().unwrap());
    let mut netlink = netns.netlink();
    let end = |name| VethEnd { name, mac: None };
    let pair = VethSpec { host: end("a"), master: None, peer: end("b"), peer_namespace: None, mtu: None };
    netlink.create_veth(&pair).unwrap();
    let mut polled = [PollFd::new(changes.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut polled, PollTimeout::from(5000_u16)).unwrap(), 1);
    let spec = MacvlanSpec { name: "tap0", parent: "b", mac: Some(MAC), namespace: None, mtu: None };
    netlink.create_macvtap(&spec).unwrap();
    netlink.set_up("tap0").unwrap();
    let link = netlink.link("tap0").unwrap().unwrap();
    assert_eq!((link.kind.as_deref(), link.mac), (Some("macvtap"), Some(MAC)));
    let opened = netns.run(|| crate::tap::open_macvtap("tap0", link.index));
    assert!(opened.is_ok(), "{opened:?}");
    assert!(netns.run(|| crate::tap::open_macvtap("b", link.index)).is_err());
}
