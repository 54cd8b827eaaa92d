//! The fs-verity digest (SHA-256, blocks of 4096 bytes) of a stream, which is what an object is named by.

use berth_sys::sha256;
use sha2::{Digest as _, Sha256};

use crate::digest::Digest;

const BLOCK: usize = sha256::BLOCK;
const HASH: usize = 32;

/// Builds the Merkle tree level by level, with one unfinished block a level in memory.
pub(crate) struct Verity {
    partial: Vec<u8>,
    levels: Vec<Level>,
    size: u64,
}

#[derive(Default)]
struct Level {
    pending: Vec<u8>,
    hashes: u64,
}

impl Verity {
    pub(crate) fn new() -> Self {
        Self { partial: Vec::new(), levels: Vec::new(), size: 0 }
    }

    /// The digest of what is all in memory.
    pub(crate) fn of(bytes: &[u8]) -> Digest {
        let mut verity = Self::new();
        verity.update(bytes);
        verity.finish()
    }

    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        self.size += bytes.len() as u64;
        if !self.partial.is_empty() {
            let wanted = (BLOCK - self.partial.len()).min(bytes.len());
            let (head, rest) = bytes.split_at(wanted);
            self.partial.extend_from_slice(head);
            bytes = rest;
            if self.partial.len() == BLOCK {
                let hash = Sha256::digest(&self.partial);
                self.partial.clear();
                self.push(0, &hash);
            }
        }
        let (blocks, rest) = bytes.as_chunks::<BLOCK>();
        let (pairs, last) = blocks.as_chunks::<2>();
        for [one, other] in pairs {
            // Two at once, where the processor can: this is a third of all that a pull computes.
            let hashes = sha256::pair(one, other);
            let hashes = hashes.unwrap_or_else(|| [one, other].map(|block| Sha256::digest(block).into()));
            hashes.iter().for_each(|hash| self.push(0, hash));
        }
        for block in last {
            self.push(0, &Sha256::digest(block));
        }
        self.partial.extend_from_slice(rest);
    }

    fn push(&mut self, level: usize, hash: &[u8]) {
        if self.levels.len() == level {
            self.levels.push(Level::default());
        }
        let Some(current) = self.levels.get_mut(level) else { return };
        current.pending.extend_from_slice(hash);
        current.hashes += 1;
        if current.pending.len() == BLOCK {
            self.flush(level);
        }
    }

    fn flush(&mut self, level: usize) {
        let Some(current) = self.levels.get_mut(level) else { return };
        current.pending.resize(BLOCK, 0);
        let hash = Sha256::digest(&current.pending);
        current.pending.clear();
        self.push(level + 1, &hash);
    }

    pub(crate) fn finish(mut self) -> Digest {
        if !self.partial.is_empty() {
            self.partial.resize(BLOCK, 0);
            let hash = Sha256::digest(&self.partial);
            self.push(0, &hash);
        }
        let root = self.root();
        let mut descriptor = [0u8; 256];
        descriptor[0] = 1; // version
        descriptor[1] = 1; // SHA-256
        descriptor[2] = 12; // log2 of the block size
        descriptor[8..16].copy_from_slice(&self.size.to_le_bytes());
        descriptor[16..16 + HASH].copy_from_slice(&root);
        Digest::of(&descriptor)
    }

    fn root(&mut self) -> [u8; HASH] {
        let mut root = [0; HASH];
        let mut level = 0;
        while let Some(current) = self.levels.get(level) {
            if current.hashes == 1 && current.pending.len() == HASH {
                root.copy_from_slice(&current.pending);
                break;
            }
            if !current.pending.is_empty() {
                self.flush(level);
            }
            level += 1;
        }
        root
    }
}

#[cfg(test)]
mod tests {
    use composefs::fsverity::{FsVerityHashValue, Sha256HashValue, compute_verity};

    use super::*;

    #[test]
    fn two_at_once_are_what_each_is_alone() {
        let blocks: Vec<[u8; BLOCK]> = (0..4u8)
            .map(|seed| std::array::from_fn(|at| (at as u8).wrapping_mul(seed).wrapping_add(seed)))
            .collect();
        for (one, other) in blocks.iter().zip(blocks.iter().skip(1)) {
            let Some(hashes) = sha256::pair(one, other) else { return };
            assert_eq!(hashes, [one, other].map(|block| <[u8; 32]>::from(Sha256::digest(block))));
        }
    }

    #[test]
    fn names_are_those_of_the_composefs_crate() {
        for size in
            [0, 1, 512, 4095, 4096, 4097, 8192, 4096 * 128, 4096 * 128 + 1, 4096 * 129, 4096 * 128 * 2 + 5]
        {
            let bytes: Vec<u8> = (0..size).map(|i| (i * 31 % 251) as u8).collect();
            let theirs = compute_verity::<Sha256HashValue>(&bytes).to_hex();
            assert_eq!(Verity::of(&bytes).hex(), theirs, "{size}");
            let mut pieces = Verity::new();
            bytes.chunks(1000).for_each(|piece| pieces.update(piece));
            assert_eq!(pieces.finish().hex(), theirs, "{size} in pieces");
        }
    }
}
