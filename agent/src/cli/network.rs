//! `berth network …`

use berth_proto::agent as wire;
use berth_proto::agent::network_service_client::NetworkServiceClient;
use serde_json::{Value, json};

use super::args::{Format, NetworkVerb};
use super::error::CliError;
use super::{Cli, MAX_ANSWER, output, show};

pub(super) async fn run(cli: &Cli, verb: NetworkVerb) -> Result<(), CliError> {
    let mut client = NetworkServiceClient::new(cli.dial().await?).max_decoding_message_size(MAX_ANSWER);
    match verb {
        NetworkVerb::Ls => {
            let networks = client.list_networks(wire::ListNetworksRequest {}).await?.into_inner().networks;
            if cli.format == Format::Json {
                return output::json(&Value::Array(networks.iter().map(shown).collect()));
            }
            let row = |network: &wire::Network| {
                let network = network.clone();
                let spec = network.spec.unwrap_or_default();
                let on = if network.bridge.is_empty() { spec.parent } else { network.bridge };
                let users = network.used_by.len().to_string();
                vec![network.name, network.r#type, network.ipv4_subnet, spec.ipv6_subnet, on, users]
            };
            let rows: Vec<_> = networks.iter().map(row).collect();
            output::table(&["NAME", "TYPE", "IPV4", "IPV6", "ON", "USED BY"], &rows)
        }
        NetworkVerb::Inspect { name } => {
            let by = Some(wire::get_network_request::By::Name(name));
            let network = client.get_network(wire::GetNetworkRequest { by }).await?.into_inner();
            output::json(&shown_in_full(&network))
        }
    }
}

fn shown(network: &wire::Network) -> Value {
    let spec = network.spec.clone().unwrap_or_default();
    let rules = |rules: &Option<wire::AccessRules>| {
        rules.as_ref().map(|rules| Value::Array(rules.rules.iter().map(rule).collect()))
    };
    json!({
        "name": network.name,
        "id": network.id,
        "type": network.r#type,
        "ipv4_subnet": show::text(&network.ipv4_subnet),
        "ipv6_subnet": show::text(&spec.ipv6_subnet),
        "bridge": show::text(&network.bridge),
        "parent": show::text(&spec.parent),
        "vlan": (spec.vlan != 0).then_some(spec.vlan),
        "nat": spec.nat,
        "isolated": spec.isolated,
        "mtu": (spec.mtu != 0).then_some(spec.mtu),
        "dns_domain": show::text(&spec.dns_domain),
        "labels": show::sorted(&spec.labels),
        "ingress": rules(&spec.ingress),
        "egress": rules(&spec.egress),
        "dhcp": spec.dhcp.as_ref().map(dhcp),
        "used_by": network.used_by,
        "generation": network.generation,
        "created_at": show::text(&network.created_at),
    })
}

/// With what its DHCP server has given, which is not asked for in a list.
fn shown_in_full(network: &wire::Network) -> Value {
    let mut all = shown(network);
    all["leases"] = network.leases.iter().map(lease).collect();
    all["leases_exhausted"] = show::text(&network.leases_exhausted);
    all
}

fn dhcp(dhcp: &wire::NetworkDhcp) -> Value {
    let seconds = dhcp.lease_time_ms / 1000;
    json!({
        "ipv4_range": show::text(&dhcp.ipv4_range),
        "lease_seconds": (seconds != 0).then_some(seconds),
    })
}

fn lease(lease: &wire::NetworkLease) -> Value {
    json!({
        "ipv4_address": lease.ipv4_address,
        "mac": lease.mac,
        "hostname": show::text(&lease.hostname),
        "expires": lease.expires,
    })
}

fn rule(rule: &wire::AccessRule) -> Value {
    json!({
        "protocol": show::text(&rule.protocol),
        "ports": rule.ports,
        "cidr": show::text(&rule.cidr),
        "network": show::text(&rule.network),
        "labels": show::sorted(&rule.labels),
    })
}
