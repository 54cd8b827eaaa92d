//! Access rules: what is let into instances and out of them.

use std::collections::BTreeMap;
use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::invalid::{Findings, Invalid};
use crate::name::{Name, shown};
use crate::value::text;

/// More rules than this in one list are a mistake.
const MAX_RULES: usize = 256;

/// What a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP, of either family.
    Icmp,
}

impl AccessProtocol {
    /// The word users know it by.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
        }
    }
}

/// Ports from the first to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortRange {
    /// The first.
    pub first: u16,
    /// The last; not below the first.
    pub last: u16,
}

impl PortRange {
    /// Reads `80` or `8000-8010`.
    ///
    /// # Errors
    /// It is neither, or the last is below the first.
    pub fn new(text: &str) -> Result<Self, Invalid> {
        let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0);
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (Some(first), Some(last)) = (number(first), number(last)) else {
            let summary = format!("\"{}\" is neither a port nor a range of ports", shown(text));
            return Err(Invalid::new(
                &[],
                summary,
                "Write a port from 1 to 65535, or a range such as 8000-8010",
            ));
        };
        if last < first {
            let summary = format!("The range {first}-{last} ends before it begins");
            return Err(Invalid::new(&[], summary, format!("Write {last}-{first}")));
        }
        Ok(Self { first, last })
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { self.first.fmt(f) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

/// The other side of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Peer {
    /// Whoever it is.
    Any,
    /// These addresses.
    Cidr(IpNet),
    /// The instances on a network, by its name or id.
    Network(String),
    /// The instances that have all of these labels.
    Labels(BTreeMap<String, String>),
}

/// One rule: what it describes is let through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessRule {
    /// `None`: any.
    pub protocol: Option<AccessProtocol>,
    /// None: all. Of the protocol, or else of TCP and UDP.
    pub ports: Vec<PortRange>,
    /// The source of what goes in, or the destination of what goes out.
    pub peer: Peer,
}

/// A rule before it is checked; empty texts mean nothing was given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "as in AccessRule")]
pub struct AccessRuleDraft {
    pub protocol: String,
    pub ports: Vec<String>,
    pub cidr: String,
    pub network: String,
    pub labels: BTreeMap<String, String>,
}

impl AccessRule {
    /// The rule as a draft, to be shown.
    #[must_use]
    pub fn to_draft(&self) -> AccessRuleDraft {
        let mut draft = AccessRuleDraft {
            protocol: self.protocol.map(|protocol| protocol.as_str().to_owned()).unwrap_or_default(),
            ports: self.ports.iter().map(ToString::to_string).collect(),
            ..AccessRuleDraft::default()
        };
        match &self.peer {
            Peer::Any => {}
            Peer::Cidr(net) => draft.cidr = net.to_string(),
            Peer::Network(network) => draft.network.clone_from(network),
            Peer::Labels(labels) => draft.labels.clone_from(labels),
        }
        draft
    }
}

/// Checks a list of rules, noting mistakes under its argument. `None` stays `None`: nothing is restricted.
pub fn check(
    argument: &str,
    drafts: Option<&[AccessRuleDraft]>,
    findings: &mut Findings,
) -> Option<Vec<AccessRule>> {
    let drafts = drafts?;
    if drafts.len() > MAX_RULES {
        let summary = format!("There are {} rules", drafts.len());
        findings.add(Invalid::new(&[argument], summary, format!("Use at most {MAX_RULES}")));
        return None;
    }
    let rules = drafts.iter().enumerate();
    Some(rules.filter_map(|(index, draft)| rule(&[argument, &index.to_string()], draft, findings)).collect())
}

fn rule(path: &[&str], draft: &AccessRuleDraft, findings: &mut Findings) -> Option<AccessRule> {
    let at = |field: &'static str| [path[0], path[1], field];
    let protocol = match draft.protocol.as_str() {
        "" => Some(None),
        "tcp" => Some(Some(AccessProtocol::Tcp)),
        "udp" => Some(Some(AccessProtocol::Udp)),
        "icmp" => Some(Some(AccessProtocol::Icmp)),
        other => {
            let summary = format!("\"{}\" is not a protocol of rules", shown(other));
            findings.add(Invalid::new(&at("protocol"), summary, "Use \"tcp\", \"udp\" or \"icmp\""));
            None
        }
    };
    let mut ports = Vec::new();
    for (index, text) in draft.ports.iter().enumerate() {
        let path = [path[0], path[1], "ports", &index.to_string()];
        ports.extend(findings.keep(&path, PortRange::new(text)));
    }
    if !draft.ports.is_empty() && protocol == Some(Some(AccessProtocol::Icmp)) {
        let advice = "Give the protocol \"tcp\" or \"udp\", or leave the ports out";
        findings.add(Invalid::new(&at("ports"), "Only TCP and UDP have ports", advice));
    }
    let peer = peer(path, draft, findings);
    Some(AccessRule { protocol: protocol?, ports, peer: peer? })
}

fn peer(path: &[&str], draft: &AccessRuleDraft, findings: &mut Findings) -> Option<Peer> {
    let at = |field: &'static str| [path[0], path[1], field];
    let given = [!draft.cidr.is_empty(), !draft.network.is_empty(), !draft.labels.is_empty()];
    if given.into_iter().filter(|given| *given).count() > 1 {
        let advice = "Write a rule for each: what any of them lets through is let through";
        findings.add(Invalid::new(path, "A rule has one of cidr, network and labels", advice));
        return None;
    }
    if !draft.cidr.is_empty() {
        return findings.keep(&at("cidr"), network(&draft.cidr)).map(Peer::Cidr);
    }
    if !draft.network.is_empty() {
        let known = uuid::Uuid::try_parse(&draft.network).is_ok() || Name::new(&draft.network).is_ok();
        if !known {
            let summary = format!("\"{}\" is neither a network's name nor its id", shown(&draft.network));
            findings.add(Invalid::new(&at("network"), summary, "Name a network"));
            return None;
        }
        return Some(Peer::Network(draft.network.clone()));
    }
    for (key, value) in &draft.labels {
        let path = [path[0], path[1], "labels", key];
        findings.keep(&path, text::bounded(key, 1024));
        findings.keep(&path, text::bounded(value, 64 * 1024));
    }
    Some(if draft.labels.is_empty() { Peer::Any } else { Peer::Labels(draft.labels.clone()) })
}

/// Reads addresses of either family: a network, or one address.
///
/// # Errors
/// It is neither, or has bits beyond its prefix.
pub fn network(text: &str) -> Result<IpNet, Invalid> {
    let one = || text.parse::<std::net::IpAddr>().ok().map(IpNet::from);
    let Some(net) = text.parse::<IpNet>().ok().or_else(one) else {
        let summary = format!("\"{}\" is not a network", shown(text));
        return Err(Invalid::new(&[], summary, "Write addresses such as 10.0.0.0/8 or fd00::/64"));
    };
    if net.trunc() != net {
        let summary = format!("{net} has bits beyond its prefix");
        return Err(Invalid::new(&[], summary, format!("Write {}", net.trunc())));
    }
    Ok(net)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_ports_has_an_order() {
        assert_eq!(PortRange::new("80").unwrap(), PortRange { first: 80, last: 80 });
        assert_eq!(PortRange::new("8000-8010").unwrap().to_string(), "8000-8010");
        assert!(PortRange::new("8010-8000").unwrap_err().advice.contains("8000-8010"));
        for bad in ["", "0", "65536", "-", "1-", "http", "80-x"] {
            assert!(PortRange::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn each_mistake_is_told_with_its_place() {
        let drafts = [
            AccessRuleDraft { protocol: "sctp".to_owned(), ..AccessRuleDraft::default() },
            AccessRuleDraft {
                protocol: "icmp".to_owned(),
                ports: vec!["80".to_owned()],
                ..AccessRuleDraft::default()
            },
            AccessRuleDraft {
                protocol: "tcp".to_owned(),
                ports: vec!["1".to_owned(), "9-1".to_owned()],
                cidr: "10.0.0.1/8".to_owned(),
                ..AccessRuleDraft::default()
            },
            AccessRuleDraft {
                cidr: "10.0.0.0/8".to_owned(),
                network: "web".to_owned(),
                ..AccessRuleDraft::default()
            },
        ];
        let mut findings = Findings::default();
        check("ingress", Some(&drafts), &mut findings);
        let invalids = findings.into_error().unwrap();
        let paths: Vec<_> = invalids.as_slice().iter().map(|invalid| invalid.attribute.join(".")).collect();
        let expected =
            ["ingress.0.protocol", "ingress.1.ports", "ingress.2.ports.1", "ingress.2.cidr", "ingress.3"];
        assert_eq!(paths, expected);
        let of_both = AccessRuleDraft { ports: vec!["80".to_owned()], ..AccessRuleDraft::default() };
        assert_eq!(check("egress", Some(&[of_both]), &mut Findings::default()).unwrap().len(), 1);
        assert_eq!(check("egress", None, &mut Findings::default()), None);
        assert_eq!(check("egress", Some(&[]), &mut Findings::default()), Some(Vec::new()));
    }
}
