//! The table: what passes through it, and that it alone is touched.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use berth_network::firewall::{Access, Desired, Firewall, HostPort, Interface, Protocol, State, Target};
use berth_sys::netlink::MacAddress;

use crate::world::{Agent, HOST, Netns, OUTSIDE, World, host_and_outside};

const FOREIGN: &str = r#"nft -f - <<'END'
table inet theirs {
  set known { type ipv4_addr; elements = { 192.0.2.1 } }
  chain input {
    type filter hook input priority 0; policy accept;
    ip saddr @known counter drop comment "theirs"
  }
}
table ip nat {
  chain postrouting {
    type nat hook postrouting priority 100; policy accept;
    ip saddr 172.30.0.0/16 masquerade
  }
}
table inet bertha {
  chain x {
    counter
  }
}
END"#;

fn tcp(address: Ipv4Addr, port: u16) -> HostPort {
    HostPort { address: address.into(), protocol: Protocol::Tcp, port }
}

#[test]
fn a_port_on_loopback_is_reached_from_the_host_alone() {
    let mut world = World::new();
    let web = world.instance(2);
    web.serve(80);
    world.publish(Ipv4Addr::LOCALHOST, 8080, &web, 80);
    // The instance sees the bridge's address: it could not answer to 127.0.0.1.
    assert_eq!(world.host.ask("127.0.0.1:8080").unwrap(), "10.77.1.1");
    assert!(world.host.ask(&format!("{HOST}:8080")).is_err(), "published at loopback alone");
    assert!(world.outside.ask(&format!("{HOST}:8080")).is_err());
    assert!(world.host.ask("127.0.0.1:8081").is_err(), "another port");
}

#[test]
fn a_port_at_all_addresses_is_reached_from_everywhere_and_keeps_the_clients_address() {
    let mut world = World::new();
    let (web, other) = (world.instance(2), world.instance(3));
    web.serve(80);
    world.publish(Ipv4Addr::UNSPECIFIED, 8080, &web, 80);
    assert_eq!(world.outside.ask(&format!("{HOST}:8080")).unwrap(), OUTSIDE.to_string());
    assert_eq!(world.host.ask("127.0.0.1:8080").unwrap(), "10.77.1.1");
    assert!(world.host.ask(&format!("{HOST}:8080")).is_ok());
    // From its own network, and from itself: the answer must come back the way of the question.
    for client in [&other, &web] {
        assert_eq!(client.netns.ask(&format!("{HOST}:8080")).unwrap(), "10.77.1.1");
        assert!(client.netns.ask("10.77.1.1:8080").is_ok());
    }
}

#[test]
fn a_port_at_one_address_is_reached_there() {
    let mut world = World::new();
    let web = world.instance(2);
    web.serve(80);
    world.publish(HOST, 8080, &web, 80);
    assert_eq!(world.outside.ask(&format!("{HOST}:8080")).unwrap(), OUTSIDE.to_string());
    assert!(world.host.ask("127.0.0.1:8080").is_err());
}

#[test]
fn udp_is_published_as_well() {
    let mut world = World::new();
    let dns = world.instance(2);
    let port = HostPort { address: Ipv4Addr::LOCALHOST.into(), protocol: Protocol::Udp, port: 5353 };
    world.agent.desired.ports.insert(port, Target { address: dns.address.into(), port: 53 });
    world.agent.apply(&world.host);
    let server = dns.netns.run(|| UdpSocket::bind("0.0.0.0:53").unwrap());
    let client = world.host.run(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    for socket in [&server, &client] {
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    }
    client.send_to(b"question", "127.0.0.1:5353").unwrap();
    let mut buffer = [0; 16];
    let (_, from) = server.recv_from(&mut buffer).unwrap();
    server.send_to(b"answer", from).unwrap();
    let (length, answered_by) = client.recv_from(&mut buffer).unwrap();
    assert_eq!((&buffer[..length], answered_by), (&b"answer"[..], "127.0.0.1:5353".parse().unwrap()));
}

#[test]
fn what_leaves_the_network_has_the_hosts_address() {
    let mut world = World::new();
    let instance = world.instance(2);
    world.outside.serve(&format!("{OUTSIDE}:80"));
    assert_eq!(instance.netns.ask(&format!("{OUTSIDE}:80")).unwrap(), HOST.to_string());

    // Without NAT the outside sees the instance, and answers by a route of its own.
    world.agent.desired.networks[0].nat = false;
    world.agent.apply(&world.host);
    world.outside.sh(&format!("ip route add 10.77.1.0/24 via {HOST}"));
    assert_eq!(instance.netns.ask(&format!("{OUTSIDE}:80")).unwrap(), instance.address.to_string());
}

#[test]
fn one_port_is_added_and_removed_alone() {
    let mut world = World::new();
    let web = world.instance(2);
    web.serve(80);
    let (host, firewall) = (&world.host, &world.agent.firewall);
    let target = Target { address: web.address.into(), port: 80 };
    let none = world.agent.desired.clone();
    let before = host.ruleset();
    for address in [Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED] {
        let mut with = none.clone();
        with.ports.insert(tcp(address, 8080), target);
        host.run(|| firewall.change(&none, &with).unwrap());
        assert_eq!(host.ask("127.0.0.1:8080").unwrap(), "10.77.1.1");
        assert_eq!(host.run(|| firewall.observe(&with).unwrap()), State::AsDesired);
        host.run(|| firewall.change(&with, &none).unwrap());
        assert!(host.ask("127.0.0.1:8080").is_err());
        // What is there is not what it is said to be.
        let error = host.run(|| firewall.change(&with, &none).unwrap_err());
        assert_eq!(error.to_string(), "cannot change the firewall table berthtest");
    }
    assert_eq!(host.ruleset(), before);
    world.agent.desired = none;
}

#[test]
fn a_running_connection_outlives_replaced_tables() {
    let mut world = World::new();
    let web = world.instance(2);
    let listener = web.netns.run(|| TcpListener::bind("0.0.0.0:80").unwrap());
    world.publish(Ipv4Addr::LOCALHOST, 8080, &web, 80);
    let mut client = world.host.run(|| TcpStream::connect("127.0.0.1:8080").unwrap());
    let (mut server, _) = listener.accept().unwrap();
    for socket in [&client, &server] {
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    }
    let mut pass = |byte: u8| {
        let mut got = [0];
        client.write_all(&[byte]).unwrap();
        server.read_exact(&mut got).unwrap();
        server.write_all(&got).unwrap();
        client.read_exact(&mut got).unwrap();
        assert_eq!(got, [byte]);
    };
    pass(1);
    for byte in 2..10 {
        world.agent.apply(&world.host);
        pass(byte);
    }
}

#[test]
fn a_changed_table_is_seen_and_put_back() {
    let mut world = World::new();
    let web = world.instance(2);
    world.publish(Ipv4Addr::LOCALHOST, 8080, &web, 80);
    world.publish(Ipv4Addr::UNSPECIFIED, 9090, &web, 90);
    let (host, agent) = (&world.host, &world.agent);
    let observe = || host.run(|| agent.firewall.observe(&agent.desired).unwrap());
    assert_eq!(observe(), State::AsDesired);

    let damages = [
        ("nft flush ruleset", State::Missing),
        ("nft delete table inet berthtest", State::Missing),
        ("nft flush table inet berthtest", State::Differs),
        ("nft delete table bridge berthtest", State::Missing),
        ("nft flush table bridge berthtest", State::Differs),
        ("nft add element bridge berthtest ports { vx }", State::Differs),
        ("nft flush chain inet berthtest guard", State::Differs),
        ("nft delete element inet berthtest address_hosts { 127.0.0.1 . tcp . 8080 }", State::Differs),
        ("nft add element inet berthtest any_ports { tcp . 1 : 2 }", State::Differs),
        ("nft add rule inet berthtest forward drop", State::Differs),
        ("nft insert rule inet berthtest forward accept", State::Differs),
        ("nft add chain inet berthtest more", State::Differs),
        ("nft chain inet berthtest forward '{ policy drop; }'", State::Differs),
    ];
    for (damage, seen) in damages {
        host.sh(damage);
        assert_eq!(observe(), seen, "{damage}");
        agent.apply(host);
        assert_eq!(observe(), State::AsDesired, "after {damage}");
    }
    let port = tcp(Ipv4Addr::LOCALHOST, 7070);
    let mut more = agent.desired.clone();
    more.ports.insert(port, Target { address: web.address.into(), port: 70 });
    host.run(|| agent.firewall.change(&agent.desired, &more).unwrap());
    assert_eq!(observe(), State::Differs, "one port more than desired");
}

#[test]
fn it_is_known_without_a_look_whether_anybody_touched_the_tables() {
    let mut world = World::new();
    let web = world.instance(2);
    let is_untouched = |world: &World| world.host.run(|| world.agent.firewall.is_untouched());
    let observe =
        |world: &World| world.host.run(|| world.agent.firewall.observe(&world.agent.desired).unwrap());
    assert!(is_untouched(&world), "replaced");
    // What instances change, and what networks do.
    let edits: [fn(&mut Desired); 2] = [
        |desired| desired.interfaces[0].access.ingress = Some(Vec::new()),
        |desired| desired.networks[0].isolated = true,
    ];
    world.agent.desired.interfaces.push(web.interface(&world.agent.bridge.name));
    world.agent.apply(&world.host);
    for edit in edits {
        let before = world.agent.desired.clone();
        edit(&mut world.agent.desired);
        let (firewall, desired) = (&world.agent.firewall, &world.agent.desired);
        world.host.run(|| firewall.change(&before, desired).unwrap());
        assert!(is_untouched(&world), "changed");
    }
    assert_eq!(observe(&world), State::AsDesired);
    // Whatever another does is looked at, and only once if it was nothing.
    world.host.sh("nft add table inet theirs");
    assert!(!is_untouched(&world));
    assert_eq!(observe(&world), State::AsDesired);
    assert!(is_untouched(&world));
    world.host.sh("nft delete element bridge berthtest ports '{ \"vtest2\" }'");
    assert!(!is_untouched(&world));
    assert_eq!(observe(&world), State::Differs);
    assert!(!is_untouched(&world));
    // A change of something else does not make up for it.
    let mut without = world.agent.desired.clone();
    without.networks[0].isolated = false;
    world.host.run(|| world.agent.firewall.change(&world.agent.desired, &without).unwrap());
    assert!(!is_untouched(&world));
    world.agent.apply(&world.host);
    assert!(is_untouched(&world));
    world.host.sh("nft flush ruleset");
    assert!(!is_untouched(&world));
}

#[test]
fn nothing_of_others_is_touched_and_nothing_is_left() {
    let (host, _outside) = host_and_outside();
    host.sh(FOREIGN);
    host.set_sysctl("net/ipv4/ip_forward", "0");
    let facts =
        |host: &Netns| host.ruleset() + &host.sh("ip -j route show table all; ip -j address; ip -j rule");
    let before = facts(&host);
    let agent = Agent::new(&host, "test", "10.77.1.0/24");
    let instance = agent.instance(&host, 2);
    let theirs = |ruleset: String| ruleset.matches("theirs").count();
    assert_eq!(theirs(host.ruleset()), theirs(before.clone()));

    drop(instance);
    // It goes with the namespace of its other end, now or in a moment.
    if let Err(error) = host.netlink().delete_link("vtest2") {
        assert!(error.is_missing(), "{error}");
    }
    host.run(|| agent.firewall.remove().unwrap());
    host.run(|| agent.firewall.remove().unwrap());
    let mut netlink = host.netlink();
    berth_network::bridge::remove(&mut netlink, &agent.bridge.name).unwrap();
    berth_network::bridge::remove(&mut netlink, &agent.bridge.name).unwrap();
    assert_eq!(facts(&host), before);
}

#[test]
fn agents_side_by_side_do_not_touch_each_other() {
    let mut world = World::new();
    let second = Agent::new(&world.host, "tesu", "10.77.2.0/24");
    let (ours, theirs) = (world.instance(2), second.instance(&world.host, 2));
    ours.serve(80);
    world.publish(Ipv4Addr::UNSPECIFIED, 8080, &ours, 80);
    // What is published is reached by the other's instances; what is not, is not.
    // Leaving their network they have an address of the host.
    assert_eq!(theirs.netns.ask(&format!("{HOST}:8080")).unwrap(), "10.77.1.1");
    theirs.netns.hears_nothing_from(&format!("{}:80", ours.address));

    let list = |agent: &Agent| world.host.sh(&format!("nft -a list table inet {}", agent.prefix.table()));
    let before = list(&world.agent);
    world.host.run(|| second.firewall.apply(&second.desired).unwrap());
    world.host.run(|| second.firewall.remove().unwrap());
    assert_eq!(list(&world.agent), before);
    assert_eq!(world.host.ask("127.0.0.1:8080").unwrap(), "10.77.1.1");
}

#[test]
fn a_refused_table_leaves_the_old_one() {
    let world = World::new();
    let before = world.host.ruleset();
    let refused = |edit: fn(&mut Desired)| {
        let mut desired = world.agent.desired.clone();
        edit(&mut desired);
        let error = world.host.run(|| world.agent.firewall.apply(&desired).unwrap_err());
        assert_eq!(world.host.ruleset(), before);
        std::error::Error::source(&error).unwrap().to_string()
    };
    let cause = refused(|desired| desired.networks[0].bridge = "a name that is too long".to_owned());
    assert_eq!(cause, "\"a name that is too long\" is no ifname");
    // What is said of an address twice is refused by the kernel.
    let cause = refused(|desired| {
        for number in [2, 3] {
            desired.interfaces.push(Interface {
                name: format!("v{number}"),
                bridge: desired.networks[0].bridge.clone(),
                mac: MacAddress([2, 0, 0, 0, 0, number]),
                addresses: vec![Ipv4Addr::new(10, 77, 1, 2).into()],
                access: Access { ingress: Some(Vec::new()), egress: None },
            });
        }
    });
    assert_eq!(cause, "cannot change the elements of set ingress_ip in table inet berthtest");
}

#[test]
fn changes_are_quick_with_a_thousand_ports() {
    let mut world = World::new();
    for number in 0..1000 {
        let target = Target { address: Ipv4Addr::new(10, 77, 1, 2).into(), port: 80 };
        world.agent.desired.ports.insert(tcp(Ipv4Addr::LOCALHOST, 10_000 + number), target);
    }
    let (host, firewall, desired) = (&world.host, &world.agent.firewall, &world.agent.desired);
    let timed = |what: &str, call: &(dyn Fn(&Firewall) + Sync)| {
        let mut times: Vec<Duration> = host.run(|| {
            let once = |_| {
                let started = Instant::now();
                call(firewall);
                started.elapsed()
            };
            (0..11).map(once).collect()
        });
        times.sort();
        println!("{what}: median {:?}, worst {:?}", times[5], times[10]);
        times[5]
    };
    let (port, target) =
        (tcp(Ipv4Addr::LOCALHOST, 9999), Target { address: Ipv4Addr::new(10, 77, 1, 3).into(), port: 1 });
    let mut more = desired.clone();
    more.ports.insert(port, target);
    let apply = timed("replace a table of 1,000 ports", &|firewall| firewall.apply(desired).unwrap());
    timed("observe it", &|firewall| {
        assert_eq!(firewall.observe(desired).unwrap(), State::AsDesired);
    });
    let change = timed("add a port to it and remove it", &|firewall| {
        let started = Instant::now();
        firewall.change(desired, &more).unwrap();
        let added = started.elapsed();
        firewall.change(&more, desired).unwrap();
        println!("added in {added:?}, removed in {:?}", started.elapsed() - added);
    });
    // A tenth on a machine with nothing else to do.
    assert!(
        change * 2 < apply,
        "a change takes its own time, not that of all there is: {change:?} of {apply:?}"
    );
}

#[test]
fn ports_of_ipv6_lead_to_instances_and_what_leaves_has_the_hosts_address() {
    let mut world = World::new();
    let web = world.instance(2);
    world.agent.bridge.gateway6 = Some("fd77::1/64".parse().unwrap());
    let wanted = world.agent.bridge.clone();
    let ensure = || {
        world
            .host
            .run(|| berth_network::bridge::ensure(&mut berth_sys::netlink::Netlink::open().unwrap(), &wanted))
    };
    ensure().unwrap();
    assert_eq!(ensure().unwrap(), berth_network::bridge::Ensured::Unchanged);
    world
        .host
        .sh("sysctl -qw net.ipv6.conf.all.forwarding=1; ip -6 address add 2001:db8::1/64 dev eth0 nodad");
    world.outside.sh("ip -6 address add 2001:db8::2/64 dev eth0 nodad");
    web.netns.sh("ip -6 address add fd77::2/64 dev eth0 nodad; ip -6 route add default via fd77::1");
    web.netns.serve("[fd77::2]:80");
    world.outside.serve("[2001:db8::2]:80");
    world.agent.desired.networks[0].ipv6 = Some("fd77::/64".parse().unwrap());
    let target = Target { address: "fd77::2".parse().unwrap(), port: 80 };
    for (address, port) in [("::", 8080), ("2001:db8::1", 8081)] {
        let port = HostPort { address: address.parse().unwrap(), protocol: Protocol::Tcp, port };
        world.agent.desired.ports.insert(port, target);
    }
    world.agent.apply(&world.host);
    for port in [8080, 8081] {
        assert_eq!(world.outside.ask(&format!("[2001:db8::1]:{port}")).unwrap(), "2001:db8::2");
        assert!(world.host.ask(&format!("[2001:db8::1]:{port}")).is_ok());
    }
    assert_eq!(web.netns.ask("[2001:db8::1]:8080").unwrap(), "fd77::1", "its own way back");
    assert_eq!(web.netns.ask("[2001:db8::2]:80").unwrap(), "2001:db8::1");
    world.outside.sh("ip -6 route add fd77::/64 via 2001:db8::1");
    world.outside.hears_nothing_from("[fd77::2]:80");
    // Without IPv6 again nothing is left of it.
    world.agent.bridge.gateway6 = None;
    let wanted = world.agent.bridge.clone();
    world
        .host
        .run(|| berth_network::bridge::ensure(&mut berth_sys::netlink::Netlink::open().unwrap(), &wanted))
        .unwrap();
    assert_eq!(world.host.sh("ip -6 -o address show dev berthtest0"), "");
}
