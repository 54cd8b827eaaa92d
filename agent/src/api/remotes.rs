//! Registries known by a name.

use berth_proto::agent as wire;
use berth_proto::agent::remote_service_server::RemoteService;
use tonic::{Request, Response, Status};

use super::Api;
use super::convert::{by, id, remote};
use super::status;

#[tonic::async_trait]
impl RemoteService for Api {
    async fn create_remote(
        &self,
        request: Request<wire::CreateRemoteRequest>,
    ) -> Result<Response<wire::Remote>, Status> {
        let (draft, secrets) = remote::draft(request.into_inner().spec)?;
        let created = self.engine.create_remote(&draft, secrets).await;
        created.map(remote::show).map(Response::new).map_err(|error| status::failed(&error))
    }

    async fn get_remote(
        &self,
        request: Request<wire::GetRemoteRequest>,
    ) -> Result<Response<wire::Remote>, Status> {
        use wire::get_remote_request::By;
        let by = match request.into_inner().by {
            Some(By::Id(text)) => by::id(&text)?,
            Some(By::Name(name)) => by::name(name),
            None => return Err(by::missing()),
        };
        let found = self.engine.get_remote(by).await;
        found.map(remote::show).map(Response::new).map_err(|error| status::failed(&error))
    }

    async fn list_remotes(
        &self,
        _: Request<wire::ListRemotesRequest>,
    ) -> Result<Response<wire::ListRemotesResponse>, Status> {
        let remotes = self.engine.list_remotes().await.map_err(|error| status::failed(&error))?;
        let remotes = remotes.into_iter().map(remote::show).collect();
        Ok(Response::new(wire::ListRemotesResponse { remotes }))
    }

    async fn update_remote(
        &self,
        request: Request<wire::UpdateRemoteRequest>,
    ) -> Result<Response<wire::Remote>, Status> {
        let request = request.into_inner();
        let remote_id = id(&request.id)?;
        let (draft, secrets) = remote::draft(request.spec)?;
        let changes = remote::changes(secrets, request.clear_password, request.clear_client_key);
        let updated = self.engine.update_remote(remote_id, &draft, changes).await;
        updated.map(remote::show).map(Response::new).map_err(|error| status::failed(&error))
    }

    async fn delete_remote(
        &self,
        request: Request<wire::DeleteRemoteRequest>,
    ) -> Result<Response<wire::DeleteRemoteResponse>, Status> {
        let remote_id = id(&request.into_inner().id)?;
        self.engine.delete_remote(remote_id).await.map_err(|error| status::failed(&error))?;
        Ok(Response::new(wire::DeleteRemoteResponse {}))
    }
}
