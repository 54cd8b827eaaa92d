//! A fake agent: the real gRPC server of the agent's API over state in memory, with knobs to break it.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use berth_proto::agent as wire;
use prost::Message;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Code, Status};

mod images;
mod instances;
mod networks;
mod remotes;
mod volumes;

/// What the fake agent remembers.
#[derive(Default)]
pub struct State {
    pub agent_id: String,
    /// As an image's platform has it.
    pub architecture: String,
    pub remotes: BTreeMap<String, wire::Remote>,
    pub passwords: HashMap<String, String>,
    pub pins: BTreeMap<String, wire::Pin>,
    pub instances: BTreeMap<String, wire::Instance>,
    pub volumes: BTreeMap<String, wire::Volume>,
    pub networks: BTreeMap<String, wire::Network>,
    /// What the registry's tags point at: reference to index and image digest.
    pub tags: BTreeMap<String, (String, String)>,
    pub registry_down: bool,
    /// The next call of this name fails like this.
    pub fail_next: HashMap<String, wire::ErrorDetail>,
    /// So many calls of a name do their work, then the stream ends without a result.
    pub cuts: HashMap<&'static str, usize>,
    /// The next call that creates an instance never gets there.
    pub lose_create: bool,
    /// The next call of this name does its work and never answers; it says so when it has done it.
    pub hang_next: Option<(String, std::sync::mpsc::Sender<()>)>,
    /// The next instance ends at once with this code.
    pub exit_next: Option<i32>,
    /// Names of all calls, in order.
    pub calls: Vec<String>,
    next_address: u8,
}

impl State {
    pub fn instance(&self, name: &str) -> &wire::Instance {
        self.instances.values().find(|it| it.spec.as_ref().unwrap().name == name).expect("the instance")
    }

    pub fn instance_mut(&mut self, name: &str) -> &mut wire::Instance {
        self.instances.values_mut().find(|it| it.spec.as_ref().unwrap().name == name).expect("the instance")
    }

    pub fn remove_instance(&mut self, name: &str) {
        self.instances.retain(|_, it| it.spec.as_ref().unwrap().name != name);
    }

    pub fn count(&self, call: &str) -> usize {
        self.calls.iter().filter(|made| *made == call).count()
    }

    /// Notes a call, and fails it if that was asked for.
    fn enter(&mut self, call: &str) -> Result<(), Status> {
        self.calls.push(call.to_owned());
        match self.fail_next.remove(call) {
            Some(detail) => Err(refuse(Code::FailedPrecondition, detail)),
            None => Ok(()),
        }
    }
}

/// The fake's services, all on one state.
#[derive(Clone)]
pub struct Services(pub Arc<Mutex<State>>);

impl Services {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

pub fn refuse(code: Code, detail: wire::ErrorDetail) -> Status {
    Status::with_details(code, detail.summary.clone(), detail.encode_to_vec().into())
}

pub fn detail(
    reason: wire::error_detail::Reason,
    summary: &str,
    text: &str,
    path: &[&str],
) -> wire::ErrorDetail {
    wire::ErrorDetail {
        reason: reason.into(),
        summary: summary.to_owned(),
        detail: text.to_owned(),
        attribute: path.iter().map(|part| (*part).to_owned()).collect(),
        ..wire::ErrorDetail::default()
    }
}

fn not_found(what: &str) -> Status {
    let reason = wire::error_detail::Reason::NotFound;
    refuse(Code::NotFound, detail(reason, &format!("There is no {what}"), "It was removed.", &[]))
}

/// A digest of this content, for tests: the text's own hex, padded.
pub fn digest(text: &str) -> String {
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex:0<64}")
}

/// A running fake agent; it ends when dropped.
pub struct FakeAgent {
    pub state: Arc<Mutex<State>>,
    pub dir: tempfile::TempDir,
    pub runtime: tokio::runtime::Runtime,
    server: Option<tokio::task::JoinHandle<()>>,
}

impl FakeAgent {
    pub fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("berth-fake-").tempdir().unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (agent_id, architecture) = (uuid::Uuid::new_v4().to_string(), "amd64".to_owned());
        let state = State { agent_id, architecture, ..State::default() };
        let mut agent = Self { state: Arc::new(Mutex::new(state)), dir, runtime, server: None };
        agent.listen();
        agent
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("agent.sock")
    }

    pub fn address(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Serves on the socket, again after [`Self::go_down`].
    pub fn listen(&mut self) {
        let socket = self.socket();
        self.server = Some(self.serve_at(&socket));
    }

    pub fn serve_at(&self, socket: &Path) -> tokio::task::JoinHandle<()> {
        let _guard = self.runtime.enter();
        let listener = tokio::net::UnixListener::bind(socket).unwrap();
        let services = Services(Arc::clone(&self.state));
        self.runtime.spawn(async move {
            router(services).serve_with_incoming(UnixListenerStream::new(listener)).await.unwrap();
        })
    }

    /// Stops answering; the state stays.
    pub fn go_down(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
            let _ = self.runtime.block_on(server);
        }
        std::fs::remove_file(self.socket()).unwrap();
    }
}

/// All services of the fake.
pub fn router(services: Services) -> tonic::transport::server::Router {
    tonic::transport::Server::builder()
        .add_service(wire::host_service_server::HostServiceServer::new(services.clone()))
        .add_service(wire::remote_service_server::RemoteServiceServer::new(services.clone()))
        .add_service(wire::image_service_server::ImageServiceServer::new(services.clone()))
        .add_service(wire::instance_service_server::InstanceServiceServer::new(services.clone()))
        .add_service(wire::network_service_server::NetworkServiceServer::new(services.clone()))
        .add_service(wire::volume_service_server::VolumeServiceServer::new(services))
}

#[tonic::async_trait]
impl wire::host_service_server::HostService for Services {
    async fn get_host(
        &self,
        _: tonic::Request<wire::GetHostRequest>,
    ) -> Result<tonic::Response<wire::Host>, Status> {
        let mut state = self.state();
        state.enter("GetHost")?;
        Ok(tonic::Response::new(wire::Host {
            agent_id: state.agent_id.clone(),
            hostname: "fake".to_owned(),
            agent_version: "0.1.0".to_owned(),
            kernel_version: "6.18.0".to_owned(),
            architecture: state.architecture.clone(),
            cpus: 4,
            memory_bytes: 8 << 30,
            prefix: "abcd".to_owned(),
            data_dir: "/var/lib/berth".to_owned(),
            cgroup_version: "2".to_owned(),
        }))
    }

    async fn check(
        &self,
        _: tonic::Request<wire::CheckRequest>,
    ) -> Result<tonic::Response<wire::CheckResponse>, Status> {
        Err(Status::unimplemented("check"))
    }
}
