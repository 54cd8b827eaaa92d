//! Networks.

use berth_engine::view::NetworkView;
use berth_proto::agent as wire;
use berth_proto::agent::network_service_server::NetworkService;
use tonic::{Request, Response, Status};

use super::Api;
use super::convert::by;
use super::status;

#[tonic::async_trait]
impl NetworkService for Api {
    async fn get_network(
        &self,
        request: Request<wire::GetNetworkRequest>,
    ) -> Result<Response<wire::Network>, Status> {
        use wire::get_network_request::By;
        let by = match request.into_inner().by {
            Some(By::Id(text)) => by::id(&text)?,
            Some(By::Name(name)) => by::name(name),
            None => return Err(by::missing()),
        };
        let found = self.engine.get_network(by).await;
        found.map(show).map(Response::new).map_err(|error| status::failed(&error))
    }

    async fn list_networks(
        &self,
        _: Request<wire::ListNetworksRequest>,
    ) -> Result<Response<wire::ListNetworksResponse>, Status> {
        let networks = self.engine.list_networks().await.map_err(|error| status::failed(&error))?;
        let networks = networks.into_iter().map(show).collect();
        Ok(Response::new(wire::ListNetworksResponse { networks }))
    }
}

fn show(view: NetworkView) -> wire::Network {
    wire::Network {
        id: view.spec.id.to_string(),
        name: view.spec.name.to_string(),
        r#type: view.spec.kind.as_str().to_owned(),
        ipv4_subnet: view.spec.ipv4_subnet.to_string(),
        bridge: view.bridge,
    }
}
