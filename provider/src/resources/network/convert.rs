//! Between the model and the wire.

use berth_proto::agent as wire;

use super::dhcp;
use super::model::NetworkModel;
use crate::attr::{Attr, keep_spelling, map, non_empty};
use crate::resources::access;
use crate::resources::labels::{self, Labels};
use crate::text::cidr;

/// What the agent is asked for. The model has been validated: what cannot be read is left out.
pub fn to_spec(model: &NetworkModel, defaults: &Labels) -> wire::NetworkSpec {
    let text = |attr: &Attr<String>| attr.as_str().unwrap_or_default().to_owned();
    let mtu = model.mtu.known().and_then(|mtu| u32::try_from(*mtu).ok());
    wire::NetworkSpec {
        name: text(&model.name),
        r#type: text(&model.r#type),
        parent: text(&model.parent),
        vlan: model.vlan.known().and_then(|vlan| u32::try_from(*vlan).ok()).unwrap_or_default(),
        ipv4_subnet: text(&model.ipv4_subnet),
        ipv6_subnet: text(&model.ipv6_subnet),
        nat: model.nat.known().copied(),
        isolated: model.isolated.known().copied().unwrap_or(false),
        mtu: mtu.unwrap_or_default(),
        dns_domain: text(&model.dns_domain),
        labels: labels::effective(&model.labels, defaults).into_iter().collect(),
        ingress: access::to_wire(&model.ingress),
        egress: access::to_wire(&model.egress),
        dhcp: dhcp::to_wire(&model.dhcp),
    }
}

/// A network as the agent has it, in the words of `prior` where they say the same.
pub fn from_wire(network: &wire::Network, prior: Option<&NetworkModel>, defaults: &Labels) -> NetworkModel {
    let empty = wire::NetworkSpec::default();
    let spec = network.spec.as_ref().unwrap_or(&empty);
    let own = prior.map(|prior| &prior.labels);
    let before = prior.map(|prior| &prior.effective_labels);
    let kept = prior.cloned().unwrap_or_default();
    // What is so by default need not be written.
    let flag = |actual: bool, default: bool, before: &Attr<bool>| match before {
        Attr::Null | Attr::Unknown if actual == default => Attr::Null,
        _ => Attr::Known(actual),
    };
    NetworkModel {
        host: kept.host,
        name: Attr::Known(spec.name.clone()),
        r#type: match &kept.r#type {
            Attr::Null | Attr::Unknown if spec.r#type == "bridge" => Attr::Null,
            _ => Attr::Known(spec.r#type.clone()),
        },
        parent: non_empty(&spec.parent),
        vlan: if spec.vlan == 0 { Attr::Null } else { Attr::Known(spec.vlan.into()) },
        ipv4_subnet: subnet(&spec.ipv4_subnet, &kept.ipv4_subnet),
        ipv6_subnet: match (spec.ipv6_subnet.as_str(), kept.ipv6_subnet.as_str()) {
            ("", Some("none")) => Attr::from("none"),
            (actual, Some("auto")) if !actual.is_empty() => Attr::from("auto"),
            (actual, _) => subnet(actual, &kept.ipv6_subnet),
        },
        nat: spec.nat.map_or(Attr::Null, |nat| flag(nat, true, &kept.nat)),
        isolated: flag(spec.isolated, false, &kept.isolated),
        mtu: if spec.mtu == 0 { Attr::Null } else { Attr::Known(spec.mtu.into()) },
        dns_domain: non_empty(&spec.dns_domain),
        labels: labels::read(&spec.labels, own, before, defaults),
        ingress: access::from_wire(spec.ingress.as_ref(), Some(&kept.ingress)),
        egress: access::from_wire(spec.egress.as_ref(), Some(&kept.egress)),
        dhcp: dhcp::from_wire(spec.dhcp.as_ref(), &kept.dhcp),
        timeouts: kept.timeouts,
        id: Attr::Known(network.id.clone()),
        bridge: non_empty(&network.bridge),
        effective_labels: map(spec.labels.clone()),
    }
}

fn subnet(actual: &str, before: &Attr<String>) -> Attr<String> {
    match cidr::parse(actual) {
        Ok(meaning) => {
            keep_spelling(Some(before), &meaning, |text| cidr::parse(text).ok(), || actual.to_owned())
        }
        Err(_) => non_empty(actual),
    }
}
