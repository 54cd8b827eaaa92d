//! An instance with every capability that tries to be another.

use std::{net::UdpSocket, time::Duration};

use berth_network::{bridge, firewall::Interface};
use berth_sys::netlink::Netlink;

use crate::world::{Instance, World};

/// Sends frames from `eth0` of a namespace: each a list of bytes in hexadecimal.
fn send_frames(instance: &Instance, frames: &[String]) {
    let script = format!(
        "import socket\ns = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\ns.bind(('eth0', 0))\n\
         for f in '{}'.split(): s.send(bytes.fromhex(f).ljust(60, b'\\0'))",
        frames.join(" ")
    );
    instance.netns.sh(&format!("python3 -c \"{script}\""));
}

/// Two guarded instances; the first is hostile.
fn guarded() -> (World, Instance, Instance) {
    let mut world = World::new();
    let (hostile, other) = (world.instance(2), world.instance(3));
    let bridge = world.agent.bridge.name.clone();
    world.agent.desired.interfaces = [&hostile, &other].map(|instance| instance.interface(&bridge)).into();
    world.agent.apply(&world.host);
    (world, hostile, other)
}

fn refused(world: &World, instance: &Instance) -> u64 {
    world.host.run(|| world.agent.firewall.dropped(&instance.port).unwrap()).spoofed
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn mac(interface: &Interface) -> String {
    interface.mac.to_string().replace(':', "")
}

const ALL: &str = "ffffffffffff";

/// An ARP answer: `address` is at `sender`.
fn arp(ether: &str, sender: &str, address: [u8; 4]) -> String {
    format!("{ALL}{ether}08060001080006040002{sender}{}{ALL}0a4d0103", hex(&address))
}

/// An IPv4 packet of UDP.
fn udp(ether: &str, source: [u8; 4], from: u16, to: u16) -> String {
    let header = "4500001c000000004011";
    format!("{ALL}{ether}0800{header}0000{}0a4d0103{from:04x}{to:04x}00080000", hex(&source))
}

#[test]
fn what_is_foreign_is_dropped_and_counted_and_what_is_own_passes() {
    let (world, hostile, other) = guarded();
    let interfaces = &world.agent.desired.interfaces;
    let (own, foreign) = (mac(&interfaces[0]), mac(&interfaces[1]));
    other.serve(80);
    assert!(hostile.netns.ask("10.77.1.3:80").is_ok(), "what is its own passes");
    assert_eq!(refused(&world, &hostile), 0);
    let attempts = [
        ("a foreign MAC", udp(&foreign, [10, 77, 1, 2], 1000, 1000)),
        ("a foreign MAC inside ARP", arp(&own, &foreign, [10, 77, 1, 2])),
        ("the gateway's address in ARP", arp(&own, &own, [10, 77, 1, 1])),
        ("a neighbour's address", udp(&own, [10, 77, 1, 3], 1000, 1000)),
        ("an outer address", udp(&own, [8, 8, 8, 8], 1000, 1000)),
        ("a DHCP answer", udp(&own, [10, 77, 1, 2], 67, 68)),
        ("a tag", format!("{ALL}{own}81000005{}", &arp(&own, &own, [10, 77, 1, 1])[24..])),
        ("a spanning tree", format!("0180c2000010{own}0026424203")),
    ];
    for (number, (what, frame)) in attempts.iter().enumerate() {
        send_frames(&hostile, std::slice::from_ref(frame));
        assert_eq!(refused(&world, &hostile), number as u64 + 1, "{what}");
    }
    assert_eq!(refused(&world, &other), 0, "each has its own count");
    // The same frames pass where nobody guards: they are well formed.
    assert!(hostile.netns.ask("10.77.1.3:80").is_ok());
    world.host.serve("10.77.1.1:5432");
    other.netns.sh("ip neigh flush all");
    assert!(other.netns.ask("10.77.1.1:5432").is_ok(), "the gateway is who it was");
}

/// A question to a DHCP server, as far as it goes: the first `length` bytes of who asks.
fn dhcp_question(ether: &str, source: [u8; 4], asks: &str, length: usize, fragments: bool) -> String {
    let body = format!("01010600{}{}", "00".repeat(24), &asks[..length * 2]);
    let (udp, flags) = (8 + body.len() / 2, if fragments { "2000" } else { "0000" });
    let ip = format!("4500{:04x}0000{flags}4011", 20 + udp);
    format!("{ALL}{ether}0800{ip}0000{}ffffffff00440043{udp:04x}0000{body}", hex(&source))
}

#[test]
fn an_address_is_asked_for_by_who_is_to_have_it() {
    let (mut world, hostile, other) = guarded();
    let interfaces = world.agent.desired.interfaces.clone();
    let (own, foreign) = (mac(&interfaces[0]), mac(&interfaces[1]));
    let nobody = [0; 4];
    let attempts = [
        dhcp_question(&own, nobody, &foreign, 6, false),
        dhcp_question(&own, nobody, &foreign, 6, true),
        dhcp_question(&own, [10, 77, 1, 2], "020000000001", 6, false),
        dhcp_question(&own, nobody, &own, 4, true),
        // The rest of its own stands behind the packet.
        dhcp_question(&own, nobody, &own, 4, true) + &own[8..],
    ];
    // Where nobody gives addresses, nobody looks; the interfaces stay as they are when somebody begins to.
    send_frames(&hostile, &attempts);
    assert_eq!(refused(&world, &hostile), 0);
    let before = world.agent.desired.clone();
    world.agent.desired.networks[0].dhcp = true;
    world.host.run(|| world.agent.firewall.change(&before, &world.agent.desired).unwrap());
    let observed = world.host.run(|| world.agent.firewall.observe(&world.agent.desired).unwrap());
    assert_eq!(observed, berth_network::firewall::State::AsDesired);
    let start = refused(&world, &hostile);
    for (number, frame) in attempts.iter().enumerate() {
        send_frames(&hostile, std::slice::from_ref(frame));
        assert_eq!(refused(&world, &hostile), start + number as u64 + 1, "attempt {number}");
    }
    send_frames(&hostile, &[dhcp_question(&own, nobody, &own, 6, false)]);
    assert_eq!(refused(&world, &hostile), start + attempts.len() as u64, "for itself it may ask");
    // Who has no address reaches the host with its question and with nothing else.
    let server = world.host.run(|| UdpSocket::bind("0.0.0.0:67").unwrap());
    server.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut question = dhcp_question(&own, nobody, &own, 6, false);
    let words: u32 =
        (28..68).step_by(4).map(|at| u32::from_str_radix(&question[at..at + 4], 16).unwrap()).sum();
    let checksum = !((words & 0xffff) + (words >> 16)) & 0xffff;
    question.replace_range(48..52, &format!("{checksum:04x}"));
    send_frames(&hostile, std::slice::from_ref(&question));
    assert!(server.recv(&mut [0; 400]).unwrap() >= 34);
    send_frames(&hostile, &[question.replace("00440043", "00440044")]);
    assert_eq!(refused(&world, &hostile) - start, attempts.len() as u64 + 1);
    world.agent.desired.networks[0].dhcp = false;
    world.agent.apply(&world.host);
    drop(other);
    server.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    send_frames(&hostile, &[question]);
    assert!(server.recv(&mut [0; 400]).is_err(), "nobody asks where nobody gives");
}

#[test]
fn a_neighbour_is_not_robbed_of_its_packets() {
    let (world, hostile, other) = guarded();
    let host = world.host.run(|| UdpSocket::bind("10.77.1.1:7000").unwrap());
    host.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let client = other.netns.run(|| UdpSocket::bind("10.77.1.3:7000").unwrap());
    client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    client.send_to(b"hello", "10.77.1.1:7000").unwrap();
    host.recv(&mut [0; 8]).unwrap();
    let own = mac(&world.agent.desired.interfaces[0]);
    send_frames(&hostile, &[arp(&own, &own, [10, 77, 1, 3]), udp(&own, [10, 77, 1, 3], 1, 2)]);
    host.send_to(b"answer", "10.77.1.3:7000").unwrap();
    let mut buffer = [0; 8];
    assert_eq!(client.recv(&mut buffer).unwrap(), 6);
    assert_eq!(refused(&world, &hostile), 2);
}

#[test]
fn of_ipv6_too_only_what_is_own_passes() {
    let (mut world, hostile, other) = guarded();
    world.agent.bridge.gateway6 = Some("fd77::1/64".parse().unwrap());
    let wanted = world.agent.bridge.clone();
    world.host.run(|| bridge::ensure(&mut Netlink::open().unwrap(), &wanted).unwrap());
    world.agent.desired.networks[0].ipv6 = Some("fd77::/64".parse().unwrap());
    for (number, instance) in [(2, &hostile), (3, &other)] {
        let own = format!("fd77::{number}");
        instance.netns.netlink().add_address("eth0", own.parse().unwrap(), 64).unwrap();
        world.agent.desired.interfaces[number - 2].addresses.push(own.parse().unwrap());
    }
    world.agent.apply(&world.host);
    let observed = world.host.run(|| world.agent.firewall.observe(&world.agent.desired).unwrap());
    assert_eq!(observed, berth_network::firewall::State::AsDesired);
    other.netns.serve("[fd77::3]:80");
    assert_eq!(hostile.netns.ask("[fd77::3]:80").unwrap(), "fd77::2");
    world.host.serve("[fd77::1]:5432");
    assert_eq!(hostile.netns.ask("[fd77::1]:5432").unwrap(), "fd77::2");
    let before = refused(&world, &hostile);
    let own = mac(&world.agent.desired.interfaces[0]);
    let (source, neighbour) = ("fd770000000000000000000000000002", "fd770000000000000000000000000003");
    let all = "ff020000000000000000000000000001";
    let icmp = |source: &str, body: &str| {
        let length = body.len() / 2;
        format!("333300000001{own}86dd60000000{length:04x}3aff{source}{all}{body}")
    };
    let attempts = [
        ("a router advertisement", icmp(source, "86000000400007080000000000000000")),
        ("a redirect", icmp(source, &format!("8900000000000000{neighbour}{neighbour}"))),
        ("an advertisement of a neighbour's", icmp(source, &format!("8800000020000000{neighbour}0201{own}"))),
        ("a neighbour's source", icmp(neighbour, &format!("8800000020000000{neighbour}0201{own}"))),
        ("a foreign source", icmp("20010db8000000000000000000000001", "8000000000000000")),
    ];
    for (number, (what, frame)) in attempts.iter().enumerate() {
        send_frames(&hostile, std::slice::from_ref(frame));
        assert_eq!(refused(&world, &hostile), before + number as u64 + 1, "{what}");
    }
    send_frames(&hostile, &[icmp(source, &format!("8800000020000000{source}0201{own}"))]);
    assert_eq!(refused(&world, &hostile), before + attempts.len() as u64, "its own it may advertise");
}
