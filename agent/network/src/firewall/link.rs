//! The table `bridge`: what instances may send at all, and what they may send each other.

use serde_json::{Value, json};

use super::{
    access::{self, Direction, Listed},
    desired::{Desired, Interface},
    json::{
        accept, concat, count, drop, equal, give_back, go_to, is_not, jump, matching, meta, payload, set,
        transport_bits, verdict,
    },
    table::Table,
};

/// The set whose elements count what was refused, by interface.
pub(super) const REFUSED: &str = "refused";

/// How long a question is remembered, so that its answer is let through.
const ANSWER_SECONDS: u32 = 180;
const ANSWERS: u32 = 65_536;

pub(super) fn table(name: &str, desired: &Desired, listed: Listed) -> Table {
    let mut table = Table::new("bridge", name);
    declare_sets(&mut table, &desired.interfaces);
    for chain in ["own", "arp", "ipv4", "ipv6", "refuse"] {
        table.chain(chain);
    }
    table.base("guard", "filter", "prerouting", -300);
    table.rule("guard", "ports of instances", vec![equal(iifname(), "@ports"), jump("own")]);
    own(&mut table);
    askers(&mut table, desired);
    ipv4(&mut table);
    ipv6(&mut table);
    neighbours(&mut table, &desired.interfaces);
    // The element counts.
    table.rule("refuse", "count by interface", vec![equal(iifname(), format!("@{REFUSED}")), drop()]);
    table.rule("refuse", "drop", vec![drop()]);
    table.base("forward", "filter", "forward", 0);
    if Direction::BOTH.iter().any(|direction| listed.has(*direction)) {
        between(&mut table, &desired.interfaces);
    }
    table
}

fn declare_sets(table: &mut Table, interfaces: &[Interface]) {
    let names = || interfaces.iter().map(|interface| json!(interface.name)).collect::<Vec<_>>();
    let with = |interface: &Interface, value: String| concat(vec![json!(interface.name), json!(value)]);
    let macs = interfaces.iter().map(|interface| with(interface, interface.mac.to_string())).collect();
    let v4 = interfaces.iter().flat_map(|interface| {
        let own = interface.addresses.iter().filter(|address| address.is_ipv4());
        own.map(move |address| with(interface, address.to_string()))
    });
    let v6 = interfaces.iter().flat_map(|interface| {
        interface.ipv6().into_iter().map(move |address| with(interface, address.to_string()))
    });
    let six = interfaces.iter().filter(|interface| !interface.ipv6().is_empty());
    let six = six.map(|interface| json!(interface.name)).collect();
    let nothing = || json!({});
    table.set("ports", json!("ifname"), nothing(), names());
    table.set("macs", json!(["ifname", "ether_addr"]), nothing(), macs);
    table.set("addresses", json!(["ifname", "ipv4_addr"]), nothing(), v4.collect());
    table.set("addresses6", json!(["ifname", "ipv6_addr"]), nothing(), v6.collect());
    table.set("six", json!("ifname"), nothing(), six);
    table.set(REFUSED, json!("ifname"), json!({ "stmt": [{ "counter": null }] }), names());
}

fn iifname() -> Value {
    meta("iifname")
}

/// The interface and a field, as they are looked up in a set.
fn of_interface(field: Value) -> Value {
    concat(vec![iifname(), field])
}

fn refuse() -> [Value; 2] {
    [count(), go_to("refuse")]
}

fn refused(table: &mut Table, chain: &str, what: &str, mut statements: Vec<Value>) {
    statements.extend(refuse());
    table.rule(chain, what, statements);
}

fn own(table: &mut Table) {
    let foreign_mac = is_not(of_interface(payload("ether", "saddr")), "@macs");
    refused(table, "own", "no foreign MAC", vec![foreign_mac]);
    let kind = |name: &str| equal(payload("ether", "type"), name);
    table.rule("own", "ARP", vec![kind("arp"), go_to("arp")]);
    table.rule("own", "IPv4", vec![kind("ip"), go_to("ipv4")]);
    table.rule("own", "IPv6", vec![kind("ip6"), go_to("ipv6")]);
    // A tag hides from the rules what it carries, and would be taken off by a device on the host.
    refused(table, "own", "ARP, IPv4 and IPv6 alone", vec![]);

    let sender = is_not(of_interface(payload("arp", "saddr ether")), "@macs");
    refused(table, "arp", "no foreign MAC in ARP", vec![sender]);
    // Who asks whether an address is taken has none yet.
    let probe =
        vec![equal(payload("arp", "operation"), "request"), equal(payload("arp", "saddr ip"), "0.0.0.0")];
    table.rule("arp", "probes", [probe, vec![accept()]].concat());
    let sender = is_not(of_interface(payload("arp", "saddr ip")), "@addresses");
    refused(table, "arp", "no foreign address in ARP", vec![sender]);
}

fn udp(field: &str, port: u16) -> Value {
    equal(payload("udp", field), port)
}

/// An instance asks a DHCP server for itself alone: the server knows who asks by what the question says.
fn askers(table: &mut Table, desired: &Desired) {
    if desired.networks.iter().all(|network| !network.dhcp) {
        return;
    }
    // What a first fragment seems to say need not be in it, but behind it in the frame.
    let fragment = json!({ "&": [payload("ip", "frag-off"), 0x3fff] });
    refused(table, "ipv4", "no parts of DHCP", vec![udp("dport", 67), is_not(fragment, 0)]);
    let served = |interface: &&Interface| {
        desired.networks.iter().any(|network| network.dhcp && network.bridge == interface.bridge)
    };
    let mut elements = Vec::new();
    for interface in desired.interfaces.iter().filter(served) {
        let chain = format!("asks_{}", interface.name);
        let [a, b, c, d, e, f] = interface.mac.0;
        let own = format!("{:#014x}", u64::from_be_bytes([0, 0, a, b, c, d, e, f]));
        // Behind UDP's own header.
        let own = equal(transport_bits(8 * (8 + 28), 48), own);
        table.rule(&chain, "for itself", vec![own, give_back()]);
        refused(table, &chain, "no foreign MAC in DHCP", vec![]);
        elements.push(json!([interface.name, jump(&chain)]));
    }
    table.map("askers", json!("ifname"), "verdict", elements);
    table.rule("ipv4", "who asks for an address", vec![udp("dport", 67), verdict(iifname(), "askers")]);
}

fn ipv4(table: &mut Table) {
    refused(table, "ipv4", "no DHCP answers", vec![udp("sport", 67)]);
    let asking = vec![equal(payload("ip", "saddr"), "0.0.0.0"), udp("sport", 68), udp("dport", 67), accept()];
    table.rule("ipv4", "DHCP questions", asking);
    let source = is_not(of_interface(payload("ip", "saddr")), "@addresses");
    refused(table, "ipv4", "no foreign IPv4 address", vec![source]);
}

fn ipv6(table: &mut Table) {
    // A kernel sends of itself where nobody told it not to, so this is no attempt that counts.
    table.rule("ipv6", "no IPv6 here", vec![is_not(iifname(), "@six"), drop()]);
    let kind = |name: &str| equal(payload("icmpv6", "type"), name);
    refused(table, "ipv6", "no router advertisements", vec![kind("nd-router-advert")]);
    refused(table, "ipv6", "no redirects", vec![kind("nd-redirect")]);
    refused(table, "ipv6", "no DHCP answers", vec![udp("sport", 547)]);
    let nameless =
        set(["nd-neighbor-solicit", "nd-router-solicit", "mld-listener-report", "mld2-listener-report"]);
    let nameless =
        vec![equal(payload("ip6", "saddr"), "::"), equal(payload("icmpv6", "type"), nameless), accept()];
    table.rule("ipv6", "without an address yet", nameless);
    let source = is_not(of_interface(payload("ip6", "saddr")), "@addresses6");
    refused(table, "ipv6", "no foreign IPv6 address", vec![source]);
    let advert = vec![kind("nd-neighbor-advert"), verdict(iifname(), "neighbours")];
    table.rule("ipv6", "neighbour advertisements", advert);
}

/// Each interface has a chain for what it says of itself as a neighbour: nft's older versions cannot look up a field
/// that they have no name for in a set with the interface.
fn neighbours(table: &mut Table, interfaces: &[Interface]) {
    let mut elements = Vec::new();
    for interface in interfaces {
        let own = interface.ipv6();
        if own.is_empty() {
            continue;
        }
        let chain = format!("neighbour_{}", interface.name);
        let own = own.into_iter().map(|address| format!("{:#034x}", u128::from(address)));
        let other = own.map(|address| is_not(transport_bits(64, 128), address)).collect();
        refused(table, &chain, "no foreign address in NDP", other);
        elements.push(json!([interface.name, jump(&chain)]));
    }
    table.map("neighbours", json!("ifname"), "verdict", elements);
}

/// What instances of one network send each other. Few kernels track connections on a bridge, so what begins one is told
/// by itself: of TCP the first packet, of UDP what answers no question that was let through.
fn between(table: &mut Table, interfaces: &[Interface]) {
    table.rule("forward", "ARP", vec![equal(payload("ether", "type"), "arp"), accept()]);
    let discovery = set(["nd-neighbor-solicit", "nd-neighbor-advert", "nd-router-solicit"]);
    table.rule("forward", "neighbour discovery", vec![equal(payload("icmpv6", "type"), discovery), accept()]);
    // The first fragment is looked at, and the others are nothing without it.
    let offset = json!({ "&": [payload("ip", "frag-off"), 0x1fff] });
    table.rule("forward", "fragments", vec![is_not(offset, 0), accept()]);
    let offset = json!({ "exthdr": { "name": "frag", "field": "frag-off" } });
    table.rule("forward", "fragments", vec![is_not(offset, 0), accept()]);
    let flags = json!({ "&": [payload("tcp", "flags"), { "|": ["syn", "ack"] }] });
    table.rule("forward", "open connections", vec![is_not(flags, "syn"), accept()]);
    let answers = set(["echo-reply", "destination-unreachable", "time-exceeded", "parameter-problem"]);
    table.rule("forward", "answers", vec![equal(payload("icmp", "type"), answers), accept()]);
    let answers = set([
        "echo-reply",
        "destination-unreachable",
        "packet-too-big",
        "time-exceeded",
        "parameter-problem",
    ]);
    table.rule("forward", "answers", vec![equal(payload("icmpv6", "type"), answers), accept()]);
    for (family, of) in [("ip", "ipv4_addr"), ("ip6", "ipv6_addr")] {
        let more = json!({ "flags": ["timeout"], "size": ANSWERS });
        let key = json!([of, of, "inet_service", "inet_service"]);
        table.set(&questions(family), key, more, vec![]);
        for (from, to) in [("s", "d"), ("d", "s")] {
            let known = matching(flow(family, from, to), "==", format!("@{}", questions(family)));
            table.rule("forward", "answers", vec![known, accept()]);
        }
    }
    for direction in Direction::BOTH {
        let mut elements = Vec::new();
        for interface in interfaces {
            if let Some(rules) = direction.of(&interface.access) {
                access::chain(table, &interface.name, direction, rules);
                elements.push(json!([interface.name, jump(&direction.chain(&interface.name))]));
            }
        }
        table.map(direction.name(), json!("ifname"), "verdict", elements);
        let link = if direction == Direction::Egress { "iifname" } else { "oifname" };
        table.rule("forward", "lists of instances", vec![verdict(meta(link), direction.name())]);
    }
    for family in ["ip", "ip6"] {
        let element = json!({ "elem": { "val": flow(family, "s", "d"), "timeout": ANSWER_SECONDS } });
        let remember =
            json!({ "set": { "op": "update", "elem": element, "set": format!("@{}", questions(family)) } });
        table.rule("forward", "questions", vec![remember]);
    }
}

fn questions(family: &str) -> String {
    format!("questions_{family}")
}

fn flow(family: &str, from: &str, to: &str) -> Value {
    let address = |side: &str| payload(family, &format!("{side}addr"));
    let port = |side: &str| payload("udp", &format!("{side}port"));
    concat(vec![address(from), address(to), port(from), port(to)])
}
