//! What comes piece by piece and is needed whole.

use std::fs::File;
use std::io::{self, Write};

use berth_engine::ports::Cause;
use berth_engine::ports::images::Scratch;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tonic::Status;

/// Pieces that wait for the disk.
const WAITING: usize = 16;

/// Why it is not here.
pub(super) enum SpoolError {
    /// It is more than so many bytes.
    TooMuch(u64),
    /// The disk does not take it.
    Unwritable(Cause),
    /// Its sender went away, or sent something else.
    Cut(Status),
}

/// Writes what comes to the file, never more than is allowed. A caller that goes away leaves nothing.
pub(super) async fn spool(
    scratch: Scratch,
    mut pieces: impl Stream<Item = Result<Bytes, Status>> + Unpin,
) -> Result<File, SpoolError> {
    let Scratch { mut file, limit } = scratch;
    let (sender, mut waiting) = mpsc::channel::<Bytes>(WAITING);
    let writing = tokio::task::spawn_blocking(move || {
        while let Some(piece) = waiting.blocking_recv() {
            file.write_all(&piece)?;
        }
        Ok::<_, io::Error>(file)
    });
    let mut received: u64 = 0;
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(SpoolError::Cut)?;
        received += piece.len() as u64;
        if received > limit {
            return Err(SpoolError::TooMuch(limit));
        }
        if sender.send(piece).await.is_err() {
            // The writing ended: what it says is below.
            break;
        }
    }
    drop(sender);
    match writing.await {
        Ok(Ok(file)) => Ok(file),
        Ok(Err(error)) => Err(SpoolError::Unwritable(error.into())),
        Err(error) => Err(SpoolError::Unwritable(error.into())),
    }
}
