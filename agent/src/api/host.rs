//! The machine.

use berth_engine::ports::host::{CheckItem, Outcome};
use berth_proto::agent as wire;
use berth_proto::agent::host_service_server::HostService;
use tonic::{Request, Response, Status};

use super::Api;

#[tonic::async_trait]
impl HostService for Api {
    async fn get_host(&self, _: Request<wire::GetHostRequest>) -> Result<Response<wire::Host>, Status> {
        let host = self.engine.host().await;
        Ok(Response::new(wire::Host {
            agent_id: self.engine.agent_id().to_string(),
            hostname: host.hostname,
            agent_version: host.agent_version,
            kernel_version: host.kernel_version,
            architecture: host.architecture,
            cpus: host.cpus,
            memory_bytes: host.memory_bytes,
            prefix: host.prefix,
            data_dir: host.data_dir,
            cgroup_version: host.cgroup_version,
        }))
    }

    async fn check(&self, _: Request<wire::CheckRequest>) -> Result<Response<wire::CheckResponse>, Status> {
        let items = self.engine.check().await.into_iter().map(item).collect();
        Ok(Response::new(wire::CheckResponse { items }))
    }
}

fn item(item: CheckItem) -> wire::CheckItem {
    let outcome = match item.outcome {
        Outcome::Ok => wire::check_item::Outcome::Ok,
        Outcome::Limited => wire::check_item::Outcome::Limited,
        Outcome::Missing => wire::check_item::Outcome::Missing,
    };
    wire::CheckItem { name: item.name, outcome: outcome.into(), found: item.found, fix: item.fix }
}
