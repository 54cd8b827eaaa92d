//! The image store: what was pulled, each file of it once.
//!
//! ```text
//! objects/xx/yyyy…        file contents, named by fs-verity digest; overlay's data-only layer
//! layers/<diffID>         header streams
//! manifests/<digest>      as the registry gave them
//! configs/<digest>        as the registry gave them
//! trees/<digest>.erofs    the merged tree of a manifest
//! checkouts/<digest>/      the tree as a plain directory, where the host cannot mount the other
//! images/<digest>.json    the record that makes an image: written last, removed first
//! tmp/pull-…/             what is not whole yet; removed at the next start
//! ```
//!
//! A pull is usable when it returns. What it wrote is safe from a power loss after the next [`Store::sync`]; an image
//! that was not yet safe when the machine went down is verified object by object at the next start, and let go if it
//! is damaged.

mod assemble;
mod check;
mod checkout;
mod collect;
mod export;
mod import;
mod layer;
pub(crate) mod objects;
mod open;
mod progress;
mod pull;
mod record;

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::SystemTime;

use berth_sys::fs::{DirLock, FsError, sync_file_system, unique_name, write_atomic};

pub use self::check::{CheckProgress, Checked, DamagedImage};
pub use self::checkout::CheckoutError;
pub use self::collect::Collected;
pub use self::export::{ExportError, ExportName};
pub use self::import::ImportArchiveError;
use self::objects::Objects;
pub use self::progress::{Phase, Progress};
pub use self::pull::PullError;
use self::record::Record;
use crate::config::{ConfigBlob, ConfigError, ImageConfig};
use crate::digest::Digest;
use crate::import::limits::Limits;
use crate::platform::Platform;

/// The store. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    paths: Paths,
    objects: Arc<Objects>,
    limits: Limits,
    busy: Mutex<HashMap<Digest, Weak<tokio::sync::Mutex<()>>>>,
    collecting: Mutex<()>,
    /// Held while a record goes away or is rewritten, so that the one does not bring back what the other removed.
    recording: Mutex<()>,
    _lock: DirLock,
}

#[derive(Debug, Clone)]
struct Paths {
    root: PathBuf,
    objects: PathBuf,
    layers: PathBuf,
    manifests: PathBuf,
    configs: PathBuf,
    trees: PathBuf,
    checkouts: PathBuf,
    images: PathBuf,
    temporary: PathBuf,
}

impl Paths {
    fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            objects: root.join("objects"),
            layers: root.join("layers"),
            manifests: root.join("manifests"),
            configs: root.join("configs"),
            trees: root.join("trees"),
            checkouts: root.join("checkouts"),
            images: root.join("images"),
            temporary: root.join("tmp"),
        }
    }

    fn layer(&self, diff_id: &Digest) -> PathBuf {
        self.layers.join(diff_id.hex())
    }

    fn manifest(&self, digest: &Digest) -> PathBuf {
        self.manifests.join(digest.hex())
    }

    fn config(&self, digest: &Digest) -> PathBuf {
        self.configs.join(digest.hex())
    }

    fn tree(&self, digest: &Digest) -> PathBuf {
        self.trees.join(format!("{}.erofs", digest.hex()))
    }

    fn checkout(&self, digest: &Digest) -> PathBuf {
        self.checkouts.join(digest.hex())
    }

    fn image(&self, digest: &Digest) -> PathBuf {
        self.images.join(format!("{}.json", digest.hex()))
    }
}

/// Why the store could not do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it open.
    #[error("the image store {path} is in use by another process", path = path.display())]
    InUse {
        /// The store's directory.
        path: PathBuf,
    },
    /// A file of the store.
    #[error("the image store failed")]
    File(#[from] FsError),
    /// A file of the store.
    #[error("cannot {operation} {path}", path = path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A record that this version cannot read.
    #[error("the record {path} of the image store is damaged", path = path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A stored config that cannot be read any more.
    #[error("the stored config {digest} is damaged")]
    Config {
        /// The config's digest.
        digest: Digest,
        /// Why.
        #[source]
        source: ConfigError,
    },
}

impl StoreError {
    fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { operation, path, source }
    }
}

/// An image of the store.
#[derive(Debug, Clone)]
pub struct StoredImage {
    /// The digest of the platform's manifest: the image's id.
    pub digest: Digest,
    /// The digest of the config.
    pub config_digest: Digest,
    /// The platform.
    pub platform: Platform,
    /// When it was made, as it says itself (RFC 3339).
    pub created: Option<String>,
    /// How it wants to be run.
    pub config: ImageConfig,
    /// The layers, the lowest first.
    pub layers: Vec<StoredLayer>,
    /// Bytes of the layers as the registry holds them.
    pub size: u64,
    /// The EROFS file of the merged tree.
    pub tree: PathBuf,
    /// When it was pulled, or used last.
    pub used: SystemTime,
}

/// A layer of an image.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StoredLayer {
    /// Of the compressed layer.
    pub digest: Digest,
    /// Of the inflated layer.
    pub diff_id: Digest,
    /// Bytes of the compressed layer.
    pub size: u64,
}

impl Store {
    /// Opens the store in this directory, making it where it is missing, and clears away what was left half done.
    /// Blocks. One process has a store open at a time.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        Self::open_with(root, Limits::default())
    }

    /// As [`Store::open`], with limits of one's own.
    pub fn open_with(root: &Path, limits: Limits) -> Result<Self, StoreError> {
        open::open(root, limits)
    }

    /// A directory that is not there, for short work on the store's file system; what is left in it goes at the next start.
    pub fn scratch_dir(&self) -> PathBuf {
        self.inner.paths.temporary.join(unique_name("probe-"))
    }

    /// Whether objects are protected by fs-verity: the file system has it.
    pub fn has_verity(&self) -> bool {
        self.inner.objects.verity
    }

    /// The directory that holds the files' contents: overlay's data-only layer.
    pub fn objects_dir(&self) -> &Path {
        &self.inner.paths.objects
    }

    /// An image by the digest of its manifest. Blocks shortly.
    pub fn get(&self, digest: &Digest) -> Result<Option<StoredImage>, StoreError> {
        match Record::read(&self.inner.paths.image(digest))? {
            None => Ok(None),
            Some(record) => self.inner.stored(record).map(Some),
        }
    }

    /// All images, by digest. Blocks shortly.
    pub fn list(&self) -> Result<Vec<StoredImage>, StoreError> {
        let records = self.inner.records()?;
        records.into_iter().map(|record| self.inner.stored(record)).collect()
    }

    /// Removes an image; its files go with the next collection. Says whether there was one. The caller sees to it that
    /// nothing runs from it.
    pub fn remove(&self, digest: &Digest) -> Result<bool, StoreError> {
        let path = self.inner.paths.image(digest);
        let _guard = self.inner.recording.lock().unwrap_or_else(PoisonError::into_inner);
        match std::fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(StoreError::io("remove", &path)(source)),
        }
    }

    /// Removes what no image and no pull under way needs. Safe beside pulls. Blocks.
    pub fn collect(&self) -> Result<Collected, StoreError> {
        self.inner.collect()
    }

    /// What removing these images, and a collection after it, would take away. Changes nothing. Blocks.
    pub fn would_collect(&self, without: &HashSet<Digest>) -> Result<Collected, StoreError> {
        self.inner.would_collect(without)
    }

    /// Notes that an image is used now, for policies that go by age. Blocks shortly.
    pub fn touch(&self, digest: &Digest) -> Result<(), StoreError> {
        let path = self.inner.paths.image(digest);
        let times = std::fs::FileTimes::new().set_modified(SystemTime::now());
        match std::fs::File::options().append(true).open(&path).and_then(|file| file.set_times(times)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::io("touch", &path)(error))
            }
            _ => Ok(()),
        }
    }

    /// The durability barrier: waits until every image that is there now would survive a power loss. Blocks, and may
    /// take long on a busy disk; nothing needs to wait for it.
    pub fn sync(&self) -> Result<(), StoreError> {
        let unsafe_yet: Vec<Record> =
            self.inner.records()?.into_iter().filter(|record| !record.durable).collect();
        if unsafe_yet.is_empty() {
            return Ok(());
        }
        sync_file_system(&self.inner.objects.dir)?;
        for mut record in unsafe_yet {
            let path = self.inner.paths.image(&record.digest);
            record.durable = true;
            let _guard = self.inner.recording.lock().unwrap_or_else(PoisonError::into_inner);
            // An image that was removed meanwhile is not brought back.
            if path.exists() {
                write_atomic(&path, &record.to_json(), 0o600)?;
            }
        }
        Ok(())
    }
}

impl Inner {
    fn records(&self) -> Result<Vec<Record>, StoreError> {
        let mut records = Vec::new();
        for digest in record::digests_in(&self.paths.images, ".json")? {
            // One that goes away between the listing and the reading is none.
            records.extend(Record::read(&self.paths.image(&digest))?);
        }
        records.sort_by_key(|record| record.digest);
        Ok(records)
    }

    fn stored(&self, record: Record) -> Result<StoredImage, StoreError> {
        let path = self.paths.config(&record.config);
        let bytes = std::fs::read(&path).map_err(StoreError::io("read", &path))?;
        let blob = ConfigBlob::parse(&bytes)
            .map_err(|source| StoreError::Config { digest: record.config, source })?;
        Ok(StoredImage {
            digest: record.digest,
            config_digest: record.config,
            platform: record.platform,
            created: blob.created,
            config: blob.config,
            size: record.layers.iter().map(|layer| layer.size).sum(),
            tree: self.paths.tree(&record.digest),
            used: self.used(&record.digest),
            layers: record.layers,
        })
    }

    fn used(&self, digest: &Digest) -> SystemTime {
        let metadata = std::fs::metadata(self.paths.image(digest));
        metadata.and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// A lock for one thing that is being fetched, so that two who want it fetch it once.
    fn busy(&self, digest: &Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = busy.get(digest).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::new(tokio::sync::Mutex::new(()));
        busy.insert(*digest, Arc::downgrade(&lock));
        lock
    }
}
