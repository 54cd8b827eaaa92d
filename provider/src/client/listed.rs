//! What there is on a host: listed once, at the first read, and looked up in the list until the first change.
//!
//! ```text
//! unasked --first read--> listed --first change--> asked one by one
//! ```
//!
//! A plan reads all resources of a host: one call for all of them, and not one for each. What is not in the list is asked for
//! by itself, so that the agent says what it has to say of it. A list is kept as it came, and each thing is decoded when it is
//! looked up: decoded, a thousand instances take several times as much memory.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use berth_proto::agent as wire;
use bytes::Bytes;
use prost::Message;
use tokio::sync::OnceCell;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use super::grpc::{GrpcAgent, MAX_MESSAGE};
use super::hosts::Connection;
use super::{AgentError, Answer, By};

/// A kind of things that an agent lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `berth_remote`.
    Remotes,
    /// `berth_image`.
    Pins,
    /// `berth_instance`.
    Instances,
    /// `berth_network`.
    Networks,
    /// `berth_volume`.
    Volumes,
}

impl Kind {
    /// What errors call the list, and its method.
    fn call(self) -> (&'static str, &'static str) {
        match self {
            Self::Remotes => ("Listing the remotes", "/berth.agent.v1.RemoteService/ListRemotes"),
            Self::Pins => ("Listing the images", "/berth.agent.v1.ImageService/ListPins"),
            Self::Instances => ("Listing the instances", "/berth.agent.v1.InstanceService/ListInstances"),
            Self::Networks => ("Listing the networks", "/berth.agent.v1.NetworkService/ListNetworks"),
            Self::Volumes => ("Listing the volumes", "/berth.agent.v1.VolumeService/ListVolumes"),
        }
    }
}

/// An answer of any of these methods, whose one field is the list: what a message is to be can be read as the bytes it is.
#[derive(Clone, PartialEq, Message)]
struct Things {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    things: Vec<Bytes>,
}

/// The one field that all things have.
#[derive(Clone, PartialEq, Message)]
struct Named {
    #[prost(string, tag = "1")]
    id: String,
}

/// Things by their ids, encoded.
type List = OnceCell<HashMap<String, Bytes>>;

/// The lists of one host.
#[derive(Default)]
pub struct Listed {
    changed: AtomicBool,
    remotes: List,
    pins: List,
    instances: List,
    networks: List,
    volumes: List,
}

impl Listed {
    fn of(&self, kind: Kind) -> &List {
        match kind {
            Kind::Remotes => &self.remotes,
            Kind::Pins => &self.pins,
            Kind::Instances => &self.instances,
            Kind::Networks => &self.networks,
            Kind::Volumes => &self.volumes,
        }
    }

    /// The thing of this id in a list; none also where there is no list.
    async fn find<T: Message + Default>(
        &self,
        kind: Kind,
        id: &str,
        ask: impl Future<Output = Answer<Vec<Bytes>>>,
    ) -> Option<T> {
        if self.changed.load(Ordering::Acquire) {
            return None;
        }
        let by_id = async {
            let named = |thing: Bytes| Named::decode(thing.clone()).ok().map(|named| (named.id, thing));
            Ok::<_, AgentError>(ask.await?.into_iter().filter_map(named).collect::<HashMap<_, _>>())
        };
        // What stands against a list stands against the question by itself, too, or is of no account.
        let found = self.of(kind).get_or_try_init(|| by_id).await.ok()?.get(id).cloned()?;
        let found = T::decode(found).ok();
        found.filter(|_| !self.changed.load(Ordering::Acquire))
    }
}

impl GrpcAgent {
    /// All things of a kind, in one buffer that they share.
    pub(super) async fn list(&self, kind: Kind) -> Answer<Vec<Bytes>> {
        let (call, method) = kind.call();
        let mut client = Grpc::new(self.channel()).max_decoding_message_size(MAX_MESSAGE);
        let ready = client.ready().await.map_err(|error| Status::from_error(error.into()));
        ready.map_err(|status| self.failed(call, status))?;
        let codec = ProstCodec::<(), Things>::default();
        let answer = client.unary(Request::new(()), PathAndQuery::from_static(method), codec).await;
        self.answer(call, answer).map(|answer| answer.things)
    }
}

impl Connection {
    /// For a change of anything on the host: the lists are of no use from here on.
    pub fn changes(&self) {
        self.listed.changed.store(true, Ordering::Release);
    }

    async fn find<T: Message + Default>(&self, kind: Kind, id: &str) -> Option<T> {
        self.listed.find(kind, id, self.agent.listed(kind)).await
    }

    /// Reads a remote.
    pub async fn remote(&self, id: String) -> Answer<wire::Remote> {
        match self.find(Kind::Remotes, &id).await {
            Some(found) => Ok(found),
            None => self.agent.remote(By::Id(id)).await,
        }
    }

    /// Reads a pin.
    pub async fn pin(&self, id: String) -> Answer<wire::Pin> {
        match self.find(Kind::Pins, &id).await {
            Some(found) => Ok(found),
            None => self.agent.pin(id).await,
        }
    }

    /// Reads an instance.
    pub async fn instance(&self, id: String) -> Answer<wire::Instance> {
        match self.find(Kind::Instances, &id).await {
            Some(found) => Ok(found),
            None => self.agent.instance(By::Id(id)).await,
        }
    }

    /// Reads a network.
    pub async fn network(&self, id: String) -> Answer<wire::Network> {
        match self.find(Kind::Networks, &id).await {
            Some(found) => Ok(found),
            None => self.agent.network(By::Id(id)).await,
        }
    }

    /// Reads a volume.
    pub async fn volume(&self, id: String) -> Answer<wire::Volume> {
        match self.find(Kind::Volumes, &id).await {
            Some(found) => Ok(found),
            None => self.agent.volume(By::Id(id)).await,
        }
    }
}
