//! Networks.

use berth_proto::agent as wire;
use berth_proto::agent::network_service_server::NetworkService;
use tonic::{Request, Response, Status};

use super::Api;
use super::convert::network::{draft, show};
use super::convert::{by, id};
use super::status;

#[tonic::async_trait]
impl NetworkService for Api {
    async fn create_network(
        &self,
        request: Request<wire::CreateNetworkRequest>,
    ) -> Result<Response<wire::Network>, Status> {
        let created = self.engine.create_network(&draft(request.into_inner().spec)?).await;
        created.map(show).map(Response::new).map_err(|error| status::failed(&error))
    }

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
        let networks = self.engine.list_networks().into_iter().map(show).collect();
        Ok(Response::new(wire::ListNetworksResponse { networks }))
    }

    async fn update_network(
        &self,
        request: Request<wire::UpdateNetworkRequest>,
    ) -> Result<Response<wire::Network>, Status> {
        let wire::UpdateNetworkRequest { id: text, spec } = request.into_inner();
        let updated = self.engine.update_network(id(&text)?, &draft(spec)?).await;
        updated.map(show).map(Response::new).map_err(|error| status::failed(&error))
    }

    async fn delete_network(
        &self,
        request: Request<wire::DeleteNetworkRequest>,
    ) -> Result<Response<wire::DeleteNetworkResponse>, Status> {
        let network = id(&request.into_inner().id)?;
        self.engine.delete_network(network).await.map_err(|error| status::failed(&error))?;
        Ok(Response::new(wire::DeleteNetworkResponse {}))
    }
}
