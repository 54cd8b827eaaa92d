//! How far a pull has come.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// What a pull is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Asking the registry.
    Resolving,
    /// Fetching and importing layers.
    Fetching,
    /// Merging layers into one tree.
    Merging,
    /// The image is there.
    Done,
}

/// How far a pull has come; bytes are of compressed layers, what was there already counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What it is doing.
    pub phase: Phase,
    /// Bytes fetched.
    pub bytes_done: u64,
    /// Bytes there are.
    pub bytes_total: u64,
    /// Layers imported.
    pub layers_done: u32,
    /// Layers there are.
    pub layers_total: u32,
}

/// Told at most once for so many bytes.
const STEP: u64 = 256 * 1024;

/// Counts, and tells whoever listens.
pub(super) struct Tracker<'c> {
    callback: &'c (dyn Fn(Progress) + Send + Sync),
    bytes_total: u64,
    layers_total: u32,
    bytes_done: AtomicU64,
    bytes_told: AtomicU64,
    layers_done: AtomicU32,
}

impl<'c> Tracker<'c> {
    pub(super) fn new(
        callback: &'c (dyn Fn(Progress) + Send + Sync),
        bytes_total: u64,
        layers_total: usize,
    ) -> Self {
        Self {
            callback,
            bytes_total,
            layers_total: u32::try_from(layers_total).unwrap_or(u32::MAX),
            bytes_done: AtomicU64::new(0),
            bytes_told: AtomicU64::new(0),
            layers_done: AtomicU32::new(0),
        }
    }

    pub(super) fn tell(&self, phase: Phase) {
        (self.callback)(Progress {
            phase,
            bytes_done: self.bytes_done.load(Ordering::Relaxed),
            bytes_total: self.bytes_total,
            layers_done: self.layers_done.load(Ordering::Relaxed),
            layers_total: self.layers_total,
        });
    }

    /// Nothing had to be fetched.
    pub(super) fn was_there(&self) {
        self.bytes_done.store(self.bytes_total, Ordering::Relaxed);
        self.layers_done.store(self.layers_total, Ordering::Relaxed);
        self.tell(Phase::Done);
    }

    pub(super) fn bytes(&self, count: u64) {
        let done = self.bytes_done.fetch_add(count, Ordering::Relaxed) + count;
        if done >= self.bytes_told.load(Ordering::Relaxed) + STEP {
            self.bytes_told.store(done, Ordering::Relaxed);
            self.tell(Phase::Fetching);
        }
    }

    /// A layer is fetched again: what came of it before does not count.
    pub(super) fn take_back(&self, count: u64) {
        self.bytes_done.fetch_sub(count, Ordering::Relaxed);
        self.bytes_told.store(self.bytes_done.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    pub(super) fn layer_done(&self) {
        self.layers_done.fetch_add(1, Ordering::Relaxed);
        self.tell(Phase::Fetching);
    }
}
