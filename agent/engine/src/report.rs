//! Progress of an operation, to whoever waits for it.

use tokio::sync::mpsc;

/// What a pull does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullPhase {
    /// Asking what the reference means.
    Resolving,
    /// Layers come in.
    Fetching,
    /// Layers become one tree.
    Merging,
    /// It is in the store.
    Done,
}

/// How far a pull is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PullProgress {
    /// What it does.
    pub phase: PullPhase,
    /// Bytes of blobs that came.
    pub bytes_done: u64,
    /// Bytes of blobs in all.
    pub bytes_total: u64,
    /// Layers that came.
    pub layers_done: u32,
    /// Layers in all.
    pub layers_total: u32,
}

/// One sign of progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Of a pull.
    Pull(PullProgress),
    /// One line for a person: "starting".
    Line(String),
}

/// Where progress goes. Never waits: a listener that is slow or gone misses some, and the operation goes on.
#[derive(Debug, Clone, Default)]
pub struct Reporter(Option<mpsc::Sender<Progress>>);

impl Reporter {
    /// A reporter and what it reports to.
    #[must_use]
    pub fn channel() -> (Self, mpsc::Receiver<Progress>) {
        let (sender, receiver) = mpsc::channel(256);
        (Self(Some(sender)), receiver)
    }

    /// A reporter that nobody listens to.
    #[must_use]
    pub fn silent() -> Self {
        Self(None)
    }

    /// Reports; may be called on any thread.
    pub fn send(&self, progress: Progress) {
        if let Some(sender) = &self.0 {
            // A full channel or a listener that went away is no concern of the operation.
            let _lossy = sender.try_send(progress);
        }
    }

    /// Reports one line for a person.
    pub fn line(&self, text: impl Into<String>) {
        self.send(Progress::Line(text.into()));
    }

    /// Reports a pull's progress.
    pub fn pull(&self, progress: PullProgress) {
        self.send(Progress::Pull(progress));
    }
}
