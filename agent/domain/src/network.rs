//! Networks.

pub mod dhcp;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::access::{self, AccessRule, AccessRuleDraft};
use crate::ids::NetworkId;
use crate::invalid::{Findings, Invalid, Invalids};
use crate::name::{Hostname, Name, shown};
use crate::state::Timestamp;
use crate::value::text;

pub use dhcp::{AddressRange, Dhcp, DhcpDraft};

/// The network of an instance that names none. It is always there.
pub const DEFAULT: &str = "default";

const MAX_LABELS: usize = 4096;
const MAX_TEXT: usize = 64 * 1024;
/// The others stand for no VLAN, and for all.
const VLANS: std::ops::RangeInclusive<u32> = 1..=4094;
/// What IPv6 needs, and what a link can have.
const MTUS: std::ops::RangeInclusive<u32> = 1280..=65_535;

/// What a network is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkKind {
    /// A bridge that the agent makes and looks after.
    Bridge,
    /// The host's own network, by a bridge of the host's or beside one of its interfaces.
    Physical,
    /// Interfaces of their own on one of the host's.
    Macvlan,
}

impl NetworkKind {
    /// The word users know it by.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Physical => "physical",
            Self::Macvlan => "macvlan",
        }
    }
}

/// A network as it was asked for, with the subnets that were chosen; right by construction, as only
/// [`NetworkDraft::validate`] makes one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NetworkSpec {
    /// Its name, unique on its host.
    pub name: Name,
    /// What it is made of.
    pub kind: NetworkKind,
    /// The host's interface or bridge that it is on; of a bridge none.
    #[serde(default)]
    pub parent: Option<String>,
    /// The VLAN of the parent that it is.
    #[serde(default)]
    pub vlan: Option<u16>,
    /// Its addresses; the first is the host's. Every bridge has some once it is in the ledger.
    #[serde(default)]
    pub ipv4_subnet: Option<Ipv4Net>,
    /// Likewise, where it has IPv6.
    #[serde(default)]
    pub ipv6_subnet: Option<Ipv6Net>,
    /// Whether what leaves it has the host's address.
    #[serde(default)]
    pub nat: bool,
    /// Its instances reach nobody beyond it.
    #[serde(default)]
    pub isolated: bool,
    /// `None`: that of the parent, or 1500.
    #[serde(default)]
    pub mtu: Option<u32>,
    /// What names on it end in; `None`: its own name and `berth`.
    #[serde(default)]
    pub dns_domain: Option<Hostname>,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// What is let in; `None`: all that is not forbidden elsewhere.
    #[serde(default)]
    pub ingress: Option<Vec<AccessRule>>,
    /// What is let out; `None`: all that is not forbidden elsewhere.
    #[serde(default)]
    pub egress: Option<Vec<AccessRule>>,
    /// Addresses for who is on it and is not the agent's; `None`: nobody gives any.
    #[serde(default)]
    pub dhcp: Option<Dhcp>,
}

/// A network of this agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownNetwork {
    /// Its id.
    pub id: NetworkId,
    /// What marks it on the host: no other network of the agent's has it.
    pub number: u32,
    /// Counts its changes.
    pub generation: u64,
    /// What was asked for.
    pub spec: NetworkSpec,
    /// When it was made.
    pub created_at: Timestamp,
}

impl KnownNetwork {
    /// Whether it is the one that is always there.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.spec.name.as_str() == DEFAULT
    }
}

impl NetworkSpec {
    /// The host's address on it, the instances' gateway.
    #[must_use]
    pub fn ipv4_gateway(&self) -> Option<Ipv4Addr> {
        self.ipv4_subnet.map(|subnet| subnet.hosts().next().unwrap_or(subnet.network()))
    }

    /// What its DHCP server gives, where it has one.
    #[must_use]
    pub fn dhcp_range(&self) -> Option<AddressRange> {
        Some(self.dhcp?.range(self.ipv4_subnet?))
    }

    /// Its DHCP server gives what is the network's to give; to be asked once the subnet is known.
    ///
    /// # Errors
    /// It would give what is not.
    pub fn check_dhcp(&self) -> Result<(), Invalid> {
        match (self.dhcp, self.ipv4_subnet, self.ipv4_gateway()) {
            (Some(dhcp), Some(subnet), Some(gateway)) => dhcp.check(subnet, gateway),
            _ => Ok(()),
        }
    }

    /// The host's IPv6 address on it.
    #[must_use]
    pub fn ipv6_gateway(&self) -> Option<Ipv6Addr> {
        self.ipv6_subnet.map(|subnet| Ipv6Addr::from(u128::from(subnet.network()) | 1))
    }

    /// Whether the host has something of it that the agent makes: a bridge, or a way to a VLAN.
    #[must_use]
    pub fn is_made(&self) -> bool {
        self.kind == NetworkKind::Bridge || self.vlan.is_some()
    }

    /// What the names of its instances end in.
    #[must_use]
    pub fn domain(&self) -> String {
        match &self.dns_domain {
            Some(domain) => domain.as_str().to_ascii_lowercase(),
            None => format!("{}.berth", self.name),
        }
    }

    /// Its subnets with the arguments that they stand in.
    pub fn subnets(&self) -> impl Iterator<Item = (&'static str, IpNet)> {
        let v4 = self.ipv4_subnet.map(|net| ("ipv4_subnet", IpNet::V4(net)));
        v4.into_iter().chain(self.ipv6_subnet.map(|net| ("ipv6_subnet", IpNet::V6(net))))
    }
}

/// Whether two networks have an address in common.
#[must_use]
pub fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

/// What is wanted of a subnet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Wish<T> {
    /// What it was; of a new network one that is chosen, where the host has such.
    #[default]
    Any,
    /// What it was where there is one, else one that is chosen.
    Auto,
    /// None.
    No,
    /// This.
    This(T),
}

/// A network before it is checked; empty texts and zeros mean the defaults.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "as in NetworkSpec")]
pub struct NetworkDraft {
    pub name: String,
    /// Empty: a bridge.
    pub kind: String,
    pub parent: String,
    /// 0: none.
    pub vlan: u32,
    /// Empty: what it was, or one that is chosen.
    pub ipv4_subnet: String,
    /// Empty: what it was, or one that is chosen where the host has IPv6; `auto`: likewise, and of one that had none;
    /// `none`: none.
    pub ipv6_subnet: String,
    pub nat: Option<bool>,
    pub isolated: bool,
    pub mtu: u32,
    pub dns_domain: String,
    pub labels: BTreeMap<String, String>,
    pub ingress: Option<Vec<AccessRuleDraft>>,
    pub egress: Option<Vec<AccessRuleDraft>>,
    pub dhcp: Option<DhcpDraft>,
}

impl NetworkDraft {
    /// Checks everything, and makes the spec. What is wanted of IPv6 stands beside it, as a spec cannot say that one is
    /// to be chosen.
    ///
    /// # Errors
    /// Every mistake, each with the path of its argument.
    pub fn validate(&self) -> Result<(NetworkSpec, Wish<Ipv6Net>), Invalids> {
        let mut findings = Findings::default();
        let checked = self.check(&mut findings);
        findings.finish(checked)
    }

    fn check(&self, findings: &mut Findings) -> Option<(NetworkSpec, Wish<Ipv6Net>)> {
        let name = findings.keep(&["name"], Name::new(&self.name));
        let kind = findings.keep(&["type"], kind(&self.kind));
        let given = |text: &String| (!text.is_empty()).then(|| text.clone());
        let ipv4 = given(&self.ipv4_subnet).and_then(|text| findings.keep(&["ipv4_subnet"], ipv4(&text)));
        let ipv6 = match self.ipv6_subnet.as_str() {
            "" => Wish::Any,
            "none" => Wish::No,
            "auto" => Wish::Auto,
            text => findings.keep(&["ipv6_subnet"], ipv6(text)).map_or(Wish::Any, Wish::This),
        };
        let domain = given(&self.dns_domain);
        let domain = domain.and_then(|text| findings.keep(&["dns_domain"], Hostname::new(&text)));
        if self.mtu != 0 && !MTUS.contains(&self.mtu) {
            let advice = format!("Use {} to {} bytes", MTUS.start(), MTUS.end());
            findings.add(Invalid::new(&["mtu"], format!("An MTU of {} is of no use", self.mtu), advice));
        }
        if self.vlan != 0 && !VLANS.contains(&self.vlan) {
            let advice = format!("Use {} to {}", VLANS.start(), VLANS.end());
            findings.add(Invalid::new(&["vlan"], format!("There is no VLAN {}", self.vlan), advice));
        }
        self.check_labels(findings);
        let ingress = access::check("ingress", self.ingress.as_deref(), findings);
        let egress = access::check("egress", self.egress.as_deref(), findings);
        let dhcp = self.dhcp.as_ref().map(|dhcp| dhcp.check(findings));
        let kind = kind?;
        self.check_kind(kind, findings);
        let spec = NetworkSpec {
            name: name?,
            kind,
            parent: given(&self.parent),
            vlan: u16::try_from(self.vlan).ok().filter(|vlan| *vlan != 0),
            ipv4_subnet: ipv4,
            ipv6_subnet: if let Wish::This(net) = ipv6 { Some(net) } else { None },
            nat: kind == NetworkKind::Bridge && self.nat.unwrap_or(true),
            isolated: self.isolated,
            mtu: (self.mtu != 0).then_some(self.mtu),
            dns_domain: domain,
            labels: self.labels.clone(),
            ingress,
            egress,
            dhcp,
        };
        findings.keep(&[], spec.check_dhcp());
        Some((spec, ipv6))
    }

    fn check_labels(&self, findings: &mut Findings) {
        if self.labels.len() > MAX_LABELS {
            let summary = format!("There are {} labels", self.labels.len());
            findings.add(Invalid::new(&["labels"], summary, format!("Use at most {MAX_LABELS}")));
        }
        for (key, value) in &self.labels {
            findings.keep(&["labels", key], text::bounded(key, 1024));
            findings.keep(&["labels", key], text::bounded(value, MAX_TEXT));
        }
    }

    /// What goes only with one kind of network.
    fn check_kind(&self, kind: NetworkKind, findings: &mut Findings) {
        if kind == NetworkKind::Bridge {
            for (field, given) in [("parent", !self.parent.is_empty()), ("vlan", self.vlan != 0)] {
                if given {
                    let advice = "Leave it out, or use the type \"physical\" or \"macvlan\"";
                    let summary = format!("A network of the type \"bridge\" has no {field}");
                    findings.add(Invalid::new(&[field], summary, advice));
                }
            }
            return;
        }
        if self.parent.is_empty() {
            let summary = format!("A network of the type \"{}\" needs a parent", kind.as_str());
            findings.add(Invalid::new(&["parent"], summary, "Name an interface or a bridge of the host"));
        } else if !is_link_name(&self.parent) {
            let summary = format!("\"{}\" is not the name of an interface", shown(&self.parent));
            findings.add(Invalid::new(&["parent"], summary, "ip link lists the host's interfaces"));
        }
        let only_of_bridges = [
            ("ipv4_subnet", !self.ipv4_subnet.is_empty()),
            ("ipv6_subnet", !matches!(self.ipv6_subnet.as_str(), "" | "none")),
            ("nat", self.nat == Some(true)),
            ("isolated", self.isolated),
            ("dns_domain", !self.dns_domain.is_empty()),
            ("ingress", self.ingress.is_some()),
            ("egress", self.egress.is_some()),
            ("dhcp", self.dhcp.is_some()),
        ];
        for (field, _) in only_of_bridges.into_iter().filter(|(_, given)| *given) {
            let summary = format!("A network of the type \"{}\" has no {field}", kind.as_str());
            findings.add(Invalid::new(&[field], summary, "Leave it out, or use the type \"bridge\""));
        }
    }
}

fn kind(text: &str) -> Result<NetworkKind, Invalid> {
    match text {
        "" | "bridge" => Ok(NetworkKind::Bridge),
        "physical" => Ok(NetworkKind::Physical),
        "macvlan" => Ok(NetworkKind::Macvlan),
        other => {
            let summary = format!("\"{}\" is not a type of network", shown(other));
            Err(Invalid::new(&[], summary, "Use \"bridge\", \"physical\" or \"macvlan\""))
        }
    }
}

fn ipv4(text: &str) -> Result<Ipv4Net, Invalid> {
    const ADVICE: &str = "Write a network of 8 to 30 bits, such as 10.20.30.0/24";
    let Ok(IpNet::V4(net)) = access::network(text) else {
        return Err(subnet_mistake(text, ADVICE));
    };
    let address = net.network();
    let odd = address.is_loopback() || address.is_multicast() || address.is_link_local();
    if odd || address.octets()[0] == 0 || address.octets()[0] >= 240 || !(8..=30).contains(&net.prefix_len())
    {
        return Err(Invalid::new(&[], format!("{net} cannot be a network of instances"), ADVICE));
    }
    Ok(net)
}

fn ipv6(text: &str) -> Result<Ipv6Net, Invalid> {
    const ADVICE: &str =
        "Write a network of 48 to 112 bits, such as fd12:3456:789a:1::/64, \"auto\" or \"none\"";
    let Ok(IpNet::V6(net)) = access::network(text) else {
        return Err(subnet_mistake(text, ADVICE));
    };
    let address = net.network();
    let odd = address.is_loopback() || address.is_multicast() || address.is_unicast_link_local();
    let mapped = address.to_ipv4_mapped().is_some();
    if odd || mapped || address.segments()[0] == 0 || !(48..=112).contains(&net.prefix_len()) {
        return Err(Invalid::new(&[], format!("{net} cannot be a network of instances"), ADVICE));
    }
    Ok(net)
}

/// What is wrong with a text that is no subnet of its family.
fn subnet_mistake(text: &str, advice: &str) -> Invalid {
    match access::network(text) {
        Err(invalid) if text.parse::<IpNet>().is_ok() => invalid,
        _ => Invalid::new(&[], format!("\"{}\" is not a subnet of this family", shown(text)), advice),
    }
}

/// Whether the kernel could have a link of this name.
#[must_use]
pub fn is_link_name(text: &str) -> bool {
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':' | b'%'));
    (1..=15).contains(&text.len()) && plain && text != "." && text != ".."
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(draft: &NetworkDraft) -> Vec<String> {
        let invalids = draft.validate().unwrap_err();
        invalids.as_slice().iter().map(|invalid| invalid.attribute.join(".")).collect()
    }

    #[test]
    fn a_bridge_has_the_host_s_address_first() {
        let draft = NetworkDraft {
            name: "web".to_owned(),
            ipv4_subnet: "10.1.2.0/24".to_owned(),
            ipv6_subnet: "fd00:1::/64".to_owned(),
            ..NetworkDraft::default()
        };
        let (spec, _) = draft.validate().unwrap();
        assert_eq!(spec.ipv4_gateway().unwrap().to_string(), "10.1.2.1");
        assert_eq!(spec.ipv6_gateway().unwrap().to_string(), "fd00:1::1");
        assert!(spec.nat && !spec.isolated);
        assert_eq!(spec.subnets().count(), 2);
    }

    #[test]
    fn what_no_instance_could_have_is_no_subnet() {
        for bad in
            ["10.1.2.1/24", "10.1.2.0", "10.1.2.0/31", "127.0.0.0/8", "224.0.0.0/8", "0.0.0.0/8", "fd00::/64"]
        {
            let draft = NetworkDraft {
                name: "web".to_owned(),
                ipv4_subnet: bad.to_owned(),
                ..NetworkDraft::default()
            };
            assert_eq!(paths(&draft), ["ipv4_subnet"], "{bad}");
        }
        for bad in ["fd00::1/64", "fe80::/64", "ff00::/64", "::/64", "fd00::/32", "10.0.0.0/8", "no"] {
            let draft = NetworkDraft {
                name: "web".to_owned(),
                ipv6_subnet: bad.to_owned(),
                ..NetworkDraft::default()
            };
            assert_eq!(paths(&draft), ["ipv6_subnet"], "{bad}");
        }
    }

    #[test]
    fn what_goes_only_with_another_kind_is_told() {
        let bridge = NetworkDraft {
            name: "Web".to_owned(),
            parent: "eth0".to_owned(),
            vlan: 7,
            mtu: 9,
            ..NetworkDraft::default()
        };
        assert_eq!(paths(&bridge), ["name", "mtu", "parent", "vlan"]);
        let physical = NetworkDraft {
            name: "lan".to_owned(),
            kind: "physical".to_owned(),
            ipv4_subnet: "10.1.2.0/24".to_owned(),
            nat: Some(true),
            isolated: true,
            dhcp: Some(DhcpDraft::default()),
            ..NetworkDraft::default()
        };
        assert_eq!(paths(&physical), ["parent", "ipv4_subnet", "nat", "isolated", "dhcp"]);
        let good = NetworkDraft {
            name: "lan".to_owned(),
            kind: "macvlan".to_owned(),
            parent: "eth0".to_owned(),
            vlan: 4094,
            ..NetworkDraft::default()
        };
        let (spec, _) = good.validate().unwrap();
        assert_eq!((spec.nat, spec.vlan), (false, Some(4094)));
        assert_eq!(paths(&NetworkDraft { vlan: 4095, ..good }), ["vlan"]);
    }
}
