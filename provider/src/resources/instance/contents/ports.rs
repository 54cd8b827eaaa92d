//! `ports`: ports of the instance that are published on the host.
//!
//! The agent knows single ports: a range is as many of them, each under the entry's name and its own number, as in
//! `media.8000`, and they are read as one range again.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::ops::RangeInclusive;

use berth_proto::agent as wire;
use tfplugin::Attribute;

use crate::attr::{Attr, Map, entries, map_or_null, model};
use crate::report::{self, Diagnostic, Path, capital};
use crate::resources::instance::convert::{empty_or_null, or_default};
use crate::resources::instance::model::{DEFAULT_HOST_ADDRESS, DEFAULT_PROTOCOL};
use crate::text::port::{self, Listener};

model! {
    /// A published port, or a range of them.
    pub struct PortModel {
        /// In the instance.
        container_port: Attr<String>,
        /// On the host; chosen where absent.
        host_port: Attr<String>,
        /// Where the host listens.
        host_address: Attr<String>,
        /// `tcp` or `udp`.
        protocol: Attr<String>,
    }
}

/// The argument, as documented.
pub fn attribute() -> Attribute {
    let text = |docs: &str| Attribute::string(docs);
    let host_port = text(
        "Port on the host, or as many of them as `container_port` has. Default: a free one, chosen once and kept; of a \
         range there is no default.",
    );
    Attribute::nested_map(
        "Ports published on the host, by names of your own. In place.",
        [
            ("container_port", text("Port in the instance, or a range such as `\"8000-8010\"`.").required()),
            ("host_port", host_port.optional_computed().keep()),
            (
                "host_address",
                text(
                    "Address of the host to listen on: `127.0.0.1` (the default), `::1`, another of its own, or `0.0.0.0` or `::` for all of a family. Those of IPv6 but `::1` need an instance with an IPv6 address. At `::1` the instance sees the host's address as its client's.",
                ),
            ),
            ("protocol", text("`tcp` (the default) or `udp`.")),
        ],
    )
}

fn parsed(attr: &Attr<String>) -> Option<RangeInclusive<u16>> {
    attr.as_str().and_then(|text| port::parse(text).ok())
}

/// What the agent is asked for.
pub fn to_wire(ports: &Map<PortModel>) -> HashMap<String, wire::Port> {
    entries(ports).flat_map(|(name, model)| one_to_wire(name, model)).collect()
}

fn one_to_wire(name: &str, model: &PortModel) -> Vec<(String, wire::Port)> {
    let published = |container_port: u16, host_port: u16| wire::Port {
        container_port: container_port.into(),
        host_port: host_port.into(),
        host_address: model.host_address.as_str().unwrap_or(DEFAULT_HOST_ADDRESS).to_owned(),
        protocol: model.protocol.as_str().unwrap_or(DEFAULT_PROTOCOL).to_owned(),
    };
    let Some(inside) = parsed(&model.container_port) else {
        return vec![(name.to_owned(), published(0, 0))];
    };
    let chosen = parsed(&model.host_port);
    if inside.len() == 1 {
        return vec![(
            name.to_owned(),
            published(*inside.start(), chosen.map_or(0, |chosen| *chosen.start())),
        )];
    }
    // One that has no port of the host's gets one of the agent's.
    let outside = chosen.into_iter().flatten().chain(std::iter::repeat(0));
    inside.zip(outside).map(|(inside, outside)| (member(name, inside), published(inside, outside))).collect()
}

/// What one port of a range is called.
fn member(name: &str, number: u16) -> String {
    format!("{name}.{number}")
}

/// The entry that a port of the agent's belongs to, where it is not one itself.
pub fn entry_of(ports: &Map<PortModel>, name: &str) -> Option<String> {
    let (entry, number) = name.rsplit_once('.')?;
    let known = ports.known()?;
    let inside = parsed(&known.get(entry)?.known()?.container_port)?;
    (!known.contains_key(name) && inside.contains(&number.parse().ok()?)).then(|| entry.to_owned())
}

/// The agent's ports, in the words of `prior` where they say the same.
pub fn from_wire(
    instance: &wire::Instance,
    asked: &HashMap<String, wire::Port>,
    prior: Option<&Map<PortModel>>,
) -> Map<PortModel> {
    let mut single: BTreeMap<String, wire::Port> = asked.clone().into_iter().collect();
    for (name, port) in &mut single {
        let chosen = instance.ports.get(name).map(|port| port.host_port);
        port.host_port = chosen.filter(|chosen| *chosen != 0).unwrap_or(port.host_port);
    }
    let before = |name: &str| prior.and_then(Attr::known)?.get(name)?.known();
    let mut ports = BTreeMap::new();
    for (name, inside, outside) in ranges(&single, |name| before(name).is_some()) {
        let members: Vec<_> =
            inside.clone().filter_map(|number| single.remove(&member(&name, number))).collect();
        if let Some(first) = members.first() {
            let read = read(first, port::format(&inside), Attr::Known(port::format(&outside)), before(&name));
            ports.insert(name, read);
        }
    }
    for (name, port) in &single {
        let host_port = match port.host_port {
            0 => before(name).map(|it| it.host_port.clone()).unwrap_or_default(),
            chosen => Attr::Known(chosen.to_string()),
        };
        ports.insert(name.clone(), read(port, port.container_port.to_string(), host_port, before(name)));
    }
    match map_or_null(ports) {
        Attr::Null => empty_or_null(prior),
        ports => ports,
    }
}

fn read(
    asked: &wire::Port,
    container_port: String,
    host_port: Attr<String>,
    before: Option<&PortModel>,
) -> PortModel {
    let address = before.map(|it| &it.host_address);
    PortModel {
        container_port: Attr::Known(container_port),
        host_port,
        host_address: or_default(address, &asked.host_address, DEFAULT_HOST_ADDRESS),
        protocol: or_default(before.map(|it| &it.protocol), &asked.protocol, DEFAULT_PROTOCOL),
    }
}

/// Ports that are members of a range: neighbours in the instance and on the host, and alike in all else. What has an
/// entry of its own is none.
fn ranges(
    single: &BTreeMap<String, wire::Port>,
    has_entry: impl Fn(&str) -> bool,
) -> Vec<(String, RangeInclusive<u16>, RangeInclusive<u16>)> {
    let mut by_entry: BTreeMap<&str, BTreeMap<u16, &wire::Port>> = BTreeMap::new();
    for (name, port) in single.iter().filter(|(name, _)| !has_entry(name)) {
        let Some((entry, number)) = name.rsplit_once('.') else { continue };
        let Ok(number) = number.parse::<u16>() else { continue };
        if u32::from(number) == port.container_port && member(entry, number) == *name {
            by_entry.entry(entry).or_default().insert(number, port);
        }
    }
    let whole = |(entry, members): (&str, BTreeMap<u16, &wire::Port>)| {
        let ((first, low), (last, high)) = (members.first_key_value()?, members.last_key_value()?);
        let alike = members.iter().all(|(number, port)| {
            let place = low.host_port + u32::from(*number - *first);
            let same = (&port.host_address, &port.protocol) == (&low.host_address, &low.protocol);
            low.host_port != 0 && port.host_port == place && same
        });
        let inside = *first..=*last;
        let outside = u16::try_from(low.host_port).ok()?..=u16::try_from(high.host_port).ok()?;
        let free = !single.contains_key(entry);
        (members.len() > 1 && members.len() == inside.len() && alike && free)
            .then(|| (entry.to_owned(), inside, outside))
    };
    by_entry.into_iter().filter_map(whole).collect()
}

/// A host port that is left to the agent: the one it chose before, or unknown.
pub fn choose(ports: &mut Map<PortModel>, prior: Option<&BTreeMap<String, Attr<PortModel>>>) {
    let Attr::Known(ports) = ports else { return };
    for (name, port) in ports {
        let Attr::Known(port) = port else { continue };
        if !port.host_port.is_null() {
            continue;
        }
        let before = prior.and_then(|prior| prior.get(name)).and_then(Attr::known);
        let single = |text: &String| port::parse(text).is_ok_and(|ports| ports.len() == 1);
        port.host_port = match before.map(|before| &before.host_port) {
            Some(Attr::Known(chosen)) if single(chosen) => Attr::Known(chosen.clone()),
            _ => Attr::Unknown,
        };
    }
}

/// Checks what is known.
pub fn validate(ports: &Map<PortModel>, found: &mut Vec<Diagnostic>) {
    let mut listeners = Vec::new();
    for (name, model) in entries(ports) {
        let path = |argument: &str| Path::at("ports").key(name).attribute(argument);
        for (argument, attr) in [("container_port", &model.container_port), ("host_port", &model.host_port)] {
            if let Some(Err(error)) = attr.as_str().map(port::parse) {
                found.push(report::error(path(argument), capital(&error.to_string()), error.advice()));
            }
        }
        found.extend(check_range(model, &path));
        if let Some(protocol) = model.protocol.as_str().filter(|it| !["tcp", "udp"].contains(it)) {
            let summary = format!("There is no protocol \"{protocol}\"");
            found.push(report::error(path("protocol"), summary, "Write \"tcp\" (the default) or \"udp\"."));
        }
        if let Some(address) = model.host_address.as_str().filter(|it| it.parse::<IpAddr>().is_err()) {
            let summary = format!("\"{address}\" is no IP address");
            let detail =
                "Write an address of the host, \"0.0.0.0\" for all of them, or leave it out for 127.0.0.1.";
            found.push(report::error(path("host_address"), summary, detail));
        }
        listeners.extend(listener(name, model));
    }
    for (later, earlier) in port::clashes(&listeners) {
        found.push(report::error(
            Path::at("ports").key(&later.name).attribute("host_port"),
            format!("The ports {} and {} clash", earlier.name, later.name),
            format!(
                "Both listen on {}'s {} port {}. Give one of them another host_port.",
                later.address,
                later.protocol,
                later.ports.start().max(earlier.ports.start())
            ),
        ));
    }
}

/// Each port of a range leads to the one in its place.
fn check_range(model: &PortModel, path: &dyn Fn(&str) -> Path) -> Option<Diagnostic> {
    let inside = parsed(&model.container_port)?;
    if model.host_port.is_null() && inside.len() > 1 {
        let detail = format!("Name as many ports of the host, such as \"{}\".", port::format(&inside));
        return Some(report::error(path("host_port"), "A range of ports has no host_port", detail));
    }
    let outside = parsed(&model.host_port)?;
    let told = |count: usize| if count == 1 { "one".to_owned() } else { count.to_string() };
    (inside.len() != outside.len()).then(|| {
        let summary = "The ports of the host are not as many as those of the instance";
        let detail = format!(
            "container_port names {}, host_port {}: each leads to the one in its place.",
            told(inside.len()),
            told(outside.len())
        );
        report::error(path("host_port"), summary, detail)
    })
}

fn listener(name: &str, model: &PortModel) -> Option<Listener> {
    if model.host_address.is_unknown() || model.protocol.is_unknown() {
        return None;
    }
    Some(Listener {
        name: name.to_owned(),
        address: model.host_address.as_str().unwrap_or(DEFAULT_HOST_ADDRESS).parse().ok()?,
        ports: parsed(&model.host_port)?,
        protocol: model.protocol.as_str().unwrap_or(DEFAULT_PROTOCOL).to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attr::{Part, map};

    fn port(inside: &str, outside: &str) -> PortModel {
        let host_port = if outside.is_empty() { Attr::Null } else { Attr::from(outside) };
        PortModel { container_port: Attr::from(inside), host_port, ..PortModel::default() }
    }

    fn ports(all: &[(&str, PortModel)]) -> Map<PortModel> {
        map(all.iter().map(|(name, port)| ((*name).to_owned(), port.clone())))
    }

    fn read_back(ports: &Map<PortModel>, prior: Option<&Map<PortModel>>) -> Map<PortModel> {
        let asked = to_wire(ports);
        from_wire(&wire::Instance { ports: asked.clone(), ..wire::Instance::default() }, &asked, prior)
    }

    #[test]
    fn a_range_is_single_ports_to_the_agent_and_one_entry_to_its_user() {
        let mixed = ports(&[
            ("media", port("8000-8002", "18000-18002")),
            // Not what they look like: each has its entry.
            ("a.80", port("80", "1080")),
            ("a.81", port("81", "1081")),
            ("web", port("80", "8080")),
        ]);
        let asked = to_wire(&mixed);
        assert_eq!((asked.len(), asked["media.8001"].host_port), (6, 18_001));
        assert_eq!(read_back(&mixed, Some(&mixed)), mixed);
        let range = ports(&[("media", port("8000-8002", "18000-18002"))]);
        assert_eq!(read_back(&range, None), range, "imported");
        assert_eq!(entry_of(&mixed, "media.8001").as_deref(), Some("media"));
        assert_eq!((entry_of(&mixed, "a.80"), entry_of(&mixed, "media.9000")), (None, None));
    }

    #[test]
    fn what_was_changed_in_a_range_by_hand_is_seen() {
        let range = ports(&[("media", port("8000-8002", "18000-18002"))]);
        let mut asked = to_wire(&range);
        asked.remove("media.8001");
        let read = from_wire(&wire::Instance::default(), &asked, Some(&range));
        assert_eq!(
            entries(&read).map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
            ["media.8000", "media.8002"]
        );
    }

    #[test]
    fn ranges_that_do_not_fit_are_told() {
        let wrong = ports(&[
            ("a", port("8000-8002", "")),
            ("b", port("8000-8002", "9000-9001")),
            ("c", port("80", "9100-9101")),
            ("d", port("8002-8000", "9200-9202")),
            ("e", port("1", "9101")),
        ]);
        let mut found = Vec::new();
        validate(&wrong, &mut found);
        let told: Vec<_> = found.into_iter().map(|it| it.path).collect();
        let at = |name: &str, argument: &str| Path::at("ports").key(name).attribute(argument);
        let expected = ["a", "b", "c"].map(|name| at(name, "host_port"));
        assert_eq!(told, [&expected[..], &[at("d", "container_port"), at("e", "host_port")]].concat());
    }

    #[test]
    fn a_port_that_becomes_a_single_one_is_chosen_anew() {
        let prior = ports(&[("media", port("8000-8002", "18000-18002"))]);
        let mut now = ports(&[("media", port("8000", ""))]);
        choose(&mut now, prior.known());
        assert!(now.has_unknown());
    }
}
