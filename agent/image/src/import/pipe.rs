//! A bounded pipe of blocks between the inflating and the splitting thread. Blocks come back to be filled again.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, SendError, SyncSender, sync_channel};

use sha2::{Digest as _, Sha256};

use super::Blocks;
use crate::digest::Digest;

const BLOCK: usize = 256 * 1024;
/// With the blocks in use at both ends: under 2 MiB a layer.
const BLOCKS_UNDER_WAY: usize = 4;

/// The end that is written to.
pub(super) struct BlockSink {
    full: SyncSender<Vec<u8>>,
    empty: Receiver<Vec<u8>>,
}

impl BlockSink {
    /// A block to fill.
    pub(super) fn block(&mut self) -> Vec<u8> {
        let mut block = self.empty.try_recv().unwrap_or_default();
        block.resize(BLOCK, 0);
        block
    }

    pub(super) fn send(&mut self, block: Vec<u8>) -> Result<(), SendError<Vec<u8>>> {
        self.full.send(block)
    }
}

/// The end that is read from. Hashes what goes through it.
pub(super) struct PipeReader {
    full: Receiver<Vec<u8>>,
    empty: SyncSender<Vec<u8>>,
    block: Vec<u8>,
    position: usize,
    hash: Sha256,
}

pub(super) fn block_pipe() -> (BlockSink, PipeReader) {
    let (full_sender, full): Blocks = sync_channel(BLOCKS_UNDER_WAY);
    let (empty, empty_receiver): Blocks = sync_channel(BLOCKS_UNDER_WAY + 2);
    let reader = PipeReader { full, empty, block: Vec::new(), position: 0, hash: Sha256::new() };
    (BlockSink { full: full_sender, empty: empty_receiver }, reader)
}

impl PipeReader {
    /// The digest of everything that came, when all was read.
    pub(super) fn finish(self) -> Digest {
        Digest::from_bytes(self.hash.finalize().into())
    }
}

impl BufRead for PipeReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.position == self.block.len()
            && let Ok(block) = self.full.recv()
        {
            self.hash.update(&block);
            let used = std::mem::replace(&mut self.block, block);
            // If there is no room for it, it is freed.
            let _ = self.empty.try_send(used);
            self.position = 0;
        }
        Ok(&self.block[self.position..])
    }

    fn consume(&mut self, amount: usize) {
        self.position += amount;
    }
}

impl Read for PipeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}
