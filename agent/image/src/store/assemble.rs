//! An image on its way into the store, wherever it comes from: layers imported, merged, written as EROFS, and recorded.

use std::collections::HashSet;
use std::sync::Arc;

use super::objects::Session;
use super::record::{self, Record};
use super::{Inner, PullError, StoreError, StoredImage, StoredLayer};
use crate::config::ConfigBlob;
use crate::digest::Digest;
use crate::import::compressed::ChunkSource;
use crate::import::{Expected, ImportError, import_layer};
use crate::merge::merge;
use crate::platform::Platform;
use crate::registry::{Descriptor, ImageManifest};

/// One layer to get.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// Counted from 1.
    pub number: usize,
    pub blob: Descriptor,
    pub diff_id: Digest,
}

/// What is known of an image beside its layers.
pub(super) struct Documents {
    /// Of `manifest`: the image's id.
    pub digest: Digest,
    pub manifest: Vec<u8>,
    pub config: Vec<u8>,
    pub config_digest: Digest,
    pub platform: Platform,
}

/// What holds an image together while it is made. All of it blocks.
pub(super) struct Assembly {
    inner: Arc<Inner>,
    session: Session,
    /// What the image is called in errors.
    reference: String,
}

impl Assembly {
    pub(super) fn begin(
        inner: &Arc<Inner>,
        reference: &str,
        documents: &Documents,
        distrusted: HashSet<Digest>,
    ) -> Result<Self, StoreError> {
        let session = Session::begin(&inner.objects, &inner.paths.temporary, distrusted)?;
        session.pin(&documents.digest);
        session.pin(&documents.config_digest);
        Ok(Self { inner: Arc::clone(inner), session, reference: reference.to_owned() })
    }

    /// Pinned first and looked for then, as objects are.
    pub(super) fn has(&self, layer: &Wanted) -> bool {
        self.session.pin(&layer.diff_id);
        !self.session.distrusts(&layer.diff_id) && self.inner.paths.layer(&layer.diff_id).exists()
    }

    pub(super) fn import(&self, layer: &Wanted, chunks: impl ChunkSource + Send) -> Result<(), PullError> {
        let import = || {
            let (stream, path) = self.session.temporary_file()?;
            let expected =
                Expected { digest: layer.blob.digest, size: layer.blob.size, diff_id: layer.diff_id };
            import_layer(chunks, expected, &self.session, stream, &self.inner.limits)?;
            let target = self.inner.paths.layer(&layer.diff_id);
            std::fs::rename(&path, &target).map_err(|source| ImportError::Write { path: target, source })
        };
        import().map_err(|source| PullError::Import {
            reference: self.reference.clone(),
            layer: layer.number,
            digest: layer.blob.digest,
            source: Box::new(source),
        })
    }

    /// Merges the layers and puts the files of the image in place, its record last.
    pub(super) fn finish(&self, documents: &Documents, layers: &[Wanted]) -> Result<StoredImage, PullError> {
        let streams: Vec<_> = layers.iter().map(|layer| self.inner.paths.layer(&layer.diff_id)).collect();
        let merged = merge(&streams, &self.inner.limits).and_then(|tree| crate::erofs::write(&tree));
        let tree = merged.map_err(|source| PullError::Merge { reference: self.reference.clone(), source })?;
        let record = Record {
            version: record::VERSION,
            digest: documents.digest,
            config: documents.config_digest,
            platform: documents.platform.clone(),
            layers: layers.iter().map(Wanted::stored).collect(),
            tree: Digest::of(&tree),
            durable: false,
            boot: record::boot_id(),
        };
        self.commit(record, documents, &tree)
            .map_err(|source| PullError::Store { reference: self.reference.clone(), source })
    }

    fn commit(&self, record: Record, documents: &Documents, tree: &[u8]) -> Result<StoredImage, StoreError> {
        let paths = &self.inner.paths;
        self.session.put(&documents.manifest, &paths.manifest(&record.digest))?;
        self.session.put(&documents.config, &paths.config(&record.config))?;
        self.session.put(tree, &paths.tree(&record.digest))?;
        self.session.put(&record.to_json(), &paths.image(&record.digest))?;
        self.inner.stored(record)
    }
}

impl Wanted {
    fn stored(&self) -> StoredLayer {
        StoredLayer { digest: self.blob.digest, diff_id: self.diff_id, size: self.blob.size }
    }
}

/// Bytes of all layers, as far as that is a number.
pub(super) fn total_size(layers: &[Wanted]) -> u64 {
    layers.iter().fold(0, |total, layer| total.saturating_add(layer.blob.size))
}

impl Inner {
    /// The layers of a manifest, each with the diffID that the config gives it.
    pub(super) fn wanted(
        &self,
        reference: &str,
        manifest: &ImageManifest,
        config: &ConfigBlob,
    ) -> Result<Vec<Wanted>, PullError> {
        let (layers, limit) = (manifest.layers.len(), self.limits.max_layers);
        if layers as u64 > limit {
            return Err(PullError::TooManyLayers { reference: reference.to_owned(), layers, limit });
        }
        let diff_ids = config.diff_ids.len();
        if layers != diff_ids {
            return Err(PullError::LayerCount { reference: reference.to_owned(), layers, diff_ids });
        }
        let pairs = manifest.layers.iter().zip(&config.diff_ids).enumerate();
        let wanted = |(index, (blob, diff_id)): (usize, (&Descriptor, &Digest))| Wanted {
            number: index + 1,
            blob: blob.clone(),
            diff_id: *diff_id,
        };
        Ok(pairs.map(wanted).collect())
    }
}
