//! Networks and access rules.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use berth_domain::{
    AccessRule, AccessRuleDraft, Dhcp, DhcpDraft, InterfaceDraft, InterfaceSpec, NetworkDraft,
};
use berth_engine::ports::network::Lease;
use berth_engine::ports::runtime::InterfaceState;
use berth_engine::view::NetworkView;
use berth_proto::agent as wire;
use tonic::Status;

use super::rfc3339;
use crate::api::instances::incomplete;

/// What is asked for, before it is checked.
pub(in crate::api) fn draft(spec: Option<wire::NetworkSpec>) -> Result<NetworkDraft, Status> {
    let spec = spec.ok_or_else(|| incomplete("spec"))?;
    Ok(NetworkDraft {
        name: spec.name,
        kind: spec.r#type,
        parent: spec.parent,
        vlan: spec.vlan,
        ipv4_subnet: spec.ipv4_subnet,
        ipv6_subnet: spec.ipv6_subnet,
        nat: spec.nat,
        isolated: spec.isolated,
        mtu: spec.mtu,
        dns_domain: spec.dns_domain,
        labels: spec.labels.into_iter().collect(),
        ingress: rule_drafts(spec.ingress),
        egress: rule_drafts(spec.egress),
        dhcp: spec
            .dhcp
            .map(|dhcp| DhcpDraft { ipv4_range: dhcp.ipv4_range, lease_time_ms: dhcp.lease_time_ms }),
    })
}

/// Access rules, before they are checked.
pub(in crate::api) fn rule_drafts(rules: Option<wire::AccessRules>) -> Option<Vec<AccessRuleDraft>> {
    let draft = |rule: wire::AccessRule| AccessRuleDraft {
        protocol: rule.protocol,
        ports: rule.ports,
        cidr: rule.cidr,
        network: rule.network,
        labels: rule.labels.into_iter().collect(),
    };
    rules.map(|rules| rules.rules.into_iter().map(draft).collect())
}

/// Access rules.
pub(in crate::api) fn rules(rules: Option<&[AccessRule]>) -> Option<wire::AccessRules> {
    let show = |rule: &AccessRule| {
        let draft = rule.to_draft();
        wire::AccessRule {
            protocol: draft.protocol,
            ports: draft.ports,
            cidr: draft.cidr,
            network: draft.network,
            labels: draft.labels.into_iter().collect(),
        }
    };
    rules.map(|rules| wire::AccessRules { rules: rules.iter().map(show).collect() })
}

/// A network.
pub(in crate::api) fn show(view: NetworkView) -> wire::Network {
    let (network, bridge) = (view.network, view.bridge.unwrap_or_default());
    let spec = network.spec;
    let text = |text: Option<String>| text.unwrap_or_default();
    let (name, kind) = (spec.name.to_string(), spec.kind.as_str().to_owned());
    let ipv4_subnet = text(spec.ipv4_subnet.map(|net| net.to_string()));
    wire::Network {
        id: network.id.to_string(),
        name: name.clone(),
        r#type: kind.clone(),
        ipv4_subnet: ipv4_subnet.clone(),
        bridge: bridge.clone(),
        generation: network.generation,
        used_by: view.used_by.iter().map(ToString::to_string).collect(),
        // Of one that an earlier agent has made, it is not known.
        created_at: if network.created_at.0 == 0 { String::new() } else { rfc3339(network.created_at) },
        spec: Some(wire::NetworkSpec {
            name,
            r#type: kind,
            parent: text(spec.parent),
            vlan: spec.vlan.map(u32::from).unwrap_or_default(),
            ipv4_subnet,
            ipv6_subnet: text(spec.ipv6_subnet.map(|net| net.to_string())),
            nat: (!bridge.is_empty()).then_some(spec.nat),
            isolated: spec.isolated,
            mtu: spec.mtu.unwrap_or_default(),
            dns_domain: text(spec.dns_domain.map(|domain| domain.to_string())),
            labels: spec.labels.into_iter().collect(),
            ingress: rules(spec.ingress.as_deref()),
            egress: rules(spec.egress.as_deref()),
            dhcp: spec.dhcp.map(dhcp),
        }),
        leases: view.leases.all.into_iter().map(network_lease).collect(),
        leases_exhausted: text(view.leases.exhausted.map(rfc3339)),
    }
}

fn dhcp(dhcp: Dhcp) -> wire::NetworkDhcp {
    wire::NetworkDhcp {
        ipv4_range: dhcp.ipv4_range.map(|range| range.to_string()).unwrap_or_default(),
        lease_time_ms: dhcp.lease_seconds.map(|seconds| u64::from(seconds) * 1000).unwrap_or_default(),
    }
}

fn network_lease(lease: Lease) -> wire::NetworkLease {
    wire::NetworkLease {
        ipv4_address: lease.address.to_string(),
        mac: lease.mac.to_string(),
        hostname: lease.hostname.unwrap_or_default(),
        expires: rfc3339(lease.expires),
    }
}

/// Interfaces, before they are checked.
pub(in crate::api) fn interface_drafts(
    networks: Option<wire::InstanceNetworks>,
) -> Option<BTreeMap<String, InterfaceDraft>> {
    let draft = |interface: wire::InstanceNetwork| InterfaceDraft {
        network: interface.network,
        ipv4_address: interface.ipv4_address,
        ipv4_gateway: interface.ipv4_gateway,
        ipv6_address: interface.ipv6_address,
        ipv6_gateway: interface.ipv6_gateway,
        dns: interface.dns,
        mac: interface.mac,
        default_route: interface.default_route,
    };
    networks.map(|it| it.interfaces.into_iter().map(|(name, it)| (name, draft(it))).collect())
}

/// Interfaces as they were asked for.
pub(in crate::api) fn interfaces(
    interfaces: Option<BTreeMap<String, InterfaceSpec>>,
) -> Option<wire::InstanceNetworks> {
    let show = |interface: InterfaceSpec| {
        let (ipv4_address, ipv6_address) = interface.written();
        let text = |address: Option<IpAddr>| address.map(|it| it.to_string()).unwrap_or_default();
        wire::InstanceNetwork {
            network: interface.network,
            ipv4_address: ipv4_address.unwrap_or_default(),
            ipv6_address: ipv6_address.unwrap_or_default(),
            mac: interface.mac.map(|it| it.to_string()).unwrap_or_default(),
            default_route: interface.default_route,
            ipv4_gateway: text(interface.ipv4_gateway.map(IpAddr::V4)),
            ipv6_gateway: text(interface.ipv6_gateway.map(IpAddr::V6)),
            dns: interface.dns.iter().map(ToString::to_string).collect(),
        }
    };
    let interfaces = interfaces?.into_iter().map(|(name, it)| (name, show(it)));
    Some(wire::InstanceNetworks { interfaces: interfaces.collect() })
}

/// What DHCP servers have given, and why where they have not.
pub(in crate::api) fn leases(interfaces: BTreeMap<String, InterfaceState>) -> HashMap<String, wire::Lease> {
    let show = |state: InterfaceState| {
        let trouble = state.trouble.unwrap_or_default();
        let Some(lease) = state.lease else { return wire::Lease { trouble, ..wire::Lease::default() } };
        wire::Lease {
            address: lease.address.to_string(),
            server: lease.server.to_string(),
            since: rfc3339(lease.since),
            expires: lease.expires.map(rfc3339).unwrap_or_default(),
            renewals: lease.renewals,
            dns: lease.dns.iter().map(ToString::to_string).collect(),
            domain: lease.domain.unwrap_or_default(),
            trouble,
        }
    };
    let asking = interfaces.into_iter().filter(|(_, state)| state.lease.is_some() || state.trouble.is_some());
    asking.map(|(name, state)| (name, show(state))).collect()
}
