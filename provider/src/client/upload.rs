//! An archive on its way to the agent, piece by piece.

use std::fs::File;
use std::future::Future;
use std::io::{self, Read};

use berth_proto::agent as wire;
use berth_proto::agent::import_image_request::Part;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

const PIECE: u64 = 256 * 1024;
/// Pieces that wait for the agent.
const WAITING: usize = 8;

/// The requests, and how the reading of the file ended.
pub(super) fn requests(
    header: wire::ImportImageHeader,
    archive: File,
) -> (ReceiverStream<wire::ImportImageRequest>, impl Future<Output = io::Result<()>>) {
    let (sender, receiver) = mpsc::channel(WAITING);
    let sending = tokio::task::spawn_blocking(move || send(header, archive, &sender));
    let sent = async move { sending.await.unwrap_or_else(|error| Err(io::Error::other(error))) };
    (ReceiverStream::new(receiver), sent)
}

/// Ends well too where nobody takes the rest: the agent says why.
fn send(
    header: wire::ImportImageHeader,
    mut archive: File,
    sender: &mpsc::Sender<wire::ImportImageRequest>,
) -> io::Result<()> {
    let mut part = Part::Header(header);
    loop {
        if sender.blocking_send(wire::ImportImageRequest { part: Some(part) }).is_err() {
            return Ok(());
        }
        let mut piece = Vec::with_capacity(PIECE as usize);
        if archive.by_ref().take(PIECE).read_to_end(&mut piece)? == 0 {
            return Ok(());
        }
        part = Part::Data(piece.into());
    }
}
