//! Import of one layer, in one streaming pass.
//!
//! ```text
//! chunks -> digest, size -> inflate -> | blocks | -> diffID -> split -> objects, header stream
//!           (one thread)               bounded       (another)
//! ```
//!
//! Nothing of a layer is ever resolved on the host: paths are bytes in the header stream until the merge.

pub(crate) mod compressed;
pub mod limits;
mod pax;
mod pipe;
pub(crate) mod split;
pub(crate) mod tar;
pub(crate) mod verity;

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::mpsc;

use berth_sys::fs::FsError;

use self::compressed::{ChunkSource, CompressedReader};
use self::limits::Limits;
use self::pipe::{BlockSink, PipeReader, block_pipe};
use self::split::{SplitWriter, Tee};
use self::tar::{Entry, EntryKind, TarError, TarReader};
use crate::digest::Digest;
use crate::store::objects::Session;

/// A file of at most this many bytes stays in the header stream, and later in the EROFS image itself.
pub(crate) const INLINE_MAX: u64 = 512;

/// Why a layer was not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The compressed bytes are not what the manifest says.
    #[error("the layer is not what its digest says: expected {expected}, got {actual}")]
    DigestMismatch {
        /// From the manifest.
        expected: Digest,
        /// Of what came.
        actual: Digest,
    },
    /// Not as many bytes as the manifest says.
    #[error("the layer has not the size its manifest says: expected {expected} bytes, got {actual}")]
    SizeMismatch {
        /// From the manifest.
        expected: u64,
        /// What came, or more than was expected.
        actual: u64,
    },
    /// The inflated bytes are not what the config says.
    #[error(
        "the inflated layer is not what the image's config says: expected diffID {expected}, got {actual}"
    )]
    DiffIdMismatch {
        /// From the config.
        expected: Digest,
        /// Of what came.
        actual: Digest,
    },
    /// Damaged gzip or zstd.
    #[error("the layer does not decompress")]
    Compression(#[source] io::Error),
    /// A damaged or hostile tar stream.
    #[error("the layer's tar stream is refused")]
    Tar(#[from] TarError),
    /// Over one of [`Limits`].
    #[error("the layer is over the limit {name} of {limit}")]
    Limit {
        /// The limit's name.
        name: &'static str,
        /// Its value.
        limit: u64,
    },
    /// The object store.
    #[error("cannot write to the image store")]
    Store(#[from] FsError),
    /// The object store.
    #[error("cannot write {path} in the image store", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A thread of the import died.
    #[error("the import of the layer stopped unexpectedly")]
    Panicked,
}

impl ImportError {
    /// Whether what came is not what was asked for.
    pub(crate) fn is_bad_content(&self) -> bool {
        matches!(self, Self::DigestMismatch { .. } | Self::SizeMismatch { .. })
    }
}

/// What a layer must turn out to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected {
    pub digest: Digest,
    pub size: u64,
    pub diff_id: Digest,
}

/// Reads a layer from `chunks`, stores its objects and writes its header stream to `stream`.
pub(crate) fn import_layer(
    chunks: impl ChunkSource + Send,
    expected: Expected,
    session: &Session,
    stream: File,
    limits: &Limits,
) -> Result<(), ImportError> {
    let (sink, reader) = block_pipe();
    std::thread::scope(|scope| {
        let inflating = scope.spawn(move || inflate(chunks, expected, sink, limits));
        let split = split_layer(reader, expected.diff_id, session, stream, limits);
        let inflated = inflating.join().unwrap_or(Err(ImportError::Panicked));
        match inflated {
            // The other side stopped first, and knows why.
            Ok(Inflated::Stopped) => split.and(Err(ImportError::Panicked)),
            Ok(Inflated::Whole) => split,
            Err(error) => Err(error),
        }
    })
}

enum Inflated {
    Whole,
    Stopped,
}

fn inflate(
    chunks: impl ChunkSource,
    expected: Expected,
    sink: BlockSink,
    limits: &Limits,
) -> Result<Inflated, ImportError> {
    let mut compressed = CompressedReader::new(chunks, expected.size);
    let outcome = inflate_into(&mut compressed, sink, limits);
    if !matches!(outcome, Ok(Inflated::Whole)) && !compressed.drain_some() {
        return outcome;
    }
    // Content that is not what it says it is explains every other failure.
    compressed.verify(expected.digest)?;
    outcome
}

fn inflate_into<S: ChunkSource>(
    compressed: &mut CompressedReader<S>,
    mut sink: BlockSink,
    limits: &Limits,
) -> Result<Inflated, ImportError> {
    let counter = compressed.counter();
    let mut inflated = compressed::decoder(compressed, limits).map_err(ImportError::Compression)?;
    let mut total: u64 = 0;
    loop {
        let mut block = sink.block();
        let filled = fill(&mut inflated, &mut block).map_err(ImportError::Compression)?;
        total += filled as u64;
        limits.check_inflated(total, counter.get())?;
        block.truncate(filled);
        if filled == 0 {
            drop(inflated);
            return Ok(Inflated::Whole);
        }
        if sink.send(block).is_err() {
            return Ok(Inflated::Stopped);
        }
    }
}

pub(crate) fn fill(reader: &mut impl Read, block: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match reader.read(&mut block[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn split_layer(
    reader: PipeReader,
    diff_id: Digest,
    session: &Session,
    stream: File,
    limits: &Limits,
) -> Result<(), ImportError> {
    let writer = SplitWriter::new(stream).map_err(split_error)?;
    let mut tar = TarReader::new(Tee::new(reader, writer), limits);
    while let Some(entry) = tar.next_entry()? {
        store_body(&mut tar, &entry, session)?;
    }
    let (reader, writer) = tar.into_source().into_parts();
    let actual = reader.finish();
    if actual != diff_id {
        return Err(ImportError::DiffIdMismatch { expected: diff_id, actual });
    }
    writer.finish().map_err(split_error)
}

fn split_error(source: io::Error) -> ImportError {
    ImportError::Write { path: PathBuf::from("the layer's header stream"), source }
}

fn store_body(
    tar: &mut TarReader<'_, Tee<PipeReader>>,
    entry: &Entry,
    session: &Session,
) -> Result<(), ImportError> {
    if entry.kind != EntryKind::File || entry.size <= INLINE_MAX {
        return Ok(tar.skip_body(entry)?);
    }
    let (reader, writer) = tar.source_mut().parts_mut();
    let id = session.store(reader, entry.size)?;
    writer.external(&id, entry.size).map_err(split_error)?;
    Ok(tar.skip_padding(entry)?)
}

/// Both ends of a pipe with a bounded number of blocks under way.
type Blocks = (mpsc::SyncSender<Vec<u8>>, mpsc::Receiver<Vec<u8>>);
