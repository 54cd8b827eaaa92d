//! A layer as it comes from the registry: counted, hashed, and inflated by what it really is.

use std::cell::Cell;
use std::io::{self, BufRead, Read};
use std::rc::Rc;

use bytes::{Buf, Bytes};
use sha2::{Digest as _, Sha256};

use super::ImportError;
use super::limits::Limits;
use crate::digest::Digest;

/// After a failure, this much is still read to find out whether the content was the wrong one.
const DRAIN_MAX: u64 = 64 * 1024 * 1024;

/// Where the chunks of a layer come from. `None` is the end.
pub(crate) trait ChunkSource {
    /// The next chunk, waited for.
    fn next_chunk(&mut self) -> io::Result<Option<Bytes>>;
}

impl ChunkSource for tokio::sync::mpsc::Receiver<Bytes> {
    fn next_chunk(&mut self) -> io::Result<Option<Bytes>> {
        Ok(self.blocking_recv())
    }
}

/// Hashes and counts chunks as they are read, and never takes more than the manifest says.
pub(super) struct CompressedReader<S> {
    source: S,
    chunk: Bytes,
    hash: Sha256,
    expected_size: u64,
    received: Rc<Cell<u64>>,
    ended: bool,
}

impl<S: ChunkSource> CompressedReader<S> {
    pub(super) fn new(source: S, expected_size: u64) -> Self {
        let received = Rc::new(Cell::new(0));
        Self { source, chunk: Bytes::new(), hash: Sha256::new(), expected_size, received, ended: false }
    }

    /// How many bytes have come so far.
    pub(super) fn counter(&self) -> Rc<Cell<u64>> {
        Rc::clone(&self.received)
    }

    /// Reads what is left, if it is not too much. Says whether the end was reached.
    pub(super) fn drain_some(&mut self) -> bool {
        let stop = self.received.get() + DRAIN_MAX;
        while !self.ended && self.received.get() < stop {
            self.chunk.clear();
            if self.fill_buf().is_err() {
                break;
            }
        }
        self.ended
    }

    /// Compares with the manifest, after everything was read.
    pub(super) fn verify(mut self, expected: Digest) -> Result<(), ImportError> {
        while !self.ended {
            self.chunk.clear();
            if self.fill_buf().is_err() {
                break;
            }
        }
        let received = self.received.get();
        if received != self.expected_size {
            return Err(ImportError::SizeMismatch { expected: self.expected_size, actual: received });
        }
        let actual = Digest::from_bytes(self.hash.finalize().into());
        if actual != expected {
            return Err(ImportError::DigestMismatch { expected, actual });
        }
        Ok(())
    }
}

impl<S: ChunkSource> BufRead for CompressedReader<S> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.chunk.is_empty() && !self.ended {
            let Some(chunk) = self.source.next_chunk()? else {
                self.ended = true;
                break;
            };
            self.received.set(self.received.get() + chunk.len() as u64);
            if self.received.get() > self.expected_size {
                self.ended = true;
                return Err(io::Error::other("more bytes than the manifest says"));
            }
            self.hash.update(&chunk);
            self.chunk = chunk;
        }
        Ok(&self.chunk)
    }

    fn consume(&mut self, amount: usize) {
        self.chunk.advance(amount);
    }
}

impl<S: ChunkSource> Read for CompressedReader<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

/// A decoder by the first bytes, which never lie, unlike media types: a tar stream begins with neither magic number.
pub(crate) fn decoder<'a, R: BufRead + 'a>(mut reader: R, limits: &Limits) -> io::Result<Box<dyn Read + 'a>> {
    let mut magic = [0u8; 4];
    let known = peek(&mut reader, &mut magic)?;
    let first = io::Cursor::new(magic[..known].to_vec());
    let whole = Read::chain(first, reader);
    Ok(match magic {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(whole)),
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(whole)?;
            decoder.window_log_max(limits.max_zstd_window_log)?;
            Box::new(decoder)
        }
        _ => Box::new(whole),
    })
}

/// Takes up to four bytes; a chunk may be shorter than that.
fn peek(reader: &mut impl BufRead, magic: &mut [u8; 4]) -> io::Result<usize> {
    let mut known = 0;
    while known < magic.len() {
        let count = reader.read(&mut magic[known..])?;
        if count == 0 {
            break;
        }
        known += count;
    }
    Ok(known)
}
