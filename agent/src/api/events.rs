//! What happens, to whoever watches.

use berth_engine::Event;
use berth_proto::agent as wire;
use berth_proto::agent::event_service_server::EventService;
use futures::StreamExt;
use futures::future::ready;
use tokio_stream::wrappers::BroadcastStream;
use tonic::{Request, Response, Status};

use super::Api;
use super::convert::rfc3339;
use super::stream::Answers;

#[tonic::async_trait]
impl EventService for Api {
    type WatchEventsStream = Answers<wire::Event>;

    async fn watch_events(
        &self,
        _: Request<wire::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        // A watcher that read too slowly goes on with what is still kept.
        let events = BroadcastStream::new(self.engine.events()).filter_map(|event| ready(event.ok()));
        let events = events.map(|event| Ok(show(event)));
        Ok(Response::new(Box::pin(events.take_until(self.closing.clone().cancelled_owned()))))
    }
}

fn show(event: Event) -> wire::Event {
    wire::Event {
        time: rfc3339(event.time),
        kind: event.subject.as_str().to_owned(),
        id: event.id,
        name: event.name,
        action: event.action.as_str().to_owned(),
        message: event.message,
    }
}
