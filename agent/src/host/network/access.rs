//! Restrictions in the firewall's words.

use std::collections::BTreeMap;

use berth_domain::access::AccessProtocol;
use berth_engine::ports::access::{Access, Passage, Restrictions};
use berth_network::firewall;

/// As they are recorded: by the id of the instance or the name of the bridge.
pub(super) fn recorded(restrictions: &Restrictions) -> BTreeMap<String, firewall::Access> {
    let networks = restrictions.networks.iter().map(|(bridge, access)| (bridge.clone(), one(access)));
    let instances = restrictions.instances.iter().map(|(id, access)| (id.to_string(), one(access)));
    networks.chain(instances).collect()
}

fn one(access: &Access) -> firewall::Access {
    let list = |rules: &Option<Vec<Passage>>| Some(rules.as_ref()?.iter().map(rule).collect());
    firewall::Access { ingress: list(&access.ingress), egress: list(&access.egress) }
}

fn rule(passage: &Passage) -> firewall::AccessRule {
    firewall::AccessRule {
        protocol: passage.protocol.map(|protocol| match protocol {
            AccessProtocol::Tcp => firewall::AccessProtocol::Tcp,
            AccessProtocol::Udp => firewall::AccessProtocol::Udp,
            AccessProtocol::Icmp => firewall::AccessProtocol::Icmp,
        }),
        ports: passage.ports.iter().map(|range| range.first..=range.last).collect(),
        peers: passage.peers.clone(),
    }
}
