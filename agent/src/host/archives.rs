//! Images from archives and into them, from `berth-image`.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;

use berth_domain as domain;
use berth_engine::Reporter;
use berth_engine::ports::images::{ArchivePiece, ExportRequest, ImageError, ImportRequest, Resolution};
use berth_image::archive::{ArchiveError, Selection};
use berth_image::platform::Platform;
use berth_image::registry::Client;
use berth_image::store::{ExportError, ExportName, ImportArchiveError, Progress, Store};
use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;

use super::images::{bad_content, chain, info, ours, registry, shown, stored, theirs};
use super::remotes::parse;

/// Pieces of an archive on their way to a caller.
const PIECES: usize = 8;
const PIECE: usize = 128 * 1024;

pub(super) async fn import(
    store: &Store,
    archive: File,
    request: &ImportRequest,
    reporter: &Reporter,
) -> Result<(Resolution, Arc<domain::ImageInfo>), ImageError> {
    let reference = request.reference.as_deref().map(|text| parse(text, &request.remotes)).transpose()?;
    let platform = match &request.platform {
        None => Platform::host(),
        Some(wanted) => wanted
            .as_str()
            .parse()
            .map_err(|_| ImageError::Archive { why: format!("{wanted} is no platform"), source: None })?,
    };
    let name = request.reference.clone();
    let selection = Selection { name, platform };
    let (store, reporter) = (store.clone(), reporter.clone());
    let imported = tokio::task::spawn_blocking(move || {
        let tell = |progress: Progress| reporter.pull(shown(progress));
        store.import(archive, "the archive", &selection, &tell)
    });
    let image = imported.await.map_err(|error| ImageError::Store {
        operation: "finish the import".to_owned(),
        source: error.into(),
    })?;
    let image = image.map_err(unimported)?;
    let digest = theirs(&image.digest)?;
    let text = request.reference.clone().unwrap_or_else(|| digest.to_string());
    let platform = domain::Platform::new(&image.platform.to_string())
        .map_err(|invalid| ImageError::Archive { why: invalid.summary, source: None })?;
    let resolution = Resolution {
        reference_resolved: reference.map_or_else(|| text.clone(), |known| known.resolved(&image.digest)),
        reference: text,
        index_digest: digest.clone(),
        image_digest: digest,
        platform,
    };
    Ok((resolution, info(image).map(Arc::new)?))
}

fn unimported(error: ImportArchiveError) -> ImageError {
    match error {
        ImportArchiveError::Archive { source, .. } => refused(&source),
        ImportArchiveError::Store { source, .. } => stored(source),
        ImportArchiveError::Image(source) => ImageError::Archive {
            why: source.to_string(),
            source: std::error::Error::source(&source).map(|source| chain(source).into()),
        },
        error @ ImportArchiveError::TooLarge { .. } => {
            ImageError::Archive { why: error.to_string(), source: None }
        }
    }
}

fn refused(error: &ArchiveError) -> ImageError {
    ImageError::Archive {
        why: error.to_string(),
        source: std::error::Error::source(error).map(|source| chain(source).into()),
    }
}

/// An image whose pins say nothing of a registry.
pub(super) fn no_origin(request: &ExportRequest) -> ImageError {
    ImageError::BadReference {
        reference: request.image.to_string(),
        why: "nothing says which registry it came from: leave out --refetch".to_owned(),
    }
}

/// Begins an export; what goes wrong later is its last piece.
pub(super) fn export(
    store: &Store,
    request: &ExportRequest,
    source: Option<(Client, String)>,
) -> Result<mpsc::Receiver<ArchivePiece>, ImageError> {
    let digest =
        ours(&request.image).ok_or_else(|| ImageError::NotFound { reference: request.image.to_string() })?;
    let reference = request.reference.as_deref().and_then(|text| parse(text, &request.remotes).ok());
    let name = ExportName {
        reference: reference.as_ref().map(|known| known.canonical()),
        tag: reference.as_ref().and_then(|known| known.tag.clone()),
    };
    let (sender, receiver) = mpsc::channel(PIECES);
    let (store, runtime) = (store.clone(), tokio::runtime::Handle::current());
    tokio::task::spawn_blocking(move || {
        let mut pieces = Pieces { sender: sender.clone(), piece: BytesMut::with_capacity(PIECE) };
        let written = match &source {
            None => store.export(&digest, &name, &mut pieces),
            Some((client, repository)) => {
                store.export_original(&digest, (client, repository), &name, &runtime, &mut pieces)
            }
        };
        if let Err(error) = written {
            // Where the reader is gone there is nobody to tell.
            let _gone = sender.blocking_send(Err(unexported(reference.as_ref(), error)));
        }
    });
    Ok(receiver)
}

fn unexported(reference: Option<&berth_image::reference::Reference>, error: ExportError) -> ImageError {
    match (error, reference) {
        (ExportError::Registry(source), Some(reference)) => registry(reference, source),
        (ExportError::Store(source), _) => stored(source),
        (error @ ExportError::Damaged { .. }, Some(reference)) => bad_content(reference, error),
        (error, _) => ImageError::Store { operation: "export the image".to_owned(), source: error.into() },
    }
}

/// Hands on what is written, piece by piece, and waits for the reader.
struct Pieces {
    sender: mpsc::Sender<ArchivePiece>,
    piece: BytesMut,
}

impl Pieces {
    fn send(&mut self) -> io::Result<()> {
        let piece: Bytes = self.piece.split().freeze();
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the reader is gone");
        self.sender.blocking_send(Ok(piece)).map_err(gone)
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..count]);
        if self.piece.len() == PIECE {
            self.send()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() { Ok(()) } else { self.send() }
    }
}
