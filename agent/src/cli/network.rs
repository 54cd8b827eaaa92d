//! `berth network …`

use berth_proto::agent as wire;
use berth_proto::agent::network_service_client::NetworkServiceClient;
use serde_json::Value;

use super::args::{Format, NetworkVerb};
use super::error::CliError;
use super::{Cli, output, show};

pub(super) async fn run(cli: &Cli, verb: NetworkVerb) -> Result<(), CliError> {
    let mut client = NetworkServiceClient::new(cli.dial().await?);
    match verb {
        NetworkVerb::Ls => {
            let networks = client.list_networks(wire::ListNetworksRequest {}).await?.into_inner().networks;
            if cli.format == Format::Json {
                return output::json(&Value::Array(networks.iter().map(show::network).collect()));
            }
            let row = |network: &wire::Network| {
                let network = network.clone();
                vec![network.name, network.r#type, network.ipv4_subnet, network.bridge]
            };
            let rows: Vec<_> = networks.iter().map(row).collect();
            output::table(&["NAME", "TYPE", "IPV4", "BRIDGE"], &rows)
        }
        NetworkVerb::Inspect { name } => {
            let by = Some(wire::get_network_request::By::Name(name));
            let network = client.get_network(wire::GetNetworkRequest { by }).await?.into_inner();
            output::json(&show::network(&network))
        }
    }
}
