//! The agent over gRPC.

use std::fs::File;
use std::sync::Arc;

use async_trait::async_trait;
use berth_proto::agent as wire;
use tonic::transport::Channel;
use tonic::{Response, Status, Streaming};
use wire::host_service_client::HostServiceClient;
use wire::image_service_client::ImageServiceClient;
use wire::instance_service_client::InstanceServiceClient;
use wire::remote_service_client::RemoteServiceClient;

use super::{Agent, AgentError, Answer, By, Ran, upload};

/// Answers may be long: an instance's spec with a large environment, a list of many.
pub(super) const MAX_MESSAGE: usize = 64 << 20;

/// One host's agent, over a channel that is dialled once.
#[derive(Debug, Clone)]
pub struct GrpcAgent {
    host: String,
    channel: Channel,
}

impl GrpcAgent {
    /// `host` is what errors call it.
    pub fn new(host: String, channel: Channel) -> Self {
        Self { host, channel }
    }

    /// The bare call, for the dialler, which tells a transport's error from an agent's.
    pub(super) async fn first_call(&self) -> Result<wire::Host, Status> {
        let mut client = HostServiceClient::new(self.channel.clone());
        client.get_host(wire::GetHostRequest {}).await.map(Response::into_inner)
    }

    pub(super) fn remotes(&self) -> RemoteServiceClient<Channel> {
        RemoteServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE)
    }

    pub(super) fn images(&self) -> ImageServiceClient<Channel> {
        ImageServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE)
    }

    pub(super) fn instances(&self) -> InstanceServiceClient<Channel> {
        InstanceServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE)
    }

    pub(super) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub(super) fn answer<T>(&self, call: &'static str, answer: Result<Response<T>, Status>) -> Answer<T> {
        answer.map(Response::into_inner).map_err(|status| self.failed(call, status))
    }

    /// What [`AgentError`] makes of a status.
    pub fn failed(&self, call: &'static str, status: Status) -> AgentError {
        AgentError::from_status(&self.host, call, status)
    }

    pub(super) fn cut(&self, call: &'static str) -> AgentError {
        AgentError::Cut { host: self.host.clone(), call }
    }

    /// Follows a pull to its end, which holds the pin.
    async fn until_pinned(
        &self,
        call: &'static str,
        mut events: Streaming<wire::PullImageEvent>,
    ) -> Answer<wire::Pin> {
        let mut last = None;
        while let Some(event) = events.message().await.map_err(|status| self.failed(call, status))? {
            match event.event {
                Some(wire::pull_image_event::Event::Progress(progress)) => tracing::debug!(
                    phase = ?progress.phase(),
                    done = progress.bytes_done,
                    total = progress.bytes_total,
                    "pulling"
                ),
                Some(wire::pull_image_event::Event::Pin(pin)) => last = Some(pin),
                None => {}
            }
        }
        last.ok_or_else(|| self.cut(call))
    }

    /// Follows an instance's events to their end; the last one holds the instance.
    async fn follow(
        &self,
        call: &'static str,
        answer: Result<Response<Streaming<wire::InstanceEvent>>, Status>,
    ) -> Answer<Option<wire::Instance>> {
        let mut events = self.answer(call, answer)?;
        let mut last = None;
        while let Some(event) = events.message().await.map_err(|status| self.failed(call, status))? {
            match event.event {
                Some(wire::instance_event::Event::Progress(line)) => tracing::info!(%line, "progress"),
                Some(wire::instance_event::Event::Instance(instance)) => last = Some(Some(instance)),
                None => last = Some(None),
            }
        }
        last.ok_or_else(|| self.cut(call))
    }
}

#[async_trait]
impl Agent for GrpcAgent {
    async fn host(&self) -> Answer<wire::Host> {
        self.first_call().await.map_err(|status| self.failed("Reading the host", status))
    }

    async fn create_remote(&self, spec: wire::RemoteSpec) -> Answer<wire::Remote> {
        let request = wire::CreateRemoteRequest { spec: Some(spec) };
        self.answer("Creating the remote", self.remotes().create_remote(request).await)
    }

    async fn remote(&self, by: By) -> Answer<wire::Remote> {
        let by = match by {
            By::Id(id) => wire::get_remote_request::By::Id(id),
            By::Name(name) => wire::get_remote_request::By::Name(name),
        };
        let request = wire::GetRemoteRequest { by: Some(by) };
        self.answer("Reading the remote", self.remotes().get_remote(request).await)
    }

    async fn update_remote(&self, request: wire::UpdateRemoteRequest) -> Answer<wire::Remote> {
        self.answer("Updating the remote", self.remotes().update_remote(request).await)
    }

    async fn delete_remote(&self, id: String) -> Answer<()> {
        let request = wire::DeleteRemoteRequest { id };
        self.answer("Deleting the remote", self.remotes().delete_remote(request).await).map(|_| ())
    }

    async fn resolve_image(&self, request: wire::ResolveImageRequest) -> Answer<wire::ResolvedImage> {
        self.answer("Resolving the image", self.images().resolve_image(request).await)
    }

    async fn list_tags(&self, repository: String) -> Answer<Vec<String>> {
        let request = wire::ListTagsRequest { repository };
        self.answer("Listing the tags", self.images().list_tags(request).await).map(|answer| answer.tags)
    }

    async fn list_repositories(&self, remote: String) -> Answer<Vec<String>> {
        let request = wire::ListRepositoriesRequest { remote };
        let answer = self.answer("Listing the repositories", self.images().list_repositories(request).await);
        answer.map(|answer| answer.repositories)
    }

    async fn pull_image(&self, request: wire::PullImageRequest) -> Answer<wire::Pin> {
        let call = "Pulling the image";
        let events = self.answer(call, self.images().pull_image(request).await)?;
        self.until_pinned(call, events).await
    }

    async fn import_image(&self, header: wire::ImportImageHeader, archive: File) -> Answer<wire::Pin> {
        let call = "Importing the image";
        let (requests, sent) = upload::requests(header, archive);
        // Where the file cannot be read to its end the call is dropped: the agent must not take a part for the whole.
        let events = tokio::select! {
            biased;
            Err(error) = sent => return Err(AgentError::Upload { source: Arc::new(error) }),
            events = async { self.images().import_image(requests).await } => self.answer(call, events)?,
        };
        self.until_pinned(call, events).await
    }

    async fn pin(&self, id: String) -> Answer<wire::Pin> {
        let by = Some(wire::get_pin_request::By::Id(id));
        let request = wire::GetPinRequest { by, platform: String::new() };
        self.answer("Reading the image", self.images().get_pin(request).await)
    }

    async fn pin_of(&self, reference: String, platform: String) -> Answer<wire::Pin> {
        let by = Some(wire::get_pin_request::By::Reference(reference));
        self.answer("Reading the image", self.images().get_pin(wire::GetPinRequest { by, platform }).await)
    }

    async fn delete_pin(&self, id: String) -> Answer<()> {
        let request = wire::DeletePinRequest { id };
        self.answer("Deleting the image", self.images().delete_pin(request).await).map(|_| ())
    }

    async fn create_instance(&self, spec: wire::InstanceSpec) -> Answer<wire::Instance> {
        let call = "Creating the instance";
        let request = wire::CreateInstanceRequest { spec: Some(spec) };
        let answer = self.instances().create_instance(request).await;
        self.follow(call, answer).await?.ok_or_else(|| self.cut(call))
    }

    async fn instance(&self, by: By) -> Answer<wire::Instance> {
        let by = match by {
            By::Id(id) => wire::get_instance_request::By::Id(id),
            By::Name(name) => wire::get_instance_request::By::Name(name),
        };
        let request = wire::GetInstanceRequest { by: Some(by) };
        self.answer("Reading the instance", self.instances().get_instance(request).await)
    }

    async fn update_instance(&self, id: String, spec: wire::InstanceSpec) -> Answer<wire::Instance> {
        let call = "Updating the instance";
        let request = wire::UpdateInstanceRequest { id, spec: Some(spec) };
        let answer = self.instances().update_instance(request).await;
        self.follow(call, answer).await?.ok_or_else(|| self.cut(call))
    }

    async fn logs(&self, request: wire::GetLogsRequest) -> Answer<Vec<wire::LogEntry>> {
        self.log(request).await
    }

    async fn run(&self, start: wire::ExecStart) -> Answer<Ran> {
        self.run(start).await
    }

    async fn wait_instance(&self, request: wire::WaitInstanceRequest) -> Answer<wire::Instance> {
        let call = "Waiting for the instance";
        let answer = self.instances().wait_instance(request).await;
        self.follow(call, answer).await?.ok_or_else(|| self.cut(call))
    }

    async fn delete_instance(&self, id: String) -> Answer<()> {
        let request = wire::DeleteInstanceRequest { id, force: false };
        let answer = self.instances().delete_instance(request).await;
        self.follow("Deleting the instance", answer).await.map(|_| ())
    }

    async fn create_volume(&self, spec: wire::VolumeSpec) -> Answer<wire::Volume> {
        self.volume_made(spec).await
    }

    async fn volume(&self, by: By) -> Answer<wire::Volume> {
        self.volume_found(by).await
    }

    async fn update_volume(&self, request: wire::UpdateVolumeRequest) -> Answer<wire::Volume> {
        self.volume_changed(request).await
    }

    async fn delete_volume(&self, id: String) -> Answer<()> {
        self.volume_deleted(id).await
    }

    async fn create_network(&self, spec: wire::NetworkSpec) -> Answer<wire::Network> {
        self.network_made(spec).await
    }

    async fn network(&self, by: By) -> Answer<wire::Network> {
        self.network_found(by).await
    }

    async fn update_network(&self, request: wire::UpdateNetworkRequest) -> Answer<wire::Network> {
        self.network_changed(request).await
    }

    async fn delete_network(&self, id: String) -> Answer<()> {
        self.network_deleted(id).await
    }
}
