//! An image as an OCI archive: from what is stored, or as the registry has it.
//!
//! From what is stored the layers are plain tar streams: the config and the diffIDs are the image's own, and so is what
//! runs from it; the manifest is another, since the compressed layers are not kept.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};

use bytes::Bytes;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::layer::{LayerReader, tar_size};
use super::{Store, StoreError, StoredImage};
use crate::archive::Writer;
use crate::digest::Digest;
use crate::registry::{Client, Descriptor, Document, ManifestBytes, RegistryError, Sink, write_manifest};

/// Chunks of a layer that wait for the one who reads.
const CHUNKS_UNDER_WAY: usize = 16;

/// Why an image was not exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// There is no such image.
    #[error("there is no image {0}")]
    NotThere(Digest),
    /// The store.
    #[error("the image cannot be read")]
    Store(#[from] StoreError),
    /// The one who receives it.
    #[error("the archive cannot be written")]
    Write(#[source] io::Error),
    /// A layer that is damaged.
    #[error("layer {layer} of the image is damaged: berth image check says more")]
    Damaged {
        /// Counted from 1.
        layer: usize,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The registry has not what it had.
    #[error("the image cannot be fetched again")]
    Registry(#[from] RegistryError),
}

/// What an export is called inside the archive.
#[derive(Debug, Clone, Default)]
pub struct ExportName {
    /// The whole reference, for those who load it.
    pub reference: Option<String>,
    /// Its tag.
    pub tag: Option<String>,
}

impl Store {
    /// Writes an image from what is stored. Blocks.
    pub fn export(&self, digest: &Digest, name: &ExportName, writer: impl Write) -> Result<(), ExportError> {
        let image = self.get(digest)?.ok_or(ExportError::NotThere(*digest))?;
        // No collection takes it away meanwhile.
        let _working = self.inner.objects.work();
        let paths = &self.inner.paths;
        let config = read(&paths.config(&image.config_digest))?;
        let mut layers = Vec::new();
        for (index, layer) in image.layers.iter().enumerate() {
            let size = tar_size(&paths.layer(&layer.diff_id));
            let size = size.map_err(|source| ExportError::Damaged { layer: index + 1, source })?;
            layers.push((layer.diff_id, size));
        }
        let manifest = write_manifest(&image.config_digest, config.len() as u64, &layers);
        let mut archive = head(writer, &image, &manifest, name)?;
        archive.blob(&image.config_digest, &config).map_err(ExportError::Write)?;
        let mut written = BTreeSet::new();
        for (index, (diff_id, size)) in layers.iter().enumerate() {
            if !written.insert(*diff_id) {
                continue;
            }
            let damaged = |source| ExportError::Damaged { layer: index + 1, source };
            let reader = LayerReader::open(&paths.layer(diff_id), &paths.objects).map_err(damaged)?;
            let mut reader = Marked { reader, failed: false };
            let copied = archive.stream(diff_id, *size, &mut reader);
            copied
                .map_err(|source| if reader.failed { damaged(source) } else { ExportError::Write(source) })?;
        }
        archive.finish().map_err(ExportError::Write)
    }

    /// Writes an image as the registry has it: its own manifest and its own blobs, each checked. Blocks; the runtime is
    /// the one that the client's connections live on.
    pub fn export_original(
        &self,
        digest: &Digest,
        source: (&Client, &str),
        name: &ExportName,
        runtime: &Handle,
        writer: impl Write,
    ) -> Result<(), ExportError> {
        let image = self.get(digest)?.ok_or(ExportError::NotThere(*digest))?;
        let manifest = read(&self.inner.paths.manifest(digest))?;
        let config = read(&self.inner.paths.config(&image.config_digest))?;
        let found = ManifestBytes { digest: *digest, media_type: None, bytes: manifest };
        let Document::Manifest(parsed) = Document::parse(&found, &digest.to_string())? else {
            return Err(ExportError::NotThere(*digest));
        };
        let mut archive = head(writer, &image, &found.bytes, name)?;
        archive.blob(&image.config_digest, &config).map_err(ExportError::Write)?;
        let mut written = BTreeSet::new();
        let (client, repository) = source;
        for layer in parsed.layers.iter().filter(|layer| written.insert(layer.digest)) {
            let mut body = Fetched::begin(client, repository, layer, runtime);
            let copied = archive.stream(&layer.digest, layer.size, &mut body);
            body.finish(layer)?;
            copied.map_err(ExportError::Write)?;
        }
        archive.finish().map_err(ExportError::Write)
    }
}

fn read(path: &std::path::Path) -> Result<Vec<u8>, StoreError> {
    std::fs::read(path).map_err(StoreError::io("read", path))
}

/// The beginning of the archive: what readers look for first.
fn head<W: Write>(
    writer: W,
    image: &StoredImage,
    manifest: &[u8],
    name: &ExportName,
) -> Result<Writer<W>, ExportError> {
    let digest = Digest::of(manifest);
    let mut annotations = serde_json::Map::new();
    if let Some(tag) = &name.tag {
        annotations.insert("org.opencontainers.image.ref.name".to_owned(), json!(tag));
    }
    if let Some(reference) = &name.reference {
        annotations.insert("io.containerd.image.name".to_owned(), json!(reference));
    }
    let mut platform = json!({ "os": image.platform.os, "architecture": image.platform.architecture });
    if let Some(variant) = &image.platform.variant {
        platform["variant"] = json!(variant);
    }
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest.to_string(),
            "size": manifest.len(),
            "platform": platform,
            "annotations": annotations,
        }],
    });
    let begin = |archive: &mut Writer<W>| {
        archive.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        archive.file("index.json", index.to_string().as_bytes())?;
        archive.blob(&digest, manifest)
    };
    let mut archive = Writer::new(writer);
    begin(&mut archive).map_err(ExportError::Write)?;
    Ok(archive)
}

/// Remembers that it was the reading that failed.
struct Marked<R> {
    reader: R,
    failed: bool,
}

impl<R: Read> Read for Marked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer);
        self.failed |= read.is_err();
        read
    }
}

/// A blob as it comes, read from a thread that may block.
struct Fetched<'c> {
    chunks: mpsc::Receiver<Bytes>,
    fetching: JoinHandle<Result<(), RegistryError>>,
    runtime: &'c Handle,
    chunk: Bytes,
    hash: Sha256,
    size: u64,
}

impl<'c> Fetched<'c> {
    fn begin(client: &Client, repository: &str, blob: &Descriptor, runtime: &'c Handle) -> Self {
        let (sender, chunks) = mpsc::channel(CHUNKS_UNDER_WAY);
        let (client, repository, blob) = (client.clone(), repository.to_owned(), blob.clone());
        let fetching = runtime.spawn(async move {
            let mut sink = Sink::new(sender, &|_| {});
            let fetched = client.fetch(&repository, &blob, false, &mut sink).await;
            sink.close();
            fetched
        });
        Self { chunks, fetching, runtime, chunk: Bytes::new(), hash: Sha256::new(), size: 0 }
    }

    fn finish(mut self, blob: &Descriptor) -> Result<(), RegistryError> {
        // The sending side must not wait for a reader that has gone.
        self.chunks.close();
        if let Ok(fetched) = self.runtime.block_on(self.fetching) {
            fetched?;
        }
        let what = format!("blob {}", blob.digest);
        if self.size != blob.size {
            return Err(RegistryError::SizeMismatch { what, expected: blob.size, actual: self.size });
        }
        let actual = Digest::from_bytes(self.hash.finalize().into());
        if actual != blob.digest {
            return Err(RegistryError::DigestMismatch { what, expected: blob.digest, actual });
        }
        Ok(())
    }
}

impl Read for Fetched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            let Some(chunk) = self.chunks.blocking_recv() else { return Ok(0) };
            self.hash.update(&chunk);
            self.size += chunk.len() as u64;
            self.chunk = chunk;
        }
        let count = buffer.len().min(self.chunk.len());
        buffer[..count].copy_from_slice(&self.chunk.split_to(count));
        Ok(count)
    }
}
