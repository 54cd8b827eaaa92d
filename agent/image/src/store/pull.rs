//! A pull: layers fetched and imported side by side, merged, written as EROFS, and recorded.

use std::collections::HashSet;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::assemble::{Assembly, Documents, Wanted, total_size};
use super::progress::{Phase, Progress, Tracker};
use super::{DamagedImage, Inner, Store, StoreError, StoredImage};
use crate::config::{ConfigBlob, ConfigError};
use crate::digest::Digest;
use crate::import::ImportError;
use crate::merge::MergeError;
use crate::registry::{Client, Document, ImageManifest, ManifestBytes, RegistryError, Selector, Sink};
use crate::resolve::{Resolved, fetch_config};

/// Each has two threads and a few MiB of buffers.
const LAYERS_AT_ONCE: usize = 4;
/// Chunks of a layer that wait for the importing thread.
const CHUNKS_UNDER_WAY: usize = 16;

/// Why a pull failed.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The registry.
    #[error("cannot pull {reference}")]
    Registry {
        /// `host/repository@digest`.
        reference: String,
        /// Why.
        #[source]
        source: RegistryError,
    },
    /// The digest is an index's.
    #[error("{reference} is an index, not one platform's manifest")]
    NotAManifest {
        /// `host/repository@digest`.
        reference: String,
    },
    /// The image's config.
    #[error("cannot use the config of {reference}")]
    Config {
        /// `host/repository@digest`.
        reference: String,
        /// Why.
        #[source]
        source: ConfigError,
    },
    /// Manifest and config disagree on the layers.
    #[error("{reference} has {layers} layers in its manifest and {diff_ids} in its config")]
    LayerCount {
        /// `host/repository@digest`.
        reference: String,
        /// In the manifest.
        layers: usize,
        /// In the config.
        diff_ids: usize,
    },
    /// More layers than allowed.
    #[error("{reference} has {layers} layers: over the limit max_layers of {limit}")]
    TooManyLayers {
        /// `host/repository@digest`.
        reference: String,
        /// In the manifest.
        layers: usize,
        /// The limit.
        limit: u64,
    },
    /// A layer that was refused.
    #[error("layer {layer} of {reference} ({digest}) cannot be imported")]
    Import {
        /// `host/repository@digest`.
        reference: String,
        /// Counted from 1.
        layer: usize,
        /// The layer's digest.
        digest: Digest,
        /// Why.
        #[source]
        source: Box<ImportError>,
    },
    /// The layers do not make an image.
    #[error("the layers of {reference} cannot be merged")]
    Merge {
        /// `host/repository@digest`.
        reference: String,
        /// Why.
        #[source]
        source: MergeError,
    },
    /// The store.
    #[error("cannot store {reference}")]
    Store {
        /// `host/repository@digest`.
        reference: String,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// A thread of the pull died.
    #[error("the pull of {reference} stopped unexpectedly")]
    Panicked {
        /// `host/repository@digest`.
        reference: String,
    },
}

/// What one pull works with.
struct Pull<'p> {
    inner: &'p Arc<Inner>,
    client: &'p Client,
    resolved: &'p Resolved,
    assembly: Arc<Assembly>,
    tracker: Tracker<'p>,
}

impl Store {
    /// Pulls an image; if it is there already, nothing is asked of the registry. Two pulls of one image at once share
    /// the work. A pull that fails or is dropped leaves nothing but whole layers' files, which the next collection takes.
    pub async fn pull(
        &self,
        client: &Client,
        resolved: &Resolved,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<StoredImage, PullError> {
        let reference = &resolved.reference_resolved;
        // Even where the image is there: it may have come from elsewhere.
        let verified = client.verify(&resolved.repository, &resolved.manifest, &resolved.root).await;
        verified.map_err(|source| PullError::Registry { reference: reference.clone(), source })?;
        let lock = self.inner.busy(&resolved.manifest);
        let _turn = lock.lock().await;
        let store = self.clone();
        let digest = resolved.manifest;
        if let Some(image) = blocking(reference, move || store.get(&digest)).await? {
            Tracker::new(progress, image.size, image.layers.len()).was_there();
            return Ok(image);
        }
        Tracker::new(progress, 0, 0).tell(Phase::Resolving);
        self.pull_missing(client, resolved, HashSet::new(), progress).await
    }

    /// Fetches again what a check found damaged of an image; until all of it is there, nothing changes. Other images that
    /// have the same files are mended with it.
    pub async fn repair(
        &self,
        client: &Client,
        resolved: &Resolved,
        damaged: &DamagedImage,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<StoredImage, PullError> {
        let lock = self.inner.busy(&resolved.manifest);
        let _turn = lock.lock().await;
        self.pull_missing(client, resolved, damaged.distrusted.clone(), progress).await
    }

    async fn pull_missing(
        &self,
        client: &Client,
        resolved: &Resolved,
        distrusted: HashSet<Digest>,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<StoredImage, PullError> {
        let reference = &resolved.reference_resolved;
        let (found, manifest, config) = documents(client, resolved).await?;
        let blob = ConfigBlob::parse(&config)
            .map_err(|source| PullError::Config { reference: reference.clone(), source })?;
        let layers = self.inner.wanted(reference, &manifest, &blob)?;

        let documents = Documents {
            digest: resolved.manifest,
            manifest: found.bytes,
            config,
            config_digest: manifest.config.digest,
            platform: resolved.platform.clone(),
        };
        let (inner, name) = (Arc::clone(&self.inner), reference.clone());
        let begun = blocking(reference, move || {
            let assembly = Assembly::begin(&inner, &name, &documents, distrusted)?;
            Ok((assembly, documents))
        });
        let (assembly, documents) = begun.await?;
        let total = total_size(&layers);
        let tracker = Tracker::new(progress, total, layers.len());
        let pull = Pull { inner: &self.inner, client, resolved, assembly: Arc::new(assembly), tracker };
        pull.tracker.tell(Phase::Fetching);
        pull.fetch_all(&layers).await?;
        pull.tracker.tell(Phase::Merging);
        let image = pull.finish(documents, layers).await?;
        pull.tracker.tell(Phase::Done);
        Ok(image)
    }
}

/// The manifest and the config, from the registry where resolving has not brought them.
async fn documents(
    client: &Client,
    resolved: &Resolved,
) -> Result<(ManifestBytes, ImageManifest, Vec<u8>), PullError> {
    let reference = || resolved.reference_resolved.clone();
    let failed = |source| PullError::Registry { reference: reference(), source };
    let found = match &resolved.fetched {
        Some(found) => found.clone(),
        None => {
            let selector = Selector::Digest(&resolved.manifest);
            client.manifest(&resolved.repository, selector).await.map_err(failed)?
        }
    };
    let document = Document::parse(&found, &resolved.reference_resolved).map_err(failed)?;
    let Document::Manifest(manifest) = document else {
        return Err(PullError::NotAManifest { reference: reference() });
    };
    let config = match &resolved.config {
        Some(config) => config.clone(),
        None => fetch_config(client, &resolved.repository, &manifest.config).await.map_err(failed)?,
    };
    Ok((found, manifest, config))
}

impl Pull<'_> {
    /// The largest first, so that it does not come last and alone.
    async fn fetch_all(&self, layers: &[Wanted]) -> Result<(), PullError> {
        let mut order: Vec<Wanted> = layers.to_vec();
        order.sort_by_key(|layer| std::cmp::Reverse(layer.blob.size));
        stream::iter(order)
            .map(|layer| self.layer(layer))
            .buffer_unordered(LAYERS_AT_ONCE)
            .try_collect::<()>()
            .await
    }

    async fn layer(&self, layer: Wanted) -> Result<(), PullError> {
        let lock = self.inner.busy(&layer.diff_id);
        let _turn = lock.lock().await;
        if self.assembly.has(&layer) {
            self.tracker.bytes(layer.blob.size);
            self.tracker.layer_done();
            return Ok(());
        }
        let fetched = match self.fetch_layer(&layer, false).await {
            // What a mirror spoilt, the registry may have whole.
            Err(PullError::Import { source, .. }) if self.client.has_mirrors() && source.is_bad_content() => {
                tracing::warn!(layer = %layer.blob.digest, error = %source, "fetching a layer from the registry itself");
                self.fetch_layer(&layer, true).await
            }
            fetched => fetched,
        };
        fetched?;
        self.tracker.layer_done();
        Ok(())
    }

    async fn fetch_layer(&self, layer: &Wanted, registry_only: bool) -> Result<(), PullError> {
        let (sender, chunks) = mpsc::channel(CHUNKS_UNDER_WAY);
        let (assembly, wanted) = (Arc::clone(&self.assembly), layer.clone());
        let import = spawn_blocking(move || assembly.import(&wanted, chunks));
        let tell = |bytes| self.tracker.bytes(bytes);
        let mut sink = Sink::new(sender, &tell);
        let repository = &self.resolved.repository;
        let fetched = self.client.fetch(repository, &layer.blob, registry_only, &mut sink).await;
        let position = sink.close();
        let imported = import.await;
        if fetched.is_err() || !matches!(imported, Ok(Ok(()))) {
            self.tracker.take_back(position);
        }
        fetched.map_err(|source| self.registry_error(source))?;
        imported.unwrap_or_else(|_| Err(PullError::Panicked { reference: self.reference() }))
    }

    async fn finish(&self, documents: Documents, layers: Vec<Wanted>) -> Result<StoredImage, PullError> {
        let assembly = Arc::clone(&self.assembly);
        let finished = spawn_blocking(move || assembly.finish(&documents, &layers)).await;
        finished.unwrap_or_else(|_| Err(PullError::Panicked { reference: self.reference() }))
    }

    fn reference(&self) -> String {
        self.resolved.reference_resolved.clone()
    }

    fn registry_error(&self, source: RegistryError) -> PullError {
        PullError::Registry { reference: self.reference(), source }
    }
}

/// Runs a short operation of the store where it may block.
async fn blocking<T: Send + 'static>(
    reference: &str,
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, PullError> {
    match spawn_blocking(work).await {
        Ok(result) => result.map_err(|source| PullError::Store { reference: reference.to_owned(), source }),
        Err(_) => Err(PullError::Panicked { reference: reference.to_owned() }),
    }
}
