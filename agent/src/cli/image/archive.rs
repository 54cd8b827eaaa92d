//! `berth image import` and `berth image export`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use berth_proto::agent as wire;
use berth_proto::agent::image_service_client::ImageServiceClient;
use berth_proto::agent::import_image_request::Part;
use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use super::super::error::CliError;
use super::super::saved::Saved;

const PIECE: usize = 256 * 1024;
/// Pieces that wait for the agent.
const WAITING: usize = 8;

pub(super) async fn import(
    client: &mut ImageServiceClient<Channel>,
    archive: &str,
    reference: String,
    platform: String,
) -> Result<wire::Pin, CliError> {
    let header = wire::ImportImageHeader { reference, platform, reuse_pin: true, ..Default::default() };
    let (sender, receiver) = mpsc::channel(WAITING);
    // There is room: it is the first.
    let _first = sender.try_send(request(Part::Header(header)));
    let path = PathBuf::from(archive);
    let mut sending = tokio::task::spawn_blocking(move || send(&path, &sender));
    let answer = client.import_image(ReceiverStream::new(receiver));
    tokio::pin!(answer);
    // A file that cannot be read ends the stream, and the agent would take what came for all of it.
    let events = tokio::select! {
        sent = &mut sending => {
            sent.map_err(|error| CliError::Unreadable(archive.to_owned(), io::Error::other(error)))?
                .map_err(|source| CliError::Unreadable(archive.to_owned(), source))?;
            answer.await
        }
        events = &mut answer => events,
    };
    super::follow(events?.into_inner(), archive).await
}

fn request(part: Part) -> wire::ImportImageRequest {
    wire::ImportImageRequest { part: Some(part) }
}

/// Sends a file, a directory as a tar stream, or standard input. That nobody takes it any more is no failure here: the
/// agent says why.
fn send(path: &Path, sender: &mpsc::Sender<wire::ImportImageRequest>) -> io::Result<()> {
    let mut pieces = Pieces { sender, gone: false };
    let sent = match path.to_str() {
        Some("-") => copy(io::stdin().lock(), &mut pieces),
        _ if path.is_dir() => pack(path, &mut pieces),
        _ => copy(File::open(path)?, &mut pieces),
    };
    if pieces.gone { Ok(()) } else { sent }
}

fn copy(mut reader: impl Read, pieces: &mut Pieces<'_>) -> io::Result<()> {
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        if reader.by_ref().take(PIECE as u64).read_to_end(&mut piece)? == 0 {
            return Ok(());
        }
        pieces.send(piece)?;
    }
}

fn pack(directory: &Path, pieces: &mut Pieces<'_>) -> io::Result<()> {
    let mut tar = tar::Builder::new(io::BufWriter::with_capacity(PIECE, pieces));
    tar.append_dir_all(".", directory)?;
    tar.into_inner()?.flush()
}

struct Pieces<'s> {
    sender: &'s mpsc::Sender<wire::ImportImageRequest>,
    gone: bool,
}

impl Pieces<'_> {
    fn send(&mut self, piece: Vec<u8>) -> io::Result<()> {
        let sent = self.sender.blocking_send(request(Part::Data(Bytes::from(piece))));
        self.gone = sent.is_err();
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

impl Write for &mut Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send(bytes.to_vec())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) async fn export(
    client: &mut ImageServiceClient<Channel>,
    image: String,
    output: Option<&Path>,
    refetch: bool,
) -> Result<(), CliError> {
    let mut pieces = client.export_image(wire::ExportImageRequest { id: image, refetch }).await?.into_inner();
    let Some(path) = output else {
        let mut stdout = tokio::io::stdout();
        while let Some(piece) = pieces.message().await? {
            stdout.write_all(&piece.data).await?;
        }
        return Ok(stdout.flush().await?);
    };
    let mut saved = Saved::begin(path, 0o666).await?;
    while let Some(piece) = pieces.message().await? {
        saved.write(&piece.data).await?;
    }
    saved.finish(None).await
}
