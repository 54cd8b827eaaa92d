//! An image from an archive, into the same store as pulled ones.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::assemble::{Assembly, Documents, total_size};
use super::progress::{Phase, Progress, Tracker};
use super::{PullError, Store, StoreError, StoredImage};
use crate::archive::{ArchiveError, Candidate, Container, Selection, find};
use crate::config::ConfigBlob;
use crate::import::compressed::decoder;
use crate::registry::{Document, ManifestBytes};

/// Each has two threads.
const LAYERS_AT_ONCE: usize = 4;

/// Why an archive was not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportArchiveError {
    /// The archive.
    #[error("{name} cannot be imported")]
    Archive {
        /// What the archive is called.
        name: String,
        /// Why.
        #[source]
        source: ArchiveError,
    },
    /// The image in it.
    #[error(transparent)]
    Image(#[from] PullError),
    /// The store.
    #[error("cannot store what is in {name}")]
    Store {
        /// What the archive is called.
        name: String,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// More than is allowed.
    #[error("{name} is over the limit max_archive_bytes of {limit}")]
    TooLarge {
        /// What the archive is called.
        name: String,
        /// The limit.
        limit: u64,
    },
}

impl Store {
    /// A file of the store's own for an archive that is being received; it has no name and goes when it is closed.
    /// Blocks.
    pub fn scratch(&self) -> Result<File, StoreError> {
        let dir = &self.inner.paths.temporary;
        berth_sys::fs::unnamed_file(dir).map_err(StoreError::from)
    }

    /// The most bytes that an archive may have, compressed or not.
    pub fn max_archive_bytes(&self) -> u64 {
        self.inner.limits.max_archive_bytes
    }

    /// Imports an image from an archive, gzip or zstd or not; `name` is what it is called in errors. Blocks.
    pub fn import(
        &self,
        archive: File,
        name: &str,
        selection: &Selection,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<StoredImage, ImportArchiveError> {
        Tracker::new(progress, 0, 0).tell(Phase::Resolving);
        let refused = |source| ImportArchiveError::Archive { name: name.to_owned(), source };
        let archive = self.inflated(archive, name)?;
        let container = Container::open(archive, &self.inner.limits).map_err(refused)?;
        let candidate = find(&container, selection).map_err(refused)?;
        if let Some(image) = self
            .get(&candidate.digest)
            .map_err(|source| ImportArchiveError::Store { name: name.to_owned(), source })?
        {
            Tracker::new(progress, image.size, image.layers.len()).was_there();
            return Ok(image);
        }
        self.import_missing(&container, candidate, name, progress)
    }

    fn import_missing(
        &self,
        container: &Container,
        candidate: Candidate,
        name: &str,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<StoredImage, ImportArchiveError> {
        let refused = |source| ImportArchiveError::Archive { name: name.to_owned(), source };
        let blob = ConfigBlob::parse(&candidate.config)
            .map_err(|source| PullError::Config { reference: name.to_owned(), source })?;
        let found = ManifestBytes { digest: candidate.digest, media_type: None, bytes: candidate.manifest };
        let parsed = Document::parse(&found, name).map_err(|error| refused(ArchiveError::Manifest(error)))?;
        let Document::Manifest(manifest) = parsed else {
            return Err(PullError::NotAManifest { reference: name.to_owned() }.into());
        };
        let layers = self.inner.wanted(name, &manifest, &blob)?;
        let documents = Documents {
            digest: candidate.digest,
            manifest: found.bytes,
            config: candidate.config,
            config_digest: manifest.config.digest,
            platform: candidate.platform,
        };
        let assembly = Assembly::begin(&self.inner, name, &documents, HashSet::new())
            .map_err(|source| ImportArchiveError::Store { name: name.to_owned(), source })?;
        let total = total_size(&layers);
        let tracker = Tracker::new(progress, total, layers.len());
        tracker.tell(Phase::Fetching);
        let mut work: Vec<_> = layers.iter().zip(&candidate.layers).collect();
        work.sort_by_key(|(layer, _)| std::cmp::Reverse(layer.blob.size));
        import_all(&work, |(layer, member)| {
            if !assembly.has(layer) {
                assembly.import(layer, container.chunks(**member))?;
            }
            tracker.bytes(layer.blob.size);
            tracker.layer_done();
            Ok(())
        })?;
        tracker.tell(Phase::Merging);
        let image = assembly.finish(&documents, &layers)?;
        tracker.tell(Phase::Done);
        Ok(image)
    }

    /// The archive itself, or what it inflates to.
    fn inflated(&self, mut archive: File, name: &str) -> Result<File, ImportArchiveError> {
        let refused = |source| ImportArchiveError::Archive {
            name: name.to_owned(),
            source: ArchiveError::Read(source),
        };
        let limit = self.inner.limits.max_archive_bytes;
        let too_large = || ImportArchiveError::TooLarge { name: name.to_owned(), limit };
        archive.rewind().map_err(refused)?;
        if archive.metadata().map_err(refused)?.len() > limit {
            return Err(too_large());
        }
        let mut magic = [0; 4];
        let known = crate::import::fill(&mut archive, &mut magic).map_err(refused)?;
        archive.rewind().map_err(refused)?;
        if !matches!(&magic[..known], [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd]) {
            return Ok(archive);
        }
        let mut inflated =
            self.scratch().map_err(|source| ImportArchiveError::Store { name: name.to_owned(), source })?;
        let reader = decoder(BufReader::new(archive), &self.inner.limits).map_err(refused)?;
        let written = io::copy(&mut reader.take(limit + 1), &mut inflated).map_err(refused)?;
        if written > limit {
            return Err(too_large());
        }
        inflated.flush().map_err(refused)?;
        Ok(inflated)
    }
}

/// Some at a time, in order; after a failure nothing new is begun.
fn import_all<T: Sync>(
    work: &[T],
    import: impl Fn(&T) -> Result<(), PullError> + Sync,
) -> Result<(), PullError> {
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..LAYERS_AT_ONCE.min(work.len()) {
            scope.spawn(|| {
                while let Some(item) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = import(item) {
                        next.store(work.len(), Ordering::Relaxed);
                        failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                        return;
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}
