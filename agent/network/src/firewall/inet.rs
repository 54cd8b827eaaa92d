//! The table `inet`: what crosses the networks' borders.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv6Net};
use serde_json::{Value, json};

use super::{
    access::{self, Direction, Listed},
    desired::{Desired, HostPort, LOOPBACK, Network, Target},
    json::{
        accept, concat, count, drop, equal, family, fib_local, in_state, is_not, jump, masquerade, meta,
        payload, prefix, set, translated, verdict,
    },
    table::Table,
};

/// What marks the rules of a network with a DHCP server.
pub(crate) const DHCP: &str = "asked for an address";
const PUBLISHED: &str = "published";
const PUBLISHED6: &str = "published6";
const LINK_LOCAL: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10);

/// The maps of ports at one address of the host, and of ports at all of them: each to the instance's address and
/// to its port, since nft's JSON of the versions in use has no map to both.
struct Maps {
    address_type: &'static str,
    at_address: [&'static str; 2],
    anywhere: [&'static str; 2],
}

const MAPS: Maps = Maps {
    address_type: "ipv4_addr",
    at_address: ["address_hosts", "address_ports"],
    anywhere: ["any_hosts", "any_ports"],
};
const MAPS6: Maps = Maps {
    address_type: "ipv6_addr",
    at_address: ["address6_hosts", "address6_ports"],
    anywhere: ["any6_hosts", "any6_ports"],
};

fn maps(address: IpAddr) -> Maps {
    if address.is_ipv4() { MAPS } else { MAPS6 }
}

pub(super) fn table(name: &str, desired: &Desired, listed: Listed) -> Table {
    let mut table = Table::new("inet", name);
    declare_maps(&mut table, desired);
    for name in [PUBLISHED, PUBLISHED6] {
        table.chain(name);
    }
    table.base("guard", "filter", "prerouting", -300);
    table.base("prerouting", "nat", "prerouting", -100);
    table.base("output", "nat", "output", -100);
    table.base("input", "filter", "input", 0);
    table.base("forward", "filter", "forward", 0);
    table.base("postrouting", "nat", "postrouting", 100);
    publishing(&mut table);
    lists(&mut table, desired, listed);
    for network in &desired.networks {
        guard(&mut table, network);
        isolate(&mut table, network);
        input(&mut table, network, listed);
        source_translation(&mut table, network);
    }
    desired.networks.iter().for_each(|network| open_connections(&mut table, network));
    desired.networks.iter().for_each(|network| ask_lists(&mut table, network, listed));
    // What may enter each network is decided before what may leave any, so that one network's right to leave is none
    // to enter another.
    desired.networks.iter().for_each(|network| entering(&mut table, network));
    for network in &desired.networks {
        table.rule("forward", "outward", vec![from_bridge(network), accept()]);
    }
    table
}

fn declare_maps(table: &mut Table, desired: &Desired) {
    let pairs: Vec<_> = desired
        .ports
        .iter()
        .filter(|(port, _)| port.is_translated())
        .flat_map(|(port, target)| elements(*port, *target))
        .collect();
    for Maps { address_type, at_address, anywhere } in [MAPS, MAPS6] {
        let port = ["inet_proto", "inet_service"];
        let with_address: Vec<_> = std::iter::once(address_type).chain(port).collect();
        for (names, key) in [(at_address, json!(with_address)), (anywhere, json!(port))] {
            for (name, to) in names.into_iter().zip([address_type, "inet_service"]) {
                let elements = pairs.iter().filter(|(map, _)| *map == name).map(|(_, pair)| pair.clone());
                table.map(name, key.clone(), to, elements.collect());
            }
        }
    }
}

/// The elements of a published port, one for each of its two maps.
fn elements(port: HostPort, target: Target) -> [(&'static str, Value); 2] {
    let maps = maps(port.address);
    let mut key = vec![json!(port.protocol.name()), json!(port.port)];
    let [hosts, ports] = if port.address.is_unspecified() {
        maps.anywhere
    } else {
        key.insert(0, json!(port.address.to_string()));
        maps.at_address
    };
    let key = concat(key);
    [(hosts, json!([key, target.address.to_string()])), (ports, json!([key, target.port]))]
}

fn publishing(table: &mut Table) {
    let protocol_and_port = || vec![meta("l4proto"), payload("th", "dport")];
    for (chain, address, maps) in [
        (PUBLISHED, IpAddr::V4(Ipv4Addr::LOCALHOST), MAPS),
        (PUBLISHED6, IpAddr::V6(Ipv6Addr::LOCALHOST), MAPS6),
    ] {
        let family = family(address);
        let with_address = std::iter::once(payload(family, "daddr")).chain(protocol_and_port()).collect();
        table.rule(chain, "ports at one address", vec![translate(family, with_address, maps.at_address)]);
        table.rule(
            chain,
            "ports at all addresses",
            vec![translate(family, protocol_and_port(), maps.anywhere)],
        );
    }
    // A neighbour of the host can send to 127.0.0.1: translated here, before routing looks at it, it would reach
    // what is published to the host alone.
    let not_loopback = is_not(payload("ip", "daddr"), prefix(LOOPBACK));
    table.rule("prerouting", "from elsewhere", vec![not_loopback, fib_local(), jump(PUBLISHED)]);
    let v4 = equal(meta("nfproto"), "ipv4");
    table.rule("output", "from the host", vec![v4, fib_local(), jump(PUBLISHED)]);
    for (chain, what) in [("prerouting", "from elsewhere"), ("output", "from the host")] {
        // What is sent to ::1 never leaves the loopback, whatever it is translated to.
        let not_loopback = is_not(payload("ip6", "daddr"), "::1");
        table.rule(chain, what, vec![not_loopback, fib_local(), jump(PUBLISHED6)]);
    }
}

/// `dnat ip to KEY map @hosts : KEY map @ports`; a key that is in no map leaves the packet alone.
fn translate(family: &str, key: Vec<Value>, [hosts, ports]: [&str; 2]) -> Value {
    let key = concat(key);
    let lookup = |name: &str| json!({ "map": { "key": key, "data": format!("@{name}") } });
    json!({ "dnat": { "family": family, "addr": lookup(hosts), "port": lookup(ports) } })
}

/// The lists of networks, and those of interfaces by the addresses of these: here a bridge is all that is seen of where
/// a packet comes from.
fn lists(table: &mut Table, desired: &Desired, listed: Listed) {
    for direction in Direction::BOTH {
        for network in &desired.networks {
            if let Some(rules) = direction.of(&network.access) {
                access::chain(table, &network.bridge, direction, rules);
            }
        }
        if !listed.has(direction) {
            continue;
        }
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for interface in &desired.interfaces {
            let Some(rules) = direction.of(&interface.access) else { continue };
            access::chain(table, &interface.name, direction, rules);
            for address in &interface.addresses {
                let element = json!([address.to_string(), jump(&direction.chain(&interface.name))]);
                if address.is_ipv4() { v4.push(element) } else { v6.push(element) }
            }
        }
        table.map(&by_address(direction, "ip"), json!("ipv4_addr"), "verdict", v4);
        table.map(&by_address(direction, "ip6"), json!("ipv6_addr"), "verdict", v6);
    }
}

fn by_address(direction: Direction, family: &str) -> String {
    format!("{}_{family}", direction.name())
}

/// Asks the lists of interfaces about what `link` matches.
fn ask_interfaces(table: &mut Table, chain: &str, direction: Direction, link: &Value) {
    let own = if direction == Direction::Egress { "saddr" } else { "daddr" };
    for family in ["ip", "ip6"] {
        let look = verdict(payload(family, own), &by_address(direction, family));
        table.rule(chain, "lists of instances", vec![link.clone(), look]);
    }
}

/// Nothing leaves a network in a foreign name, and nothing of it reaches what listens on the host's loopback, which
/// `route_localnet` would allow.
fn guard(table: &mut Table, network: &Network) {
    let from = || from_bridge(network);
    let drops = |statement| vec![from(), statement, count(), drop()];
    // Not counted: kernels speak IPv6 wherever nobody told them not to.
    let ignored = |family: &str| vec![from(), equal(meta("nfproto"), family), drop()];
    if network.dhcp {
        // Who asks has no address yet.
        let nobody = [("saddr", "0.0.0.0"), ("daddr", "255.255.255.255")];
        let nobody = nobody.map(|(side, address)| equal(payload("ip", side), address));
        let asking = [vec![from()], nobody.into(), asks_for_an_address().into(), vec![accept()]].concat();
        table.rule("guard", DHCP, asking);
    }
    match network.ipv4 {
        Some(subnet) => {
            table.rule("guard", "no foreign source", drops(is_not(payload("ip", "saddr"), prefix(subnet))))
        }
        None => table.rule("guard", "no IPv4", ignored("ipv4")),
    }
    match network.ipv6 {
        Some(subnet) => {
            let own = set([prefix(subnet), prefix(LINK_LOCAL), json!("::")]);
            table.rule("guard", "no foreign source", drops(is_not(payload("ip6", "saddr"), own)));
        }
        None => table.rule("guard", "no IPv6", ignored("ipv6")),
    }
    let to_loopback = equal(payload("ip", "daddr"), prefix(LOOPBACK));
    table.rule("guard", "no way to the host's loopback", drops(to_loopback));
}

fn asks_for_an_address() -> [Value; 2] {
    [equal(payload("udp", "sport"), 68), equal(payload("udp", "dport"), 67)]
}

/// First of all, so that what is open goes too: isolation says who is there, not who may begin.
fn isolate(table: &mut Table, network: &Network) {
    if network.isolated {
        let elsewhere = |key: &str| is_not(meta(key), network.bridge.as_str());
        let inward = vec![to_bridge(network), elsewhere("iifname"), count(), drop()];
        table.rule("forward", "nothing enters an isolated network", inward);
        let outward = vec![from_bridge(network), elsewhere("oifname"), count(), drop()];
        table.rule("forward", "nothing leaves an isolated network", outward);
    }
}

fn open_connections(table: &mut Table, network: &Network) {
    let open = || in_state(&["established", "related"]);
    table.rule("forward", "replies", vec![to_bridge(network), open(), accept()]);
    table.rule("forward", "replies", vec![from_bridge(network), open(), accept()]);
}

fn ask_lists(table: &mut Table, network: &Network, listed: Listed) {
    let elsewhere = |key: &str| is_not(meta(key), network.bridge.as_str());
    for direction in Direction::BOTH {
        let (link, other) = match direction {
            Direction::Egress => (from_bridge(network), "oifname"),
            Direction::Ingress => (to_bridge(network), "iifname"),
        };
        if direction.of(&network.access).is_some() {
            let chain = jump(&direction.chain(&network.bridge));
            table.rule("forward", "lists of the network", vec![link.clone(), elsewhere(other), chain]);
        }
        if listed.has(direction) {
            ask_interfaces(table, "forward", direction, &link);
        }
    }
}

/// What an instance sends to the host is restricted by what may go out, but for names, neighbour discovery and, where there is
/// a server, DHCP.
fn input(table: &mut Table, network: &Network, listed: Listed) {
    let of_network = Direction::Egress.of(&network.access).is_some();
    let of_interfaces = listed.has(Direction::Egress);
    if !of_network && !of_interfaces {
        return;
    }
    let from = || from_bridge(network);
    table.rule("input", "replies", vec![from(), in_state(&["established", "related"]), accept()]);
    let names = vec![
        from(),
        equal(meta("l4proto"), set(["tcp", "udp"])),
        equal(payload("th", "dport"), 53),
        fib_local(),
        accept(),
    ];
    table.rule("input", "names", names);
    if network.dhcp {
        table.rule("input", DHCP, [vec![from()], asks_for_an_address().into(), vec![accept()]].concat());
    }
    let kinds =
        set(["nd-router-solicit", "nd-neighbor-solicit", "nd-neighbor-advert", "mld2-listener-report"]);
    let neighbours = vec![from(), equal(payload("icmpv6", "type"), kinds), accept()];
    table.rule("input", "neighbour discovery", neighbours);
    if of_network {
        let chain = jump(&Direction::Egress.chain(&network.bridge));
        table.rule("input", "lists of the network", vec![from(), chain]);
    }
    if of_interfaces {
        ask_interfaces(table, "input", Direction::Egress, &from());
    }
}

fn entering(table: &mut Table, network: &Network) {
    let to = || to_bridge(network);
    table.rule("forward", "published ports", vec![to(), translated(), accept()]);
    table.rule("forward", "inside", vec![to(), from_bridge(network), accept()]);
    table.rule("forward", "nothing else enters", vec![to(), count(), drop()]);
}

fn source_translation(table: &mut Table, network: &Network) {
    let out = || is_not(meta("oifname"), network.bridge.as_str());
    let source = |net: IpNet| equal(payload(family(net.addr()), "saddr"), prefix(net));
    if network.nat {
        for subnet in network.subnets() {
            table.rule("postrouting", "outward", vec![source(subnet), out(), masquerade()]);
        }
    }
    // The instance could not answer to 127.0.0.1, and would answer its own network past the translation.
    let loopback = std::iter::once(("from the host's loopback", IpNet::V4(LOOPBACK)));
    for (what, net) in loopback.chain(network.subnets().map(|subnet| ("back inside", subnet))) {
        table.rule("postrouting", what, vec![to_bridge(network), source(net), translated(), masquerade()]);
    }
}

fn from_bridge(network: &Network) -> Value {
    equal(meta("iifname"), network.bridge.as_str())
}

fn to_bridge(network: &Network) -> Value {
    equal(meta("oifname"), network.bridge.as_str())
}
