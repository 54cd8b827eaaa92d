//! Interfaces of an instance on networks.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::invalid::{Findings, Invalid};
use crate::mac::MacAddress;
use crate::name::{Hostname, Name, shown};
use crate::network::{self, is_link_name};

/// The interface of an instance that names no networks.
pub const DEFAULT_INTERFACE: &str = "eth0";

/// More interfaces than this is no instance given.
pub const MAX_INTERFACES: usize = 10;

/// More names than this of others belong to a server of names.
const MAX_HOSTS: usize = 1024;

/// An interface of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceSpec {
    /// The network, by its name or id.
    pub network: String,
    /// `None`: chosen, and kept.
    #[serde(default)]
    pub ipv4_address: Option<Ipv4Addr>,
    /// `None`: chosen, and kept, where the network has IPv6.
    #[serde(default)]
    pub ipv6_address: Option<Ipv6Addr>,
    /// `None`: chosen, and kept.
    #[serde(default)]
    pub mac: Option<MacAddress>,
    /// Whether what goes elsewhere goes through it. `None`: where no other does, and it is the first.
    #[serde(default)]
    pub default_route: Option<bool>,
}

impl InterfaceSpec {
    /// One on the default network.
    #[must_use]
    pub fn on_default() -> Self {
        let network = network::DEFAULT.to_owned();
        Self { network, ipv4_address: None, ipv6_address: None, mac: None, default_route: None }
    }
}

/// An interface before it is checked; empty texts mean the defaults.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "as in InterfaceSpec")]
pub struct InterfaceDraft {
    pub network: String,
    pub ipv4_address: String,
    pub ipv6_address: String,
    pub mac: String,
    pub default_route: Option<bool>,
}

/// The name of the interface that the default route leads through.
#[must_use]
pub fn default_route(interfaces: &BTreeMap<String, InterfaceSpec>) -> Option<&str> {
    let asked = interfaces.iter().find(|(_, interface)| interface.default_route == Some(true));
    let first = || interfaces.iter().find(|(_, interface)| interface.default_route.is_none());
    asked.or_else(first).map(|(name, _)| name.as_str())
}

/// Checks the interfaces, noting mistakes under `networks.<name>`. `None` stays `None`: one on the default network.
pub fn check(
    drafts: Option<&BTreeMap<String, InterfaceDraft>>,
    findings: &mut Findings,
) -> Option<BTreeMap<String, InterfaceSpec>> {
    let drafts = drafts?;
    if drafts.len() > MAX_INTERFACES {
        let summary = format!("There are {} interfaces", drafts.len());
        findings.add(Invalid::new(&["networks"], summary, format!("Use at most {MAX_INTERFACES}")));
    }
    let mut interfaces = BTreeMap::new();
    for (name, draft) in drafts {
        if !is_link_name(name) || name == "lo" {
            let summary = format!("\"{}\" cannot be the name of an interface", shown(name));
            let advice = "Use a name such as eth0: up to 15 characters without spaces, slashes and colons";
            findings.add(Invalid::new(&["networks", name], summary, advice));
        }
        interfaces.extend(interface(name, draft, findings).map(|interface| (name.clone(), interface)));
    }
    let mut routes = interfaces.iter().filter(|(_, interface)| interface.default_route == Some(true));
    if let (Some((one, _)), Some((other, _))) = (routes.next(), routes.next()) {
        let summary = format!("The interface \"{one}\" has the default route, too");
        let invalid = Invalid::new(&["networks", other, "default_route"], summary, "Let one of them have it");
        findings.add(invalid);
    }
    let mut macs = BTreeMap::new();
    for (name, interface) in &interfaces {
        if let Some(other) = interface.mac.and_then(|mac| macs.insert(mac.0, name)) {
            let summary = format!("The interface \"{other}\" has the same hardware address");
            findings.add(Invalid::new(&["networks", name, "mac"], summary, "Give each its own"));
        }
    }
    Some(interfaces)
}

/// Checks names of other hosts, noting mistakes under `extra_hosts.<name>`.
pub fn check_hosts(drafts: &BTreeMap<String, String>, findings: &mut Findings) -> BTreeMap<String, IpAddr> {
    if drafts.len() > MAX_HOSTS {
        let summary = format!("There are {} names", drafts.len());
        findings.add(Invalid::new(&["extra_hosts"], summary, format!("Use at most {MAX_HOSTS}")));
        return BTreeMap::new();
    }
    let mut hosts = BTreeMap::new();
    for (name, text) in drafts {
        let at = ["extra_hosts", name.as_str()];
        findings.keep(&at, Hostname::new(name));
        let address = text.parse::<IpAddr>().map_err(|_| {
            let summary = format!("\"{}\" is not an IP address", shown(text));
            Invalid::new(&[], summary, "Write an address of either family, such as 10.20.30.5")
        });
        hosts.extend(findings.keep(&at, address).map(|address| (name.clone(), address)));
    }
    hosts
}

fn interface(name: &str, draft: &InterfaceDraft, findings: &mut Findings) -> Option<InterfaceSpec> {
    let at = |field| ["networks", name, field];
    let network = match draft.network.as_str() {
        "" => network::DEFAULT,
        text => text,
    };
    if Uuid::try_parse(network).is_err() && Name::new(network).is_err() {
        let summary = format!("\"{}\" is neither a network's name nor its id", shown(network));
        findings.add(Invalid::new(&at("network"), summary, "Name a network"));
    }
    let ipv4 = Some(&draft.ipv4_address).filter(|text| !text.is_empty());
    let ipv4_address = ipv4.and_then(|text| {
        let parsed = text.parse::<Ipv4Addr>().map_err(|_| {
            let summary = format!("\"{}\" is not an IPv4 address", shown(text));
            Invalid::new(&[], summary, "Write an address of the network, such as 10.20.30.5")
        });
        findings.keep(&at("ipv4_address"), parsed)
    });
    let ipv6 = Some(&draft.ipv6_address).filter(|text| !text.is_empty());
    let ipv6_address = ipv6.and_then(|text| {
        let parsed = text.parse::<Ipv6Addr>().map_err(|_| {
            let summary = format!("\"{}\" is not an IPv6 address", shown(text));
            Invalid::new(&[], summary, "Write an address of the network, such as fd12:3456:789a:1::5")
        });
        findings.keep(&at("ipv6_address"), parsed)
    });
    let mac = Some(&draft.mac).filter(|text| !text.is_empty());
    let mac = mac.and_then(|text| findings.keep(&at("mac"), hardware_address(text)));
    let default_route = draft.default_route;
    Some(InterfaceSpec { network: network.to_owned(), ipv4_address, ipv6_address, mac, default_route })
}

fn hardware_address(text: &str) -> Result<MacAddress, Invalid> {
    let mac: MacAddress = text.parse()?;
    if mac.0[0] & 1 == 1 || mac.0 == [0; 6] {
        let advice = "Use one whose first byte is even, such as 02:00:00:00:00:01";
        return Err(Invalid::new(&[], format!("{mac} is not the address of one interface"), advice));
    }
    Ok(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_another_host_is_one_and_has_an_address() {
        let check = |name: &str, address: &str| {
            let mut findings = Findings::default();
            let hosts = check_hosts(&BTreeMap::from([(name.to_owned(), address.to_owned())]), &mut findings);
            findings.finish(Some(hosts)).is_ok()
        };
        assert!(check("db.example", "10.1.2.3") && check("db", "fd00::5"));
        for (name, address) in
            [("a b", "10.1.2.3"), ("", "10.1.2.3"), ("db", "10.1.2"), ("db", "10.1.2.3\nevil 1")]
        {
            assert!(!check(name, address), "{name} {address}");
        }
    }

    fn draft(ipv4: &str, mac: &str, default_route: Option<bool>) -> InterfaceDraft {
        let (ipv4_address, mac) = (ipv4.to_owned(), mac.to_owned());
        let network = "web".to_owned();
        InterfaceDraft { network, ipv4_address, mac, default_route, ..InterfaceDraft::default() }
    }

    #[test]
    fn each_mistake_is_told_with_its_place() {
        let drafts = BTreeMap::from([
            ("eth0".to_owned(), draft("10.1.2", "02:00:00:00:00:01", Some(true))),
            ("eth1".to_owned(), draft("", "02:00:00:00:00:01", Some(true))),
            ("eth2".to_owned(), draft("fd00::1", "01:00:00:00:00:01", None)),
            ("lo".to_owned(), InterfaceDraft { network: "Web!".to_owned(), ..InterfaceDraft::default() }),
        ]);
        let mut findings = Findings::default();
        check(Some(&drafts), &mut findings);
        let invalids = findings.into_error().unwrap();
        let paths: Vec<_> = invalids.as_slice().iter().map(|invalid| invalid.attribute.join(".")).collect();
        let expected = [
            "networks.eth0.ipv4_address",
            "networks.eth2.ipv4_address",
            "networks.eth2.mac",
            "networks.lo",
            "networks.lo.network",
            "networks.eth1.default_route",
            "networks.eth1.mac",
        ];
        assert_eq!(paths, expected);
        assert_eq!(check(None, &mut Findings::default()), None);
    }

    #[test]
    fn the_default_route_is_the_first_s_unless_one_asks_for_it() {
        let on = |default_route| InterfaceSpec { default_route, ..InterfaceSpec::on_default() };
        let of = |a, b| BTreeMap::from([("a".to_owned(), on(a)), ("b".to_owned(), on(b))]);
        assert_eq!(default_route(&of(None, None)), Some("a"));
        assert_eq!(default_route(&of(None, Some(true))), Some("b"));
        assert_eq!(default_route(&of(Some(false), None)), Some("b"));
        assert_eq!(default_route(&of(Some(false), Some(false))), None);
    }
}
