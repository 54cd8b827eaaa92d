//! What an agent does beside making and removing: lists, restarts, commands, and pulls that are watched.

use async_trait::async_trait;
use berth_proto::agent as wire;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use wire::exec_request::Message as Out;
use wire::exec_response::Message as In;

use super::grpc::GrpcAgent;
use super::listed::Kind;
use super::{Agent, Answer};

/// What a command says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// On its standard output.
    Stdout(Vec<u8>),
    /// On its standard error.
    Stderr(Vec<u8>),
}

/// One host's agent, and what it can do beside [`Agent`]. What is told goes to a channel, whose end stops nothing.
#[async_trait]
pub trait Operations: Send + Sync {
    /// All remotes.
    async fn remotes(&self) -> Answer<Vec<wire::Remote>>;
    /// All pins.
    async fn pins(&self) -> Answer<Vec<wire::Pin>>;
    /// All instances.
    async fn instances(&self) -> Answer<Vec<wire::Instance>>;
    /// All volumes.
    async fn volumes(&self) -> Answer<Vec<wire::Volume>>;
    /// All networks.
    async fn networks(&self) -> Answer<Vec<wire::Network>>;
    /// All things of a kind, each as it came.
    async fn listed(&self, kind: Kind) -> Answer<Vec<Bytes>>;
    /// Restarts an instance, and tells how far it is.
    async fn restart_instance(&self, id: String, force: bool, told: mpsc::Sender<String>) -> Answer<()>;
    /// Runs a command in an instance, and passes on what it says. Gives its exit code.
    async fn exec(&self, start: wire::ExecStart, said: mpsc::Sender<Said>) -> Answer<i32>;
    /// Pulls and pins an image, and tells how far it is.
    async fn watch_pull(
        &self,
        request: wire::PullImageRequest,
        told: mpsc::Sender<wire::PullProgress>,
    ) -> Answer<wire::Pin>;
    /// Lets go of the images that nothing uses, or says which they are.
    async fn prune_images(&self, dry_run: bool) -> Answer<wire::PruneImagesResponse>;
}

#[async_trait]
impl Operations for GrpcAgent {
    async fn remotes(&self) -> Answer<Vec<wire::Remote>> {
        let answer = self.remotes().list_remotes(wire::ListRemotesRequest {}).await;
        self.answer("Listing the remotes", answer).map(|answer| answer.remotes)
    }

    async fn pins(&self) -> Answer<Vec<wire::Pin>> {
        let answer = self.images().list_pins(wire::ListPinsRequest {}).await;
        self.answer("Listing the images", answer).map(|answer| answer.pins)
    }

    async fn instances(&self) -> Answer<Vec<wire::Instance>> {
        let answer = self.instances().list_instances(wire::ListInstancesRequest {}).await;
        self.answer("Listing the instances", answer).map(|answer| answer.instances)
    }

    async fn networks(&self) -> Answer<Vec<wire::Network>> {
        let answer = self.networks().list_networks(wire::ListNetworksRequest {}).await;
        self.answer("Listing the networks", answer).map(|answer| answer.networks)
    }

    async fn volumes(&self) -> Answer<Vec<wire::Volume>> {
        let answer = self.volumes().list_volumes(wire::ListVolumesRequest {}).await;
        self.answer("Listing the volumes", answer).map(|answer| answer.volumes)
    }

    async fn listed(&self, kind: Kind) -> Answer<Vec<Bytes>> {
        self.list(kind).await
    }

    async fn restart_instance(&self, id: String, force: bool, told: mpsc::Sender<String>) -> Answer<()> {
        let call = "Restarting the instance";
        let request = wire::RestartInstanceRequest { id, force };
        let answer = self.instances().restart_instance(request).await;
        let mut events = self.answer(call, answer)?;
        while let Some(event) = events.message().await.map_err(|status| self.failed(call, status))? {
            match event.event {
                // Nobody listens any more: the restart goes on all the same.
                Some(wire::instance_event::Event::Progress(line)) => drop(told.send(line).await),
                Some(wire::instance_event::Event::Instance(_)) => return Ok(()),
                None => {}
            }
        }
        Err(self.cut(call))
    }

    async fn exec(&self, start: wire::ExecStart, said: mpsc::Sender<Said>) -> Answer<i32> {
        let call = "Running the command";
        // Held open to the end: its end would end the command.
        let (requests, receiver) = mpsc::channel(1);
        let first = wire::ExecRequest { message: Some(Out::Start(start)) };
        // There is room for it.
        let _ = requests.try_send(first);
        let answer = self.instances().exec(ReceiverStream::new(receiver)).await;
        let mut answers = self.answer(call, answer)?;
        while let Some(answer) = answers.message().await.map_err(|status| self.failed(call, status))? {
            let heard = match answer.message {
                Some(In::Stdout(data)) => Said::Stdout(data.into()),
                Some(In::Stderr(data)) => Said::Stderr(data.into()),
                Some(In::ExitCode(code)) => return Ok(code),
                None => continue,
            };
            // Nobody listens any more: the command goes on all the same.
            let _ = said.send(heard).await;
        }
        Err(self.cut(call))
    }

    async fn watch_pull(
        &self,
        request: wire::PullImageRequest,
        told: mpsc::Sender<wire::PullProgress>,
    ) -> Answer<wire::Pin> {
        let call = "Pulling the image";
        let mut events = self.answer(call, self.images().pull_image(request).await)?;
        while let Some(event) = events.message().await.map_err(|status| self.failed(call, status))? {
            match event.event {
                // Nobody listens any more: the pull goes on all the same.
                Some(wire::pull_image_event::Event::Progress(progress)) => drop(told.send(progress).await),
                Some(wire::pull_image_event::Event::Pin(pin)) => return Ok(pin),
                None => {}
            }
        }
        Err(self.cut(call))
    }

    async fn prune_images(&self, dry_run: bool) -> Answer<wire::PruneImagesResponse> {
        let answer = self.images().prune_images(wire::PruneImagesRequest { dry_run }).await;
        self.answer("Pruning the images", answer)
    }
}

/// All that an agent can do.
pub trait Whole: Agent + Operations {}
impl<T: Agent + Operations> Whole for T {}
