//! `networks`: interfaces on networks.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use berth_proto::agent as wire;
use tfplugin::Attribute;

use crate::attr::{Attr, Map, entries, keep_spelling, model, non_empty, settle};
use crate::report::{self, Diagnostic, Path};

model! {
    /// An interface.
    pub struct InterfaceModel {
        /// A network's id or name.
        network: Attr<String>,
        /// Null is chosen.
        ipv4_address: Attr<String>,
        /// Null is chosen, where the network has IPv6.
        ipv6_address: Attr<String>,
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
            ("ipv4_address", text("Its address on the network. Default: a free one, chosen once and kept.")),
            (
                "ipv6_address",
                text(
                    "Its IPv6 address on a network that has such. Default: a free one, chosen once and kept.",
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
        ipv4_address: text(&model.ipv4_address),
        // Of all spellings, the one that the agent gives back.
        ipv6_address: meant(text(&model.ipv6_address)),
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
        let model = InterfaceModel {
            network: Attr::Known(interface.network.clone()),
            ipv4_address: non_empty(&interface.ipv4_address),
            ipv6_address: match interface.ipv6_address.as_str() {
                "" => Attr::Null,
                ipv6 => keep_spelling(
                    before.map(|it| &it.ipv6_address),
                    &ipv6.to_owned(),
                    |text| Some(meant(text.to_owned())),
                    || ipv6.to_owned(),
                ),
            },
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

/// The prior's spelling where it means the same.
pub fn settle_all(networks: &mut Map<InterfaceModel>, prior: &Map<InterfaceModel>) {
    let (Attr::Known(networks), Some(prior)) = (networks, prior.known()) else { return };
    for (name, interface) in networks {
        let before = prior.get(name).and_then(Attr::known);
        let (Attr::Known(interface), Some(before)) = (interface, before) else { continue };
        interface.ipv6_address = settle(Some(&before.ipv6_address), &interface.ipv6_address, |one, other| {
            meant(one.to_owned()) == meant(other.to_owned())
        });
        interface.mac = settle(Some(&before.mac), &interface.mac, str::eq_ignore_ascii_case);
    }
}

/// An IPv6 address as all write it.
fn meant(text: String) -> String {
    text.parse::<Ipv6Addr>().map_or(text, |address| address.to_string())
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
        if let Some(text) = model.ipv4_address.as_str().filter(|text| text.parse::<Ipv4Addr>().is_err()) {
            let detail = "Write an address of the network, such as \"10.20.30.5\", without a prefix.";
            found.push(report::error(
                path("ipv4_address"),
                format!("\"{text}\" is not an IPv4 address"),
                detail,
            ));
        }
        if let Some(text) = model.ipv6_address.as_str().filter(|text| text.parse::<Ipv6Addr>().is_err()) {
            let detail =
                "Write an address of the network, such as \"fd12:3456:789a:1::5\", without a prefix.";
            let summary = format!("\"{text}\" is not an IPv6 address");
            found.push(report::error(path("ipv6_address"), summary, detail));
        }
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
        for config in [
            Attr::Null,
            Attr::Known(BTreeMap::new()),
            map([("eth0".to_owned(), on("default")), ("eth1".to_owned(), fixed)]),
        ] {
            let wire = to_wire(&config);
            assert_eq!(from_wire(wire.as_ref(), Some(&config)), config);
            let mut found = Vec::new();
            validate(&config, false, &mut found);
            assert_eq!(found, []);
        }
    }

    #[test]
    fn mistakes_are_told_with_their_arguments() {
        let route = |network: &str| InterfaceModel { default_route: Attr::Known(true), ..on(network) };
        let bad = InterfaceModel {
            ipv4_address: Attr::from("10.1.0.5/24"),
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
