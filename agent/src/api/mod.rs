//! The agent's API over gRPC: conversion, status mapping, one file a resource. A handler validates, asks the engine,
//! and converts back; it never touches the host.

mod archives;
mod convert;
mod events;
mod exec;
mod files;
mod host;
mod images;
mod instances;
mod logs;
mod networks;
mod remotes;
mod spool;
mod status;
mod stream;
mod volumes;
mod wait;

use berth_engine::Engine;
use berth_proto::agent::event_service_server::EventServiceServer;
use berth_proto::agent::host_service_server::HostServiceServer;
use berth_proto::agent::image_service_server::ImageServiceServer;
use berth_proto::agent::instance_service_server::InstanceServiceServer;
use berth_proto::agent::network_service_server::NetworkServiceServer;
use berth_proto::agent::remote_service_server::RemoteServiceServer;
use berth_proto::agent::volume_service_server::VolumeServiceServer;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

pub use status::{MAX_DETAIL, bounded_detail};

/// The largest request taken. A spec is small; this leaves room for many long arguments.
pub const MAX_REQUEST: usize = 8 * 1024 * 1024;
/// The largest answer given: a list of many instances.
pub const MAX_RESPONSE: usize = 64 * 1024 * 1024;

/// What every service has.
#[derive(Clone)]
pub(crate) struct Api {
    engine: Engine,
    /// Cancelled when the agent is asked to stop: streams without an end of their own end then.
    closing: CancellationToken,
}

/// All services of an engine.
pub fn routes(engine: Engine, closing: CancellationToken) -> Routes {
    let api = Api { engine, closing };
    macro_rules! bounded {
        ($server:ident) => {
            $server::new(api.clone())
                .max_decoding_message_size(MAX_REQUEST)
                .max_encoding_message_size(MAX_RESPONSE)
        };
    }
    Routes::new(bounded!(HostServiceServer))
        .add_service(bounded!(RemoteServiceServer))
        .add_service(bounded!(ImageServiceServer))
        .add_service(bounded!(InstanceServiceServer))
        .add_service(bounded!(NetworkServiceServer))
        .add_service(bounded!(VolumeServiceServer))
        .add_service(bounded!(EventServiceServer))
        .prepare()
}
