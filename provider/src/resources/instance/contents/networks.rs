//! `networks`: interfaces on networks.

mod addresses;

use std::collections::BTreeMap;
use std::net::IpAddr;

use berth_proto::agent as wire;
use tfplugin::Attribute;
use tfplugin::value::Type;

use crate::attr::{Attr, List, Map, entries, keep_spelling, list, model, settle};
use crate::report::{self, Diagnostic, Path};

model! {
    /// An interface.
    pub struct InterfaceModel {
        /// A network's id or name.
        network: Attr<String>,
        /// Null is chosen, or given by a DHCP server.
        ipv4_address: Attr<String>,
        /// Beside an address with its prefix.
        ipv4_gateway: Attr<String>,
        /// Null is chosen, where the network has IPv6, or made of what routers say.
        ipv6_address: Attr<String>,
        /// Beside an address with its prefix.
        ipv6_gateway: Attr<String>,
        /// Null: who answers on the network.
        dns: List<String>,
        /// Null is chosen.
        mac: Attr<String>,
        /// Null: the first has it.
        default_route: Attr<bool>,
    }
}

/// The argument, as documented.
pub fn attribute() -> Attribute {
    let text = |docs: &str| Attribute::string(docs);
    Attribute::nested_map(
        "Its interfaces by their names in the instance, such as `eth0`. Default: `eth0` on the network `default`; `{}` \
         is none. In place: they are plugged in and out of the running instance. An interface keeps its addresses as long \
         as the network and the names stay, over restart, rebuild and replacement.",
        [
            ("network", text("The network, by its `id` or name.").required()),
            (
                "ipv4_address",
                text(
                    "Its address. On a `bridge`, one of the network's such as `\"10.20.30.5\"`; default: a free one, \
                     chosen once and kept. On `physical` and `macvlan`, one with the prefix of its network such as \
                     `\"192.0.2.5/24\"`, and no DHCP server is asked; default: the server's.",
                ),
            ),
            (
                "ipv4_gateway",
                text(
                    "The router of a fixed `ipv4_address` on `physical` and `macvlan`, where what goes elsewhere goes \
                     through this interface. Default: none; of a `bridge` or a DHCP server, theirs.",
                ),
            ),
            (
                "ipv6_address",
                text(
                    "Its IPv6 address. On a `bridge` that has such, one of the network's; default: a free one, chosen \
                     once and kept. On `physical` and `macvlan`, one with its prefix such as `\"2001:db8::5/64\"`, and \
                     no router's advertisement is listened to; default: those that the routers advertise.",
                ),
            ),
            (
                "ipv6_gateway",
                text(
                    "The router of a fixed `ipv6_address`, likewise; it may be link-local, such as `\"fe80::1\"`.",
                ),
            ),
            (
                "dns",
                Attribute::list(
                    Type::String,
                    "Up to three resolvers that the instance asks, instead of those that the network has. Names of \
                     instances are then not found through it. Default: on a `bridge`, who answers there; else the DHCP \
                     server's, or the host's.",
                ),
            ),
            ("mac", text("Its MAC address. Default: one that is made once and kept.")),
            (
                "default_route",
                Attribute::bool(
                    "Whether what goes elsewhere goes through it. Default: through the first by name, where no other \
                     asks for it.",
                ),
            ),
        ],
    )
}

/// What the agent is asked for.
pub fn to_wire(networks: &Map<InterfaceModel>) -> Option<wire::InstanceNetworks> {
    networks.known()?;
    let text = |attr: &Attr<String>| attr.as_str().unwrap_or_default().to_owned();
    let interface = |model: &InterfaceModel| wire::InstanceNetwork {
        network: text(&model.network),
        // Of all spellings, the one that the agent gives back.
        ipv4_address: meant(text(&model.ipv4_address)),
        ipv4_gateway: meant(text(&model.ipv4_gateway)),
        ipv6_address: meant(text(&model.ipv6_address)),
        ipv6_gateway: meant(text(&model.ipv6_gateway)),
        dns: entries_of(&model.dns).map(|(_, server)| meant(server.to_owned())).collect(),
        mac: text(&model.mac).to_ascii_lowercase(),
        default_route: model.default_route.known().copied(),
    };
    let interfaces = entries(networks).map(|(name, model)| (name.clone(), interface(model))).collect();
    Some(wire::InstanceNetworks { interfaces })
}

/// The agent's interfaces, in the words of `prior` where they say the same.
pub fn from_wire(
    actual: Option<&wire::InstanceNetworks>,
    prior: Option<&Map<InterfaceModel>>,
) -> Map<InterfaceModel> {
    let Some(actual) = actual else { return Attr::Null };
    let read = |(name, interface): (&String, &wire::InstanceNetwork)| {
        let before = prior.and_then(Attr::known).and_then(|all| all.get(name)).and_then(Attr::known);
        let lower = |text: &str| Some(text.to_ascii_lowercase());
        let address = |actual: &str, before: Option<&Attr<String>>| match actual {
            "" => Attr::Null,
            text => {
                keep_spelling(before, &text.to_owned(), |it| Some(meant(it.to_owned())), || text.to_owned())
            }
        };
        let model = InterfaceModel {
            network: Attr::Known(interface.network.clone()),
            ipv4_address: address(&interface.ipv4_address, before.map(|it| &it.ipv4_address)),
            ipv4_gateway: address(&interface.ipv4_gateway, before.map(|it| &it.ipv4_gateway)),
            ipv6_address: address(&interface.ipv6_address, before.map(|it| &it.ipv6_address)),
            ipv6_gateway: address(&interface.ipv6_gateway, before.map(|it| &it.ipv6_gateway)),
            dns: resolvers(&interface.dns, before.map(|it| &it.dns)),
            mac: match interface.mac.as_str() {
                "" => Attr::Null,
                mac => keep_spelling(before.map(|it| &it.mac), &mac.to_owned(), lower, || mac.to_owned()),
            },
            default_route: interface.default_route.into(),
        };
        (name.clone(), Attr::Known(model))
    };
    Attr::Known(actual.interfaces.iter().map(read).collect::<BTreeMap<_, _>>())
}

/// The agent's resolvers, in the words of before where they are the same.
fn resolvers(actual: &[String], before: Option<&List<String>>) -> List<String> {
    let said: Option<Vec<String>> = before
        .filter(|it| it.known().is_some())
        .map(|it| entries_of(it).map(|(_, server)| meant(server.to_owned())).collect());
    match before {
        Some(before) if said.as_deref() == Some(actual) => before.clone(),
        _ if actual.is_empty() => Attr::Null,
        _ => list(actual.iter().cloned()),
    }
}

fn entries_of(servers: &List<String>) -> impl Iterator<Item = (usize, &str)> {
    let all = servers.known().into_iter().flatten().enumerate();
    all.filter_map(|(index, server)| server.as_str().map(|text| (index, text)))
}

/// The prior's spelling where it means the same.
pub fn settle_all(networks: &mut Map<InterfaceModel>, prior: &Map<InterfaceModel>) {
    let (Attr::Known(networks), Some(prior)) = (networks, prior.known()) else { return };
    let same = |one: &str, other: &str| meant(one.to_owned()) == meant(other.to_owned());
    for (name, interface) in networks {
        let before = prior.get(name).and_then(Attr::known);
        let (Attr::Known(interface), Some(before)) = (interface, before) else { continue };
        for (address, before) in [
            (&mut interface.ipv4_address, &before.ipv4_address),
            (&mut interface.ipv4_gateway, &before.ipv4_gateway),
            (&mut interface.ipv6_address, &before.ipv6_address),
            (&mut interface.ipv6_gateway, &before.ipv6_gateway),
        ] {
            *address = settle(Some(before), address, same);
        }
        if let (Attr::Known(servers), Attr::Known(before)) = (&mut interface.dns, &before.dns)
            && servers.len() == before.len()
        {
            for (server, before) in servers.iter_mut().zip(before) {
                *server = settle(Some(before), server, same);
            }
        }
        interface.mac = settle(Some(&before.mac), &interface.mac, str::eq_ignore_ascii_case);
    }
}

/// An address as all write it, with its prefix where it has one.
fn meant(text: String) -> String {
    match text.split_once('/') {
        None => text.parse::<IpAddr>().map_or(text, |address| address.to_string()),
        Some((address, bits)) => match (address.parse::<IpAddr>(), bits.parse::<u8>()) {
            (Ok(address), Ok(bits)) => format!("{address}/{bits}"),
            _ => text,
        },
    }
}

/// Checks what is known.
pub fn validate(networks: &Map<InterfaceModel>, has_ports: bool, found: &mut Vec<Diagnostic>) {
    if networks.known().is_some_and(BTreeMap::is_empty) && has_ports {
        let detail = "Put the instance on a network, or publish no ports.";
        found.push(report::error(
            Path::at("ports"),
            "Nothing leads to an instance without an interface",
            detail,
        ));
    }
    let mut routes = Vec::new();
    for (name, model) in entries(networks) {
        let path = |argument: &str| Path::at("networks").key(name).attribute(argument);
        let plain = name.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':' | b'%'));
        if !plain || !(1..=15).contains(&name.len()) || ["lo", ".", ".."].contains(&name.as_str()) {
            let summary = format!("{name:?} cannot be the name of an interface");
            let detail =
                "Use a name such as \"eth0\": up to 15 characters without spaces, slashes and colons.";
            found.push(report::error(Path::at("networks").key(name), summary, detail));
        }
        addresses::validate(name, model, found);
        if let Some(text) = model.mac.as_str().filter(|text| !is_mac(text)) {
            let detail = "Write six pairs of hexadecimal digits joined by colons, the first of them even.";
            found.push(report::error(
                path("mac"),
                format!("\"{text}\" is not an interface's MAC address"),
                detail,
            ));
        }
        if model.default_route == Attr::Known(true) {
            routes.push(name);
        }
    }
    if let [one, other, ..] = routes.as_slice() {
        let path = Path::at("networks").key(other.as_str()).attribute("default_route");
        let summary = format!("The interface {one} has the default route, too");
        found.push(report::error(path, summary, "Let one of them have it."));
    }
}

/// Of one interface, not of many.
fn is_mac(text: &str) -> bool {
    let bytes: Vec<_> = text.split(':').map(|part| (part.len(), u8::from_str_radix(part, 16))).collect();
    let good = bytes.iter().all(|(len, byte)| *len == 2 && byte.is_ok());
    good && bytes.len() == 6 && matches!(bytes[0].1, Ok(first) if first & 1 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attr::map;

    fn on(network: &str) -> InterfaceModel {
        InterfaceModel { network: Attr::from(network), ..InterfaceModel::default() }
    }

    #[test]
    fn what_the_agent_writes_back_is_what_was_written() {
        let fixed = InterfaceModel {
            ipv4_address: Attr::from("10.1.0.5"),
            ipv6_address: Attr::from("FD00:0:0:1::5"),
            mac: Attr::from("02:AB:00:00:00:01"),
            default_route: Attr::Known(true),
            ..on("web")
        };
        let physical = InterfaceModel {
            ipv4_address: Attr::from("192.0.2.5/24"),
            ipv4_gateway: Attr::from("192.0.2.1"),
            ipv6_address: Attr::from("2001:DB8::5/64"),
            ipv6_gateway: Attr::from("FE80::1"),
            dns: list(["2001:DB8::53".to_owned()]),
            ..on("lan")
        };
        let no_names = InterfaceModel { dns: list([]), ..on("lan") };
        for config in [
            Attr::Null,
            Attr::Known(BTreeMap::new()),
            map([("eth0".to_owned(), on("default")), ("eth1".to_owned(), fixed)]),
            map([("eth0".to_owned(), physical.clone()), ("eth1".to_owned(), no_names)]),
        ] {
            let wire = to_wire(&config);
            assert_eq!(from_wire(wire.as_ref(), Some(&config)), config);
            let mut found = Vec::new();
            validate(&config, false, &mut found);
            assert_eq!(found, []);
        }
    }

    #[test]
    fn other_words_for_the_same_are_no_change() {
        let of = |address: &str, server: &str| {
            let model = InterfaceModel {
                ipv6_address: Attr::from(address),
                dns: list([server.to_owned()]),
                ..on("lan")
            };
            map([("eth0".to_owned(), model)])
        };
        let prior = of("2001:DB8::5/64", "2001:DB8::53");
        let mut same = of("2001:db8:0::5/64", "2001:db8::53");
        settle_all(&mut same, &prior);
        assert_eq!(same, prior);
        let mut other = of("2001:db8::5/48", "2001:db8::54");
        settle_all(&mut other, &prior);
        assert_eq!(other, of("2001:db8::5/48", "2001:db8::54"));
    }

    #[test]
    fn mistakes_are_told_with_their_arguments() {
        let route = |network: &str| InterfaceModel { default_route: Attr::Known(true), ..on(network) };
        let bad = InterfaceModel {
            ipv4_address: Attr::from("10.1.0.0/24"),
            mac: Attr::from("01:00:00:00:00:01"),
            ..on("a")
        };
        let config =
            map([("a b".to_owned(), bad), ("eth0".to_owned(), route("a")), ("eth1".to_owned(), route("b"))]);
        let mut found = Vec::new();
        validate(&config, false, &mut found);
        validate(&Attr::Known(BTreeMap::new()), true, &mut found);
        let of = |name: &str| Path::at("networks").key(name);
        let expected = [
            of("a b"),
            of("a b").attribute("ipv4_address"),
            of("a b").attribute("mac"),
            of("eth1").attribute("default_route"),
            Path::at("ports"),
        ];
        assert_eq!(found.into_iter().map(|it| it.path).collect::<Vec<_>>(), expected);
    }
}
