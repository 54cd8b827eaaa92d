//! The agent's networks over gRPC.

use berth_proto::agent as wire;
use tonic::transport::Channel;
use wire::network_service_client::NetworkServiceClient;

use super::grpc::GrpcAgent;
use super::{Answer, By};

impl GrpcAgent {
    pub(super) fn networks(&self) -> NetworkServiceClient<Channel> {
        NetworkServiceClient::new(self.channel())
    }

    pub(super) async fn network_made(&self, spec: wire::NetworkSpec) -> Answer<wire::Network> {
        let request = wire::CreateNetworkRequest { spec: Some(spec) };
        self.answer("Creating the network", self.networks().create_network(request).await)
    }

    pub(super) async fn network_found(&self, by: By) -> Answer<wire::Network> {
        let by = match by {
            By::Id(id) => wire::get_network_request::By::Id(id),
            By::Name(name) => wire::get_network_request::By::Name(name),
        };
        let request = wire::GetNetworkRequest { by: Some(by) };
        self.answer("Reading the network", self.networks().get_network(request).await)
    }

    pub(super) async fn network_changed(&self, request: wire::UpdateNetworkRequest) -> Answer<wire::Network> {
        self.answer("Updating the network", self.networks().update_network(request).await)
    }

    pub(super) async fn network_deleted(&self, id: String) -> Answer<()> {
        let request = wire::DeleteNetworkRequest { id };
        self.answer("Deleting the network", self.networks().delete_network(request).await).map(|_| ())
    }
}
