//! The services that go-plugin wants beside the provider.

use std::pin::Pin;

use berth_proto::{
    health::{self, HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus},
    plugin,
};
use tokio::sync::watch;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming, async_trait};

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Says that the plugin is to end.
pub(super) struct Controller(pub watch::Sender<bool>);

#[async_trait]
impl plugin::grpc_controller_server::GrpcController for Controller {
    async fn shutdown(&self, _: Request<plugin::Empty>) -> Result<Response<plugin::Empty>, Status> {
        self.0.send_replace(true);
        Ok(Response::new(plugin::Empty {}))
    }
}

/// Streams beside the main connection: none is ever opened from this side.
pub(super) struct Broker;

#[async_trait]
impl plugin::grpc_broker_server::GrpcBroker for Broker {
    type StartStreamStream = Answers<plugin::ConnInfo>;

    async fn start_stream(
        &self,
        request: Request<Streaming<plugin::ConnInfo>>,
    ) -> Result<Response<Self::StartStreamStream>, Status> {
        // What it tells of is not for us, but it is read, so that the stream ends when the client ends it.
        let told = request.into_inner().filter_map(|told| told.err().map(Err));
        Ok(Response::new(Box::pin(told)))
    }
}

/// What the plugin prints: nothing, but for its log on standard error, which Terraform reads from there.
///
/// Its stream ends with the plugin, so that it keeps no connection open.
pub(super) struct Stdio(pub watch::Receiver<bool>);

#[async_trait]
impl plugin::grpc_stdio_server::GrpcStdio for Stdio {
    type StreamStdioStream = Answers<plugin::StdioData>;

    async fn stream_stdio(&self, _: Request<()>) -> Result<Response<Self::StreamStdioStream>, Status> {
        let mut ended = self.0.clone();
        let end = async move {
            // An error says that the controller is gone, and the server with it.
            let _ = ended.wait_for(|ended| *ended).await;
            None
        };
        Ok(Response::new(Box::pin(futures::stream::once(end).filter_map(|nothing| nothing))))
    }
}

/// Whether the plugin is up.
pub(super) struct Health;

#[async_trait]
impl health::health_server::Health for Health {
    type WatchStream = Answers<HealthCheckResponse>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match request.into_inner().service.as_str() {
            "" | "plugin" => Ok(Response::new(serving())),
            other => Err(Status::not_found(format!("no service {other}"))),
        }
    }

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Ok(Response::new(Box::pin(tokio_stream::once(Ok(serving())).chain(tokio_stream::pending()))))
    }
}

fn serving() -> HealthCheckResponse {
    HealthCheckResponse { status: ServingStatus::Serving.into() }
}
