//! An OCI image layout: `index.json`, and blobs by their digest.

use serde::Deserialize;

use super::container::{Container, blob_name, shown};
use super::{ArchiveError, Candidate, MAX_INDEX, Selection, choose};
use crate::config::ConfigBlob;
use crate::digest::Digest;
use crate::platform::Platform;
use crate::registry::{Document, IndexEntry, MAX_CONFIG, MAX_MANIFEST, ManifestBytes};

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    digest: Digest,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
}

/// Under which the makers of layouts put an image's name.
const NAMES: [&str; 2] = ["org.opencontainers.image.ref.name", "io.containerd.image.name"];

pub(super) fn find(container: &Container, selection: &Selection) -> Result<Candidate, ArchiveError> {
    let bytes = container.read("index.json", "max_index", MAX_INDEX)?;
    let index: Index = serde_json::from_slice(&bytes)
        .map_err(|source| ArchiveError::Json { name: "index.json".to_owned(), source })?;
    let named = index.manifests.into_iter().map(|entry| {
        let names = NAMES.iter().filter_map(|name| entry.annotations.get(*name).cloned()).collect();
        (names, entry.digest)
    });
    // Without names, the entries are one image's platforms.
    let named: Vec<(Vec<String>, Digest)> = named.collect();
    let unnamed = named.iter().all(|(names, _)| names.is_empty());
    let roots = choose(named, selection.name.as_deref(), unnamed)?;
    let mut found = Vec::new();
    for root in roots {
        open(container, root, &mut found)?;
    }
    best(found, &selection.platform)
}

/// A manifest, or the manifests of an index.
fn open(container: &Container, digest: Digest, found: &mut Vec<Candidate>) -> Result<(), ArchiveError> {
    match document(container, digest)? {
        (bytes, Document::Manifest(_)) => found.push(candidate(container, digest, bytes)?),
        (_, Document::Index(entries)) => {
            for entry in entries.into_iter().filter(is_image) {
                // An archive of one platform often keeps the index of all.
                if !container.has(&blob_name(&entry.digest)) {
                    continue;
                }
                if let (bytes, Document::Manifest(_)) = document(container, entry.digest)? {
                    found.push(candidate(container, entry.digest, bytes)?);
                }
            }
        }
    }
    Ok(())
}

/// Attestations have an unknown platform.
fn is_image(entry: &IndexEntry) -> bool {
    entry.platform.as_ref().is_none_or(|platform| platform.os != "unknown")
}

fn document(container: &Container, digest: Digest) -> Result<(Vec<u8>, Document), ArchiveError> {
    let bytes = container.blob(&digest, "max_manifest", MAX_MANIFEST)?;
    let found = ManifestBytes { digest, media_type: None, bytes };
    let document = Document::parse(&found, &shown(&blob_name(&digest))).map_err(ArchiveError::Manifest)?;
    Ok((found.bytes, document))
}

fn candidate(container: &Container, digest: Digest, manifest: Vec<u8>) -> Result<Candidate, ArchiveError> {
    let found = ManifestBytes { digest, media_type: None, bytes: manifest };
    let parsed = Document::parse(&found, &shown(&blob_name(&digest))).map_err(ArchiveError::Manifest)?;
    let Document::Manifest(parsed) = parsed else {
        return Err(ArchiveError::Missing(blob_name(&digest)));
    };
    let config = container.blob(&parsed.config.digest, "max_config", MAX_CONFIG)?;
    let blob = ConfigBlob::parse(&config).map_err(ArchiveError::Config)?;
    let layers = parsed.layers.iter().map(|layer| container.member(&blob_name(&layer.digest)));
    Ok(Candidate {
        digest,
        config,
        platform: blob.platform,
        layers: layers.collect::<Result<_, _>>()?,
        manifest: found.bytes,
    })
}

/// The one that serves the platform best.
pub(super) fn best(found: Vec<Candidate>, wanted: &Platform) -> Result<Candidate, ArchiveError> {
    let available = found.iter().map(|candidate| candidate.platform.to_string()).collect();
    let scored = found.into_iter().filter_map(|one| Some((wanted.score(&one.platform)?, one)));
    // Of equals the first counts.
    let best = scored.reduce(|best, next| if next.0 > best.0 { next } else { best });
    best.map(|(_, one)| one)
        .ok_or_else(|| ArchiveError::PlatformNotFound { wanted: wanted.clone(), available })
}
