//! Networks of the fake agent.

use berth_proto::agent as wire;
use tonic::{Code, Request, Response, Status};
use wire::error_detail::Reason;

use super::{Services, detail, not_found, refuse};

#[tonic::async_trait]
impl wire::network_service_server::NetworkService for Services {
    async fn create_network(
        &self,
        request: Request<wire::CreateNetworkRequest>,
    ) -> Result<Response<wire::Network>, Status> {
        let mut state = self.state();
        state.enter("CreateNetwork")?;
        let spec = request.into_inner().spec.unwrap();
        if let Some(taken) = state.networks.values().find(|it| it.spec.as_ref().unwrap().name == spec.name) {
            let summary = format!("There is a network {} already", spec.name);
            let mut reason = detail(Reason::NameTaken, &summary, "Choose another name.", &["name"]);
            reason.existing_id = taken.id.clone();
            return Err(refuse(Code::AlreadyExists, reason));
        }
        let id = uuid::Uuid::new_v4().to_string();
        let mut spec = spec;
        if spec.ipv4_subnet.is_empty() && spec.parent.is_empty() {
            spec.ipv4_subnet = format!("10.8.{}.0/24", state.networks.len());
        }
        if spec.ipv6_subnet.is_empty() && spec.parent.is_empty() {
            spec.ipv6_subnet = format!("fd00:8:{}::/64", state.networks.len());
        }
        let network = chosen(&id, spec);
        state.networks.insert(id, network.clone());
        Ok(Response::new(network))
    }

    async fn get_network(
        &self,
        request: Request<wire::GetNetworkRequest>,
    ) -> Result<Response<wire::Network>, Status> {
        let mut state = self.state();
        state.enter("GetNetwork")?;
        let found = match request.into_inner().by.unwrap() {
            wire::get_network_request::By::Id(id) => state.networks.get(&id),
            wire::get_network_request::By::Name(name) => {
                state.networks.values().find(|it| it.spec.as_ref().unwrap().name == name)
            }
        };
        found.cloned().map(Response::new).ok_or_else(|| not_found("network"))
    }

    async fn list_networks(
        &self,
        _: Request<wire::ListNetworksRequest>,
    ) -> Result<Response<wire::ListNetworksResponse>, Status> {
        let mut state = self.state();
        state.enter("ListNetworks")?;
        let networks = state.networks.values().cloned().collect();
        Ok(Response::new(wire::ListNetworksResponse { networks }))
    }

    async fn update_network(
        &self,
        request: Request<wire::UpdateNetworkRequest>,
    ) -> Result<Response<wire::Network>, Status> {
        let mut state = self.state();
        state.enter("UpdateNetwork")?;
        let request = request.into_inner();
        let network = state.networks.get_mut(&request.id).ok_or_else(|| not_found("network"))?;
        let before = network.spec.take().unwrap_or_default();
        let mut spec = request.spec.unwrap_or_default();
        if spec.ipv4_subnet.is_empty() {
            spec.ipv4_subnet = before.ipv4_subnet;
        }
        if spec.ipv6_subnet.is_empty() {
            spec.ipv6_subnet = before.ipv6_subnet;
        }
        *network = chosen(&network.id, spec);
        Ok(Response::new(network.clone()))
    }

    async fn delete_network(
        &self,
        request: Request<wire::DeleteNetworkRequest>,
    ) -> Result<Response<wire::DeleteNetworkResponse>, Status> {
        let mut state = self.state();
        state.enter("DeleteNetwork")?;
        let removed = state.networks.remove(&request.into_inner().id);
        removed.map(|_| Response::new(wire::DeleteNetworkResponse {})).ok_or_else(|| not_found("network"))
    }
}

/// As the agent has it: what is left out is as it is by default.
fn chosen(id: &str, mut spec: wire::NetworkSpec) -> wire::Network {
    if spec.r#type.is_empty() {
        spec.r#type = "bridge".to_owned();
    }
    let bridge = if spec.r#type == "bridge" { "berthfake1" } else { "" };
    if !bridge.is_empty() {
        spec.nat.get_or_insert(true);
    }
    if spec.ipv6_subnet == "none" {
        spec.ipv6_subnet.clear();
    }
    wire::Network {
        id: id.to_owned(),
        name: spec.name.clone(),
        bridge: bridge.to_owned(),
        spec: Some(spec),
        ..wire::Network::default()
    }
}
