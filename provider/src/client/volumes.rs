//! The agent's volumes over gRPC.

use berth_proto::agent as wire;
use tonic::transport::Channel;
use wire::volume_service_client::VolumeServiceClient;

use super::grpc::GrpcAgent;
use super::{Answer, By};

impl GrpcAgent {
    pub(super) fn volumes(&self) -> VolumeServiceClient<Channel> {
        VolumeServiceClient::new(self.channel())
    }

    pub(super) async fn volume_made(&self, spec: wire::VolumeSpec) -> Answer<wire::Volume> {
        let request = wire::CreateVolumeRequest { spec: Some(spec) };
        self.answer("Creating the volume", self.volumes().create_volume(request).await)
    }

    pub(super) async fn volume_found(&self, by: By) -> Answer<wire::Volume> {
        let by = match by {
            By::Id(id) => wire::get_volume_request::By::Id(id),
            By::Name(name) => wire::get_volume_request::By::Name(name),
        };
        let request = wire::GetVolumeRequest { by: Some(by) };
        self.answer("Reading the volume", self.volumes().get_volume(request).await)
    }

    pub(super) async fn volume_changed(&self, request: wire::UpdateVolumeRequest) -> Answer<wire::Volume> {
        self.answer("Updating the volume", self.volumes().update_volume(request).await)
    }

    pub(super) async fn volume_deleted(&self, id: String) -> Answer<()> {
        let request = wire::DeleteVolumeRequest { id };
        self.answer("Deleting the volume", self.volumes().delete_volume(request).await).map(|_| ())
    }
}
