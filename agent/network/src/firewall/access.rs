//! Access rules as chains. A chain gives back what it lets through, so that the next is asked, and drops the rest.

use std::ops::RangeInclusive;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::{
    desired::{Access, AccessProtocol, AccessRule, Desired},
    json::{count, drop, equal, give_back, meta, payload, prefix_or_address, set},
    table::Table,
};

/// Which address of a packet is the other side's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Ingress,
    Egress,
}

impl Direction {
    pub(super) const BOTH: [Self; 2] = [Self::Egress, Self::Ingress];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }

    fn peer(self) -> &'static str {
        match self {
            Self::Ingress => "saddr",
            Self::Egress => "daddr",
        }
    }

    /// The chain for a bridge or an interface.
    pub(super) fn chain(self, link: &str) -> String {
        format!("{}_{link}", self.name())
    }

    pub(super) fn of(self, access: &Access) -> Option<&[AccessRule]> {
        match self {
            Self::Ingress => access.ingress.as_deref(),
            Self::Egress => access.egress.as_deref(),
        }
    }
}

/// Whether any interface of the agent's has lists, by direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listed {
    ingress: bool,
    egress: bool,
}

impl Listed {
    pub(super) fn of(desired: &Desired) -> Self {
        let any = |direction: Direction| {
            desired.interfaces.iter().any(|interface| direction.of(&interface.access).is_some())
        };
        Self { ingress: any(Direction::Ingress), egress: any(Direction::Egress) }
    }

    pub(super) fn has(self, direction: Direction) -> bool {
        match direction {
            Direction::Ingress => self.ingress,
            Direction::Egress => self.egress,
        }
    }
}

/// Adds the chain of one list.
pub(super) fn chain(table: &mut Table, link: &str, direction: Direction, rules: &[AccessRule]) {
    let name = direction.chain(link);
    table.chain(&name);
    for rule in rules {
        for statements in statements(rule, direction) {
            table.rule(&name, "let through", statements);
        }
    }
    table.rule(&name, "nothing else", vec![count(), drop()]);
}

/// One rule of nft for each family of the peers; none where the peers are nobody.
fn statements(rule: &AccessRule, direction: Direction) -> Vec<Vec<Value>> {
    let peers = match &rule.peers {
        None => vec![None],
        Some(nets) => {
            let (v4, v6): (Vec<_>, Vec<_>) =
                IpNet::aggregate(nets).into_iter().partition(|net| net.addr().is_ipv4());
            let families = [("ip", v4), ("ip6", v6)].into_iter().filter(|(_, nets)| !nets.is_empty());
            families.map(Some).collect()
        }
    };
    let matches = |peers: Option<(&str, Vec<IpNet>)>| {
        let mut statements = Vec::new();
        if let Some((family, nets)) = peers {
            let nets = set(nets.into_iter().map(prefix_or_address));
            statements.push(equal(payload(family, direction.peer()), nets));
        }
        statements.extend(protocol(rule));
        statements.push(give_back());
        statements
    };
    peers.into_iter().map(matches).collect()
}

fn protocol(rule: &AccessRule) -> Vec<Value> {
    let names: &[&str] = match rule.protocol {
        Some(AccessProtocol::Tcp) => &["tcp"],
        Some(AccessProtocol::Udp) => &["udp"],
        Some(AccessProtocol::Icmp) => &["icmp", "ipv6-icmp"],
        None if !rule.ports.is_empty() => &["tcp", "udp"],
        None => return Vec::new(),
    };
    let mut statements = vec![equal(meta("l4proto"), set(names.iter().copied()))];
    if !rule.ports.is_empty() && rule.protocol != Some(AccessProtocol::Icmp) {
        let range = |range: RangeInclusive<u16>| match range.into_inner() {
            (first, last) if first == last => json!(first),
            (first, last) => json!({ "range": [first, last] }),
        };
        statements.push(equal(payload("th", "dport"), set(merged(&rule.ports).into_iter().map(range))));
    }
    statements
}

/// The same ports in ranges that do not touch, as nft wants them.
fn merged(ports: &[RangeInclusive<u16>]) -> Vec<RangeInclusive<u16>> {
    let mut sorted: Vec<_> =
        ports.iter().filter(|range| !range.is_empty()).map(|r| (*r.start(), *r.end())).collect();
    sorted.sort_unstable();
    let mut merged: Vec<(u16, u16)> = Vec::new();
    for (first, last) in sorted {
        match merged.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => merged.push((first, last)),
        }
    }
    merged.into_iter().map(|(first, last)| first..=last).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_become_one() {
        assert_eq!(merged(&[80..=90, 85..=100, 101..=101, 443..=443, 1..=2]), [1..=2, 80..=101, 443..=443]);
        assert_eq!(merged(&[65_535..=65_535, 0..=65_535]), [0..=65_535]);
    }

    #[test]
    fn a_rule_for_nobody_lets_nothing_through() {
        let rule = AccessRule { peers: Some(Vec::new()), ..AccessRule::default() };
        assert!(statements(&rule, Direction::Ingress).is_empty());
        let both = AccessRule {
            peers: Some(vec![
                "10.0.0.0/8".parse().unwrap(),
                "10.1.0.0/16".parse().unwrap(),
                "fd00::/8".parse().unwrap(),
            ]),
            ..AccessRule::default()
        };
        assert_eq!(statements(&both, Direction::Ingress).len(), 2);
    }
}
