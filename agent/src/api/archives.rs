//! Archives: received whole before they are looked into, given out piece by piece.

use std::io::Write;

use berth_engine::engine::{ImportQuery, PinTarget};
use berth_engine::ports::Cause;
use berth_engine::ports::images::{ImageError, Scratch};
use berth_engine::{Engine, EngineError, Progress, Reporter};
use berth_proto::agent as wire;
use berth_proto::agent::import_image_request::Part;
use berth_proto::agent::pull_image_event::Event;
use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::convert::{id, image, platform};
use super::status;
use super::stream::{Answers, follow};

/// Pieces that wait for the disk.
const WAITING: usize = 16;

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

/// Writes what comes to the file, never more than is allowed. A caller that goes away leaves nothing.
async fn receive(
    scratch: Scratch,
    mut requests: Streaming<wire::ImportImageRequest>,
) -> Result<std::fs::File, Status> {
    let Scratch { mut file, limit } = scratch;
    let (sender, mut pieces) = mpsc::channel::<Bytes>(WAITING);
    let writing = tokio::task::spawn_blocking(move || {
        while let Some(piece) = pieces.blocking_recv() {
            file.write_all(&piece)?;
        }
        Ok::<_, std::io::Error>(file)
    });
    let mut received: u64 = 0;
    while let Some(request) = requests.message().await? {
        let Some(Part::Data(data)) = request.part else {
            return Err(Status::invalid_argument("an import has one header"));
        };
        received += data.len() as u64;
        if received > limit {
            let why = format!("it is over the limit max_archive_bytes of {limit}");
            return Err(refused(ImageError::Archive { why, source: None }));
        }
        if sender.send(data).await.is_err() {
            // The writing ended: what it says is below.
            break;
        }
    }
    drop(sender);
    match writing.await {
        Ok(Ok(file)) => Ok(file),
        Ok(Err(error)) => Err(unwritable(error.into())),
        Err(error) => Err(unwritable(error.into())),
    }
}

fn unwritable(source: Cause) -> Status {
    refused(ImageError::Store { operation: "take the archive".to_owned(), source })
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
