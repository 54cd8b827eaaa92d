//! A layer on its way from the registry: in order, resumed where it breaks, and large ones by several ranges at once.
//!
//! ```text
//! mirrors, then the registry: each from where the one before came to
//!   large:  part | part | part | part   ahead of the reader, each whole in memory
//!   else:   one answer, chunk by chunk; broken, the rest of it
//! ```
//!
//! What comes is checked by whoever reads it, as a whole.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::task::AbortOnDropHandle;

use super::Client;
use super::downloads::Downloads;
use super::error::RegistryError;
use super::manifest::Descriptor;
use super::source::{Opened, Source};

/// A layer, or the rest of one, is fetched by ranges from this size on.
const LARGE: u64 = 32 * 1024 * 1024;
const PART: u64 = 4 * 1024 * 1024;
/// Parts of one layer that are fetched at once, if there are connections for them.
const PARTS_AHEAD: usize = 4;
/// A transfer that brought so much before it broke has all its attempts again.
const PROGRESS: u64 = 1024 * 1024;

/// Where chunks go to.
pub(crate) struct Sink<'s> {
    sender: mpsc::Sender<Bytes>,
    position: u64,
    tell: &'s (dyn Fn(u64) + Send + Sync),
}

impl<'s> Sink<'s> {
    /// `tell` hears of every byte that is handed on.
    pub(crate) fn new(sender: mpsc::Sender<Bytes>, tell: &'s (dyn Fn(u64) + Send + Sync)) -> Self {
        Self { sender, position: 0, tell }
    }

    /// Tells the reader that this is all; says how many bytes were handed on.
    pub(crate) fn close(self) -> u64 {
        self.position
    }

    async fn push(&mut self, chunk: Bytes) -> Progress {
        let length = chunk.len() as u64;
        if self.sender.send(chunk).await.is_err() {
            return Progress::Unwanted;
        }
        self.position += length;
        (self.tell)(length);
        Progress::Wanted
    }
}

/// The reader stops when it has read enough, or found what is wrong: it knows why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Wanted,
    Unwanted,
}

/// How the rest of a blob is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Parts,
    Rest,
    /// The registry has no notion of ranges: all of it, less what there is.
    Whole,
}

struct Fetch<'f> {
    source: &'f Arc<Source>,
    downloads: &'f Downloads,
    repository: &'f str,
    blob: &'f Descriptor,
}

impl Client {
    /// Fetches a blob into `sink`. Where a mirror fails, the next goes on from there; with `registry_only` none is asked.
    pub(crate) async fn fetch(
        &self,
        repository: &str,
        blob: &Descriptor,
        registry_only: bool,
        sink: &mut Sink<'_>,
    ) -> Result<(), RegistryError> {
        // Held to the end, so that what is in memory is bounded too.
        let _connection = self.downloads.connection().await;
        for mirror in self.mirrors().filter(|_| !registry_only) {
            let fetch = Fetch { source: &mirror.source, downloads: &self.downloads, repository, blob };
            match fetch.run(sink).await {
                Ok(()) => return Ok(()),
                Err(error) => mirror.passed_over(&error),
            }
        }
        Fetch { source: &self.origin, downloads: &self.downloads, repository, blob }.run(sink).await
    }
}

impl Fetch<'_> {
    async fn run(&self, sink: &mut Sink<'_>) -> Result<(), RegistryError> {
        let mut attempts = self.source.attempts();
        let mut way = if self.rest(sink) >= LARGE { Way::Parts } else { Way::Rest };
        let mut mark = sink.position;
        loop {
            let error = match self.one_way(way, sink).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            match error {
                RegistryError::BadRange { .. } if way != Way::Whole => way = Way::Whole,
                error if error.is_transient() => {
                    tracing::info!(blob = %self.blob.digest, %error, at = sink.position, "going on with a layer");
                    if sink.position >= mark + PROGRESS {
                        attempts = self.source.attempts();
                    }
                    mark = sink.position;
                    if !attempts.another().await {
                        return Err(error);
                    }
                    // One that breaks is no faster in parts.
                    way = if way == Way::Parts { Way::Rest } else { way };
                }
                error => return Err(error),
            }
        }
    }

    fn rest(&self, sink: &Sink<'_>) -> u64 {
        self.blob.size.saturating_sub(sink.position)
    }

    async fn one_way(&self, way: Way, sink: &mut Sink<'_>) -> Result<(), RegistryError> {
        match way {
            Way::Parts => self.parts(sink).await,
            Way::Rest if sink.position > 0 && self.rest(sink) > 0 => {
                let rest = sink.position..self.blob.size;
                let opened = self.source.blob(self.repository, self.blob, Some(rest)).await?;
                self.stream(opened, sink).await
            }
            Way::Rest | Way::Whole => {
                let opened = self.source.blob(self.repository, self.blob, None).await?;
                self.stream(opened, sink).await
            }
        }
    }

    async fn stream(&self, opened: Opened, sink: &mut Sink<'_>) -> Result<(), RegistryError> {
        let mut skip = sink.position - opened.starts_at;
        let mut body = self.source.body(opened);
        while let Some(mut chunk) = body.chunk().await? {
            self.downloads.took(chunk.len() as u64).await;
            let known = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
            skip -= known as u64;
            let news = chunk.split_off(known);
            if !news.is_empty() && sink.push(news).await == Progress::Unwanted {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn parts(&self, sink: &mut Sink<'_>) -> Result<(), RegistryError> {
        let first = sink.position..(sink.position + PART).min(self.blob.size);
        let opened = self.source.blob(self.repository, self.blob, Some(first.clone())).await?;
        if !opened.partial {
            return self.stream(opened, sink).await;
        }
        let mut next = first.end;
        let mut ahead = VecDeque::from([self.begin(first, Some(opened), None)]);
        loop {
            while next < self.blob.size && ahead.len() < PARTS_AHEAD {
                let range = next..(next + PART).min(self.blob.size);
                // The first in the row needs no turn of its own: the fetch has one.
                let turn = if ahead.is_empty() { None } else { self.downloads.another() };
                if turn.is_none() && !ahead.is_empty() {
                    break;
                }
                next = range.end;
                ahead.push_back(self.begin(range, None, turn));
            }
            let Some(part) = ahead.pop_front() else { return Ok(()) };
            let part = part.await.map_err(|_| self.source.bad_range(self.blob))??;
            for chunk in part.chunks {
                if sink.push(chunk).await == Progress::Unwanted {
                    return Ok(());
                }
            }
        }
    }

    /// Goes on beside the reader, and ends when nobody waits for it any more.
    fn begin(
        &self,
        range: Range<u64>,
        opened: Option<Opened>,
        turn: Option<OwnedSemaphorePermit>,
    ) -> AbortOnDropHandle<Result<Part, RegistryError>> {
        let (source, downloads) = (Arc::clone(self.source), self.downloads.clone());
        let (repository, blob) = (self.repository.to_owned(), self.blob.clone());
        AbortOnDropHandle::new(tokio::spawn(async move {
            let opened = match opened {
                Some(opened) => opened,
                None => source.blob(&repository, &blob, Some(range.clone())).await?,
            };
            if !opened.partial {
                return Err(source.bad_range(&blob));
            }
            let mut part = Part { chunks: Vec::new(), _turn: turn };
            let mut left = range.end - range.start;
            let mut body = source.body(opened);
            while let Some(chunk) = body.chunk().await? {
                downloads.took(chunk.len() as u64).await;
                left = left.checked_sub(chunk.len() as u64).ok_or_else(|| source.bad_range(&blob))?;
                part.chunks.push(chunk);
            }
            if left > 0 { Err(source.bad_range(&blob)) } else { Ok(part) }
        }))
    }
}

/// Whole, in memory, for as long as its turn is held.
struct Part {
    chunks: Vec<Bytes>,
    _turn: Option<OwnedSemaphorePermit>,
}
