//! Volumes of the fake agent.

use berth_proto::agent as wire;
use tonic::{Code, Request, Response, Status};
use wire::error_detail::Reason;

use super::{Services, detail, not_found, refuse};

#[tonic::async_trait]
impl wire::volume_service_server::VolumeService for Services {
    async fn create_volume(
        &self,
        request: Request<wire::CreateVolumeRequest>,
    ) -> Result<Response<wire::Volume>, Status> {
        let mut state = self.state();
        state.enter("CreateVolume")?;
        let spec = request.into_inner().spec.unwrap();
        if let Some(taken) = state.volumes.values().find(|it| it.spec.as_ref().unwrap().name == spec.name) {
            let summary = format!("There is a volume {} already", spec.name);
            let mut reason = detail(Reason::NameTaken, &summary, "Choose another name.", &["name"]);
            reason.existing_id = taken.id.clone();
            return Err(refuse(Code::AlreadyExists, reason));
        }
        let id = uuid::Uuid::new_v4().to_string();
        let volume = wire::Volume { id: id.clone(), spec: Some(spec), ..wire::Volume::default() };
        state.volumes.insert(id, volume.clone());
        Ok(Response::new(volume))
    }

    async fn get_volume(
        &self,
        request: Request<wire::GetVolumeRequest>,
    ) -> Result<Response<wire::Volume>, Status> {
        let mut state = self.state();
        state.enter("GetVolume")?;
        let found = match request.into_inner().by.unwrap() {
            wire::get_volume_request::By::Id(id) => state.volumes.get(&id),
            wire::get_volume_request::By::Name(name) => {
                state.volumes.values().find(|it| it.spec.as_ref().unwrap().name == name)
            }
        };
        found.cloned().map(Response::new).ok_or_else(|| not_found("volume"))
    }

    async fn list_volumes(
        &self,
        _: Request<wire::ListVolumesRequest>,
    ) -> Result<Response<wire::ListVolumesResponse>, Status> {
        let mut state = self.state();
        state.enter("ListVolumes")?;
        let volumes = state.volumes.values().cloned().collect();
        Ok(Response::new(wire::ListVolumesResponse { volumes }))
    }

    async fn update_volume(
        &self,
        request: Request<wire::UpdateVolumeRequest>,
    ) -> Result<Response<wire::Volume>, Status> {
        let mut state = self.state();
        state.enter("UpdateVolume")?;
        let request = request.into_inner();
        let volume = state.volumes.get_mut(&request.id).ok_or_else(|| not_found("volume"))?;
        volume.spec = request.spec;
        Ok(Response::new(volume.clone()))
    }

    async fn delete_volume(
        &self,
        request: Request<wire::DeleteVolumeRequest>,
    ) -> Result<Response<wire::DeleteVolumeResponse>, Status> {
        let mut state = self.state();
        state.enter("DeleteVolume")?;
        let removed = state.volumes.remove(&request.into_inner().id);
        removed.map(|_| Response::new(wire::DeleteVolumeResponse {})).ok_or_else(|| not_found("volume"))
    }
}
