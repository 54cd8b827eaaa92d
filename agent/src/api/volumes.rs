//! Volumes.

use berth_domain::VolumeDraft;
use berth_engine::view::VolumeView;
use berth_proto::agent as wire;
use berth_proto::agent::volume_service_server::VolumeService;
use tonic::{Request, Response, Status};

use super::Api;
use super::convert::{by, id, rfc3339};
use super::instances::incomplete;
use super::status;

#[tonic::async_trait]
impl VolumeService for Api {
    async fn create_volume(
        &self,
        request: Request<wire::CreateVolumeRequest>,
    ) -> Result<Response<wire::Volume>, Status> {
        let draft = draft(request.into_inner().spec)?;
        let created = self.engine.create_volume(&draft).await;
        created.map(show).map(Response::new).map_err(|error| status::failed(&error))
    }

    async fn get_volume(
        &self,
        request: Request<wire::GetVolumeRequest>,
    ) -> Result<Response<wire::Volume>, Status> {
        use wire::get_volume_request::By;
        let by = match request.into_inner().by {
            Some(By::Id(text)) => by::id(&text)?,
            Some(By::Name(name)) => by::name(name),
            None => return Err(by::missing()),
        };
        let found = self.engine.get_volume(by).await;
        found.map(show).map(Response::new).map_err(|error| status::failed(&error))
    }

    async fn list_volumes(
        &self,
        _: Request<wire::ListVolumesRequest>,
    ) -> Result<Response<wire::ListVolumesResponse>, Status> {
        let volumes = self.engine.list_volumes().await.map_err(|error| status::failed(&error))?;
        let volumes = volumes.into_iter().map(show).collect();
        Ok(Response::new(wire::ListVolumesResponse { volumes }))
    }

    async fn update_volume(
        &self,
        request: Request<wire::UpdateVolumeRequest>,
    ) -> Result<Response<wire::Volume>, Status> {
        let wire::UpdateVolumeRequest { id: text, spec } = request.into_inner();
        let updated = self.engine.update_volume(id(&text)?, draft(spec)?).await;
        updated.map(show).map(Response::new).map_err(|error| status::failed(&error))
    }

    async fn delete_volume(
        &self,
        request: Request<wire::DeleteVolumeRequest>,
    ) -> Result<Response<wire::DeleteVolumeResponse>, Status> {
        let volume = id(&request.into_inner().id)?;
        self.engine.delete_volume(volume).await.map_err(|error| status::failed(&error))?;
        Ok(Response::new(wire::DeleteVolumeResponse {}))
    }
}

fn draft(spec: Option<wire::VolumeSpec>) -> Result<VolumeDraft, Status> {
    let wire::VolumeSpec { name, labels, uid, gid, mode, size_bytes } =
        spec.ok_or_else(|| incomplete("spec"))?;
    Ok(VolumeDraft { name, labels: labels.into_iter().collect(), uid, gid, mode, size: size_bytes })
}

fn show(view: VolumeView) -> wire::Volume {
    let spec = view.spec;
    wire::Volume {
        id: view.id.to_string(),
        spec: Some(wire::VolumeSpec {
            name: spec.name.to_string(),
            labels: spec.labels.into_iter().collect(),
            uid: spec.uid,
            gid: spec.gid,
            mode: spec.mode,
            size_bytes: spec.size,
        }),
        used_by: view.used_by.iter().map(ToString::to_string).collect(),
        created_at: rfc3339(view.created_at),
        instance_id: view.owner.as_ref().map(|owner| owner.instance.to_string()).unwrap_or_default(),
        target: view.owner.map(|owner| owner.target).unwrap_or_default(),
    }
}
