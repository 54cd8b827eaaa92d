//! Remotes of the fake agent.

use berth_proto::agent as wire;
use tonic::{Code, Request, Response, Status};
use wire::error_detail::Reason;

use super::{Services, detail, not_found, refuse};

/// Where the key of a client certificate is kept among the passwords.
fn key_of(id: &str) -> String {
    format!("{id}/key")
}

#[tonic::async_trait]
impl wire::remote_service_server::RemoteService for Services {
    async fn create_remote(
        &self,
        request: Request<wire::CreateRemoteRequest>,
    ) -> Result<Response<wire::Remote>, Status> {
        let mut state = self.state();
        state.enter("CreateRemote")?;
        let mut spec = request.into_inner().spec.unwrap();
        let taken = state.remotes.values().find(|it| it.spec.as_ref().unwrap().name == spec.name);
        if let Some(taken) = taken {
            let mut reason = detail(
                Reason::NameTaken,
                &format!("There is a remote {} already", spec.name),
                "Choose another name.",
                &["name"],
            );
            reason.existing_id = taken.id.clone();
            return Err(refuse(Code::AlreadyExists, reason));
        }
        let id = uuid::Uuid::new_v4().to_string();
        let (password, key) = (spec.password.take(), spec.client_key.take());
        let remote = wire::Remote {
            id: id.clone(),
            spec: Some(spec),
            has_password: password.is_some(),
            has_client_key: key.is_some(),
        };
        state.passwords.extend(password.map(|password| (id.clone(), password)));
        state.passwords.extend(key.map(|key| (key_of(&id), key)));
        state.remotes.insert(id, remote.clone());
        Ok(Response::new(remote))
    }

    async fn get_remote(
        &self,
        request: Request<wire::GetRemoteRequest>,
    ) -> Result<Response<wire::Remote>, Status> {
        let mut state = self.state();
        state.enter("GetRemote")?;
        let found = match request.into_inner().by.unwrap() {
            wire::get_remote_request::By::Id(id) => state.remotes.get(&id),
            wire::get_remote_request::By::Name(name) => {
                state.remotes.values().find(|it| it.spec.as_ref().unwrap().name == name)
            }
        };
        found.cloned().map(Response::new).ok_or_else(|| not_found("remote"))
    }

    async fn list_remotes(
        &self,
        _: Request<wire::ListRemotesRequest>,
    ) -> Result<Response<wire::ListRemotesResponse>, Status> {
        let mut state = self.state();
        state.enter("ListRemotes")?;
        Ok(Response::new(wire::ListRemotesResponse { remotes: state.remotes.values().cloned().collect() }))
    }

    async fn update_remote(
        &self,
        request: Request<wire::UpdateRemoteRequest>,
    ) -> Result<Response<wire::Remote>, Status> {
        let mut state = self.state();
        state.enter("UpdateRemote")?;
        let request = request.into_inner();
        let mut spec = request.spec.unwrap();
        for (secret, clear, at) in [
            (spec.password.take(), request.clear_password, request.id.clone()),
            (spec.client_key.take(), request.clear_client_key, key_of(&request.id)),
        ] {
            match secret {
                Some(secret) => {
                    state.passwords.insert(at, secret);
                }
                None if clear => {
                    state.passwords.remove(&at);
                }
                None => {}
            }
        }
        let has_password = state.passwords.contains_key(&request.id);
        let has_client_key = state.passwords.contains_key(&key_of(&request.id));
        let remote = state.remotes.get_mut(&request.id).ok_or_else(|| not_found("remote"))?;
        remote.spec = Some(spec);
        remote.has_password = has_password;
        remote.has_client_key = has_client_key;
        Ok(Response::new(remote.clone()))
    }

    async fn delete_remote(
        &self,
        request: Request<wire::DeleteRemoteRequest>,
    ) -> Result<Response<wire::DeleteRemoteResponse>, Status> {
        let mut state = self.state();
        state.enter("DeleteRemote")?;
        let removed = state.remotes.remove(&request.into_inner().id);
        removed.map(|_| Response::new(wire::DeleteRemoteResponse {})).ok_or_else(|| not_found("remote"))
    }
}
