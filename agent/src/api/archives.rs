//! Archives: received whole before they are looked into, given out piece by piece.

use berth_engine::engine::{ImportQuery, PinTarget};
use berth_engine::ports::images::{ImageError, Scratch};
use berth_engine::{Engine, EngineError, Progress, Reporter};
use berth_proto::agent as wire;
use berth_proto::agent::import_image_request::Part;
use berth_proto::agent::pull_image_event::Event;
use futures::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::convert::{id, image, platform};
use super::spool::{SpoolError, spool};
use super::status;
use super::stream::{Answers, follow};

pub(super) async fn import(
    engine: &Engine,
    mut requests: Streaming<wire::ImportImageRequest>,
) -> Result<Answers<wire::PullImageEvent>, Status> {
    let Some(Part::Header(header)) = requests.message().await?.and_then(|request| request.part) else {
        return Err(Status::invalid_argument("the first message of an import is its header"));
    };
    let query = query(header)?;
    let scratch = engine.scratch().await.map_err(|error| status::failed(&error))?;
    let archive = receive(scratch, requests).await?;
    let (reporter, progress) = Reporter::channel();
    let engine = engine.clone();
    let operation = async move { engine.import_image(archive, query, reporter).await };
    let show = |progress| match progress {
        Progress::Pull(progress) => Some(event(Event::Progress(image::progress(progress)))),
        Progress::Line(_) => None,
    };
    Ok(follow(operation, progress, show, |pin| event(Event::Pin(image::pin(pin)))))
}

fn event(event: Event) -> wire::PullImageEvent {
    wire::PullImageEvent { event: Some(event) }
}

fn query(header: wire::ImportImageHeader) -> Result<ImportQuery, Status> {
    let pin = match (header.pin_id.as_str(), header.reuse_pin) {
        ("", false) => PinTarget::New,
        ("", true) => PinTarget::Reuse,
        (text, _) => PinTarget::Move(id(text)?),
    };
    Ok(ImportQuery {
        platform: platform(&header.platform)?,
        reference: (!header.reference.is_empty()).then_some(header.reference),
        pin,
        keep_on_destroy: header.keep_on_destroy,
    })
}

async fn receive(
    scratch: Scratch,
    requests: Streaming<wire::ImportImageRequest>,
) -> Result<std::fs::File, Status> {
    let pieces = requests.map(|request| match request?.part {
        Some(Part::Data(data)) => Ok(data),
        _ => Err(Status::invalid_argument("an import has one header")),
    });
    spool(scratch, pieces).await.map_err(|error| match error {
        SpoolError::TooMuch(limit) => {
            let why = format!("it is over the limit max_archive_bytes of {limit}");
            refused(ImageError::Archive { why, source: None })
        }
        SpoolError::Unwritable(source) => {
            refused(ImageError::Store { operation: "take the archive".to_owned(), source })
        }
        SpoolError::Cut(status) => status,
    })
}

fn refused(source: ImageError) -> Status {
    status::failed(&EngineError::Image { argument: "archive", source })
}

pub(super) async fn export(
    engine: &Engine,
    request: wire::ExportImageRequest,
) -> Result<Answers<wire::ExportImageResponse>, Status> {
    let pieces = engine.export_image(&request.id, request.refetch).await;
    let pieces = pieces.map_err(|error| status::failed(&error))?;
    let answers = ReceiverStream::new(pieces).map(|piece| match piece {
        Ok(data) => Ok(wire::ExportImageResponse { data }),
        Err(source) => Err(status::failed(&EngineError::Image { argument: "image", source })),
    });
    Ok(Box::pin(answers))
}
