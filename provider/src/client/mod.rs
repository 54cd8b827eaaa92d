//! The agent as the provider sees it: a trait of plain calls, and the gRPC that stands behind it.
//!
//! Wire messages are the vocabulary; each resource's `model.rs` turns them into its own types.

use std::fs::File;

use async_trait::async_trait;
use berth_proto::agent as wire;

pub mod address;
pub mod dial;
pub mod error;
pub mod grpc;
pub mod hosts;
mod instances;
pub mod listed;
mod networks;
pub mod operations;
pub mod tls;
mod upload;
mod volumes;

pub use error::AgentError;
pub use instances::Ran;
pub use operations::Operations;

/// What an agent answers.
pub type Answer<T> = Result<T, AgentError>;

/// How a thing is named in a look-up: by id always, by name for an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// The id the agent made.
    Id(String),
    /// The name a user gave.
    Name(String),
}

/// One host's agent.
#[async_trait]
pub trait Agent: Send + Sync {
    /// What the host is.
    async fn host(&self) -> Answer<wire::Host>;

    /// Makes a remote.
    async fn create_remote(&self, spec: wire::RemoteSpec) -> Answer<wire::Remote>;
    /// Looks a remote up.
    async fn remote(&self, by: By) -> Answer<wire::Remote>;
    /// Changes a remote.
    async fn update_remote(&self, request: wire::UpdateRemoteRequest) -> Answer<wire::Remote>;
    /// Removes a remote.
    async fn delete_remote(&self, id: String) -> Answer<()>;

    /// Asks the registry what a reference means now.
    async fn resolve_image(&self, request: wire::ResolveImageRequest) -> Answer<wire::ResolvedImage>;
    /// The tags of a repository.
    async fn list_tags(&self, repository: String) -> Answer<Vec<String>>;
    /// The repositories of a remote or a registry.
    async fn list_repositories(&self, remote: String) -> Answer<Vec<String>>;
    /// Pulls and pins an image.
    async fn pull_image(&self, request: wire::PullImageRequest) -> Answer<wire::Pin>;
    /// Sends an archive, and pins the image in it.
    async fn import_image(&self, header: wire::ImportImageHeader, archive: File) -> Answer<wire::Pin>;
    /// Looks a pin up by its id.
    async fn pin(&self, id: String) -> Answer<wire::Pin>;
    /// Looks a pin up by what it pins.
    async fn pin_of(&self, reference: String, platform: String) -> Answer<wire::Pin>;
    /// Removes a pin.
    async fn delete_pin(&self, id: String) -> Answer<()>;

    /// Makes an instance and brings it up.
    async fn create_instance(&self, spec: wire::InstanceSpec) -> Answer<wire::Instance>;
    /// Looks an instance up.
    async fn instance(&self, by: By) -> Answer<wire::Instance>;
    /// Replaces an instance's spec.
    async fn update_instance(&self, id: String, spec: wire::InstanceSpec) -> Answer<wire::Instance>;
    /// Lines of an instance's log.
    async fn logs(&self, request: wire::GetLogsRequest) -> Answer<Vec<wire::LogEntry>>;
    /// Runs a command inside a running instance.
    async fn run(&self, start: wire::ExecStart) -> Answer<Ran>;
    /// Waits until an instance is as it is needed.
    async fn wait_instance(&self, request: wire::WaitInstanceRequest) -> Answer<wire::Instance>;
    /// Stops and removes an instance.
    async fn delete_instance(&self, id: String) -> Answer<()>;

    /// Makes a volume.
    async fn create_volume(&self, spec: wire::VolumeSpec) -> Answer<wire::Volume>;
    /// Looks a volume up.
    async fn volume(&self, by: By) -> Answer<wire::Volume>;
    /// Changes a volume.
    async fn update_volume(&self, request: wire::UpdateVolumeRequest) -> Answer<wire::Volume>;
    /// Removes a volume that nothing uses.
    async fn delete_volume(&self, id: String) -> Answer<()>;

    /// Makes a network.
    async fn create_network(&self, spec: wire::NetworkSpec) -> Answer<wire::Network>;
    /// Looks a network up.
    async fn network(&self, by: By) -> Answer<wire::Network>;
    /// Changes a network.
    async fn update_network(&self, request: wire::UpdateNetworkRequest) -> Answer<wire::Network>;
    /// Removes a network that nothing is on.
    async fn delete_network(&self, id: String) -> Answer<()>;
}
