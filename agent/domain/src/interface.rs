//! Interfaces of an instance on networks.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
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

/// The C library asks no more resolvers than these.
const MAX_RESOLVERS: usize = 3;

/// More names than this of others belong to a server of names.
const MAX_HOSTS: usize = 1024;

/// An interface of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceSpec {
    /// The network, by its name or id.
    pub network: String,
    /// `None`: chosen, and kept; on a network whose addresses are not the agent's, a DHCP server's.
    #[serde(default)]
    pub ipv4_address: Option<Ipv4Addr>,
    /// The length of its network's prefix, which is said where the network is not the agent's.
    #[serde(default)]
    pub ipv4_prefix: Option<u8>,
    /// The router, beside such an address.
    #[serde(default)]
    pub ipv4_gateway: Option<Ipv4Addr>,
    /// `None`: chosen, and kept, where the network has IPv6; on one that is not the agent's, of its routers.
    #[serde(default)]
    pub ipv6_address: Option<Ipv6Addr>,
    /// As that of IPv4.
    #[serde(default)]
    pub ipv6_prefix: Option<u8>,
    /// As that of IPv4; it may be link-local.
    #[serde(default)]
    pub ipv6_gateway: Option<Ipv6Addr>,
    /// Who is asked for names, instead of who answers on the network. None: that one.
    #[serde(default)]
    pub dns: Vec<IpAddr>,
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
        Self {
            network: network::DEFAULT.to_owned(),
            ipv4_address: None,
            ipv4_prefix: None,
            ipv4_gateway: None,
            ipv6_address: None,
            ipv6_prefix: None,
            ipv6_gateway: None,
            dns: Vec::new(),
            mac: None,
            default_route: None,
        }
    }

    /// The fixed address on a network whose addresses are not the agent's.
    #[must_use]
    pub fn fixed_ipv4(&self) -> Option<Ipv4Net> {
        Ipv4Net::new(self.ipv4_address?, self.ipv4_prefix?).ok()
    }

    /// Likewise of IPv6.
    #[must_use]
    pub fn fixed_ipv6(&self) -> Option<Ipv6Net> {
        Ipv6Net::new(self.ipv6_address?, self.ipv6_prefix?).ok()
    }

    /// Its addresses as they are written: with a prefix where that is said.
    #[must_use]
    pub fn written(&self) -> (Option<String>, Option<String>) {
        let ipv4 = self.fixed_ipv4().map(|net| net.to_string());
        let ipv6 = self.fixed_ipv6().map(|net| net.to_string());
        (
            ipv4.or_else(|| self.ipv4_address.map(|address| address.to_string())),
            ipv6.or_else(|| self.ipv6_address.map(|address| address.to_string())),
        )
    }
}

/// An interface before it is checked; empty texts mean the defaults.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "as in InterfaceSpec")]
pub struct InterfaceDraft {
    pub network: String,
    /// With a prefix, or without.
    pub ipv4_address: String,
    pub ipv4_gateway: String,
    pub ipv6_address: String,
    pub ipv6_gateway: String,
    pub dns: Vec<String>,
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
    let ipv4 = address(&at("ipv4_address"), &draft.ipv4_address, &V4, findings);
    let ipv6 = address(&at("ipv6_address"), &draft.ipv6_address, &V6, findings);
    let beside = Beside { family: V4, address: ipv4, is_given: !draft.ipv4_address.is_empty() };
    let ipv4_gateway =
        gateway(&at("ipv4_gateway"), &draft.ipv4_gateway, &beside, draft.default_route, findings);
    let beside = Beside { family: V6, address: ipv6, is_given: !draft.ipv6_address.is_empty() };
    let ipv6_gateway =
        gateway(&at("ipv6_gateway"), &draft.ipv6_gateway, &beside, draft.default_route, findings);
    let dns = resolvers(name, &draft.dns, findings);
    let mac = Some(&draft.mac).filter(|text| !text.is_empty());
    let mac = mac.and_then(|text| findings.keep(&at("mac"), hardware_address(text)));
    Some(InterfaceSpec {
        network: network.to_owned(),
        ipv4_address: ipv4.and_then(|(address, _)| v4(address)),
        ipv4_prefix: ipv4.and_then(|(_, prefix)| prefix),
        ipv4_gateway: ipv4_gateway.and_then(v4),
        ipv6_address: ipv6.and_then(|(address, _)| v6(address)),
        ipv6_prefix: ipv6.and_then(|(_, prefix)| prefix),
        ipv6_gateway: ipv6_gateway.and_then(v6),
        dns,
        mac,
        default_route: draft.default_route,
    })
}

fn v4(address: IpAddr) -> Option<Ipv4Addr> {
    if let IpAddr::V4(v4) = address { Some(v4) } else { None }
}

fn v6(address: IpAddr) -> Option<Ipv6Addr> {
    if let IpAddr::V6(v6) = address { Some(v6) } else { None }
}

/// What is said of a family.
struct Family {
    name: &'static str,
    is_own: fn(&IpAddr) -> bool,
    plain: &'static str,
    with_prefix: &'static str,
    router: &'static str,
}

const V4: Family = Family {
    name: "IPv4",
    is_own: IpAddr::is_ipv4,
    plain: "10.20.30.5",
    with_prefix: "192.0.2.5/24",
    router: "192.0.2.1",
};
const V6: Family = Family {
    name: "IPv6",
    is_own: IpAddr::is_ipv6,
    plain: "fd12:3456:789a:1::5",
    with_prefix: "2001:db8::5/64",
    router: "2001:db8::1",
};

type Written = (IpAddr, Option<u8>);

/// An address that one interface can have, with or without the prefix of its network.
fn address(at: &[&str], text: &str, family: &Family, findings: &mut Findings) -> Option<Written> {
    if text.is_empty() {
        return None;
    }
    let written = match text.split_once('/') {
        None => text.parse().ok().map(|address| (address, None)),
        Some(_) => text.parse::<IpNet>().ok().map(|net| (net.addr(), Some(net.prefix_len()))),
    };
    let Family { name, plain, with_prefix, .. } = family;
    let Some((address, prefix)) = written.filter(|(address, _)| (family.is_own)(address)) else {
        let summary = format!("\"{}\" is not an {name} address", shown(text));
        let advice = format!(
            "Write an address of the network, such as {plain}; on a network of the type \"physical\" or \
             \"macvlan\" with its prefix, such as {with_prefix}"
        );
        findings.add(Invalid::new(at, summary, advice));
        return None;
    };
    let net = prefix.and_then(|prefix| IpNet::new(address, prefix).ok());
    if is_odd(address) || net.is_some_and(|net| is_edge(&net)) {
        let summary = format!("{} cannot be the address of an interface", shown(text));
        findings.add(Invalid::new(at, summary, format!("Write one such as {with_prefix}")));
        return None;
    }
    Some((address, prefix))
}

/// An address that is not one interface's, or that no router passes on.
fn is_odd(address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.octets()[0] == 0 || v4.octets()[0] >= 240,
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.to_ipv4_mapped().is_some(),
    };
    address.is_loopback() || address.is_multicast() || address.is_unspecified() || link_local
}

/// What stands for the network itself, or for all on it.
fn is_edge(net: &IpNet) -> bool {
    let point_to_point = net.prefix_len() + 1 >= net.max_prefix_len();
    let edge = net.addr() == net.network() || (net.addr() == net.broadcast() && net.addr().is_ipv4());
    net.prefix_len() == 0 || (edge && !point_to_point)
}

/// What a gateway stands beside.
struct Beside {
    family: Family,
    /// The address, where it is right.
    address: Option<Written>,
    is_given: bool,
}

/// A router on the network of the address beside it.
fn gateway(
    at: &[&str],
    text: &str,
    beside: &Beside,
    default_route: Option<bool>,
    findings: &mut Findings,
) -> Option<IpAddr> {
    let Family { name, is_own, with_prefix, router, .. } = beside.family;
    if text.is_empty() {
        return None;
    }
    let mut refuse = |summary: String, advice: String| {
        findings.add(Invalid::new(at, summary, advice));
        None
    };
    let parsed = text.parse::<IpAddr>().ok().filter(is_own);
    let Some(gateway) = parsed.filter(|it| !it.is_unspecified() && !it.is_multicast() && !it.is_loopback())
    else {
        let summary = format!("\"{}\" is not the {name} address of a router", shown(text));
        return refuse(summary, format!("Write one without a prefix, such as {router}"));
    };
    if default_route == Some(false) {
        let summary = "A gateway leads to elsewhere, and elsewhere is not through this interface".to_owned();
        return refuse(summary, "Leave it out, or default_route".to_owned());
    }
    let net = match beside.address {
        Some((address, Some(prefix))) => IpNet::new(address, prefix).ok()?,
        // What is wrong with the address is told already.
        None if beside.is_given => return None,
        _ => {
            let summary = format!("A gateway goes with an {name} address that is written with its prefix");
            let advice = format!(
                "Write the address such as {with_prefix}; leave the gateway out on a network of the type \"bridge\", \
                 which has its own"
            );
            return refuse(summary, advice);
        }
    };
    let link_local = matches!(gateway, IpAddr::V6(v6) if v6.is_unicast_link_local());
    if gateway == net.addr() {
        return refuse(format!("{gateway} is the instance's own address"), "Name the router".to_owned());
    }
    if !net.contains(&gateway) && !link_local {
        let summary = format!("{gateway} is no address of the network {}", net.trunc());
        return refuse(summary, "Name a router on it, or write another address".to_owned());
    }
    Some(gateway)
}

fn resolvers(name: &str, texts: &[String], findings: &mut Findings) -> Vec<IpAddr> {
    if texts.len() > MAX_RESOLVERS {
        let summary = format!("There are {} resolvers", texts.len());
        let advice = format!("Name at most {MAX_RESOLVERS}: programs ask no more");
        findings.add(Invalid::new(&["networks", name, "dns"], summary, advice));
    }
    let mut found = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let address = text.parse::<IpAddr>().ok();
        match address.filter(|it| !it.is_unspecified() && !it.is_multicast()) {
            Some(address) => found.push(address),
            None => {
                let summary = format!("\"{}\" is not the address of a resolver", shown(text));
                let at = ["networks", name, "dns", &index.to_string()];
                findings.add(Invalid::new(
                    &at,
                    summary,
                    "Write an address of either family, such as 192.0.2.53",
                ));
            }
        }
    }
    found
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
    fn a_fixed_address_has_its_prefix_and_its_router() {
        let fixed = |address: &str, gateway: &str, default_route| InterfaceDraft {
            ipv4_address: address.to_owned(),
            ipv4_gateway: gateway.to_owned(),
            default_route,
            ..draft("", "", None)
        };
        let of = |draft: InterfaceDraft| {
            let mut findings = Findings::default();
            let found = check(Some(&BTreeMap::from([("eth0".to_owned(), draft)])), &mut findings);
            findings.finish(found).map(|found| found["eth0"].clone())
        };
        let good = of(fixed("192.0.2.5/24", "192.0.2.1", None)).unwrap();
        assert_eq!(good.written(), (Some("192.0.2.5/24".to_owned()), None));
        assert_eq!(good.ipv4_gateway, Some(Ipv4Addr::new(192, 0, 2, 1)));
        let six = InterfaceDraft {
            ipv6_address: "2001:DB8::5/64".to_owned(),
            ipv6_gateway: "fe80::1".to_owned(),
            dns: vec!["2001:db8::53".to_owned()],
            ..InterfaceDraft::default()
        };
        assert_eq!(of(six).unwrap().written().1, Some("2001:db8::5/64".to_owned()));
        for (address, gateway, default_route, argument) in [
            ("192.0.2.5/24", "192.0.3.1", None, "ipv4_gateway"),
            ("192.0.2.5/24", "192.0.2.5", None, "ipv4_gateway"),
            ("192.0.2.5/24", "192.0.2.1/24", None, "ipv4_gateway"),
            ("192.0.2.5/24", "192.0.2.1", Some(false), "ipv4_gateway"),
            ("192.0.2.5", "192.0.2.1", None, "ipv4_gateway"),
            ("", "192.0.2.1", None, "ipv4_gateway"),
            ("192.0.2.0/24", "192.0.2.1", None, "ipv4_address"),
            ("192.0.2.255/24", "", None, "ipv4_address"),
            ("192.0.2.5/33", "", None, "ipv4_address"),
            ("127.0.0.5/8", "", None, "ipv4_address"),
            ("2001:db8::5/64", "", None, "ipv4_address"),
        ] {
            let invalids = of(fixed(address, gateway, default_route)).unwrap_err();
            let paths: Vec<_> = invalids.as_slice().iter().map(|it| it.attribute.join(".")).collect();
            assert_eq!(paths, [format!("networks.eth0.{argument}")], "{address} {gateway}");
        }
        let many = InterfaceDraft {
            dns: vec!["192.0.2.53".to_owned(), "ns.example".to_owned()],
            ..InterfaceDraft::default()
        };
        assert_eq!(of(many).unwrap_err().as_slice()[0].attribute, ["networks", "eth0", "dns", "1"]);
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
