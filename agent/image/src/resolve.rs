//! From a reference to the digest of one platform's manifest.

use std::collections::BTreeSet;

use crate::config::{ConfigBlob, ConfigError};
use crate::digest::Digest;
use crate::platform::Platform;
use crate::reference::Reference;
use crate::registry::{
    Client, Descriptor, Document, ImageManifest, IndexEntry, MAX_CONFIG, ManifestBytes, RegistryError,
    Selector,
};

/// What a reference means now.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// `host/repository@digest`.
    pub reference_resolved: String,
    /// The repository in full.
    pub repository: String,
    /// What the reference points at: an index, or the manifest itself.
    pub root: Digest,
    /// The platform's manifest: the image's id.
    pub manifest: Digest,
    /// The platform.
    pub platform: Platform,
    /// What was fetched on the way, so that it is not fetched again.
    pub(crate) fetched: Option<ManifestBytes>,
    pub(crate) config: Option<Vec<u8>>,
}

/// What a reference meant when it was resolved before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// The index or manifest.
    pub root: Digest,
    /// The platform's manifest.
    pub manifest: Digest,
}

/// Why a reference leads to no image.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The registry.
    #[error("cannot resolve {reference}")]
    Registry {
        /// The reference.
        reference: String,
        /// Why.
        #[source]
        source: RegistryError,
    },
    /// No manifest for the platform.
    #[error("{reference} has no image for {wanted}; it has {}", list(available))]
    PlatformNotFound {
        /// The reference.
        reference: String,
        /// What was asked for.
        wanted: Platform,
        /// What there is.
        available: Vec<String>,
    },
    /// The image's config.
    #[error("cannot use the config of {reference}")]
    Config {
        /// The reference.
        reference: String,
        /// Why.
        #[source]
        source: ConfigError,
    },
}

fn list(platforms: &[String]) -> String {
    if platforms.is_empty() { "no platform at all".to_owned() } else { platforms.join(", ") }
}

impl Resolved {
    /// Exactly this manifest, whatever the tag says by now. Nothing is asked.
    pub fn pinned(reference: &Reference, manifest: Digest, platform: Platform) -> Self {
        Self {
            reference_resolved: reference.resolved(&manifest),
            repository: reference.repository.clone(),
            root: manifest,
            manifest,
            platform,
            fetched: None,
            config: None,
        }
    }

    /// As it was found in this index, whose signature is one of the manifest's too.
    #[must_use]
    pub fn found_in(self, root: Digest) -> Self {
        Self { root, ..self }
    }
}

/// Asks the registry what a reference means for a platform. Where the tag still is what is `known`, that is one HEAD.
pub async fn resolve(
    client: &Client,
    reference: &Reference,
    platform: &Platform,
    known: Option<Known>,
) -> Result<Resolved, ResolveError> {
    let failed = |source| ResolveError::Registry { reference: reference.to_string(), source };
    if let (Some(known), None, Some(tag)) = (known, reference.digest, &reference.tag) {
        let root = client.head(&reference.repository, tag).await.map_err(failed)?;
        if root == Some(known.root) {
            let mut resolved = Resolved::pinned(reference, known.manifest, platform.clone());
            resolved.root = known.root;
            return Ok(resolved);
        }
    }
    let selector = match (&reference.digest, &reference.tag) {
        (Some(digest), _) => Selector::Digest(digest),
        (None, Some(tag)) => Selector::Tag(tag),
        (None, None) => Selector::Tag("latest"),
    };
    let found = client.manifest(&reference.repository, selector).await.map_err(failed)?;
    let root = found.digest;
    let mut resolved = match Document::parse(&found, &reference.to_string()).map_err(failed)? {
        Document::Manifest(manifest) => single(client, reference, platform, found, &manifest).await?,
        Document::Index(entries) => {
            let (manifest, platform) = choose(&entries, platform, reference)?;
            Resolved::pinned(reference, manifest, platform)
        }
    };
    resolved.root = root;
    Ok(resolved)
}

/// A manifest without an index says what platform it is for in its config.
async fn single(
    client: &Client,
    reference: &Reference,
    wanted: &Platform,
    found: ManifestBytes,
    manifest: &ImageManifest,
) -> Result<Resolved, ResolveError> {
    let failed = |source| ResolveError::Registry { reference: reference.to_string(), source };
    client.verify(&reference.repository, &found.digest, &found.digest).await.map_err(failed)?;
    let config = fetch_config(client, &reference.repository, &manifest.config).await.map_err(failed)?;
    let blob = ConfigBlob::parse(&config)
        .map_err(|source| ResolveError::Config { reference: reference.to_string(), source })?;
    if wanted.score(&blob.platform).is_none() {
        return Err(ResolveError::PlatformNotFound {
            reference: reference.to_string(),
            wanted: wanted.clone(),
            available: vec![blob.platform.to_string()],
        });
    }
    let mut resolved = Resolved::pinned(reference, found.digest, blob.platform);
    resolved.fetched = Some(found);
    resolved.config = Some(config);
    Ok(resolved)
}

pub(crate) async fn fetch_config(
    client: &Client,
    repository: &str,
    config: &Descriptor,
) -> Result<Vec<u8>, RegistryError> {
    client.blob_bytes(repository, config, MAX_CONFIG).await
}

fn choose(
    entries: &[IndexEntry],
    wanted: &Platform,
    reference: &Reference,
) -> Result<(Digest, Platform), ResolveError> {
    let scored = entries.iter().filter_map(|entry| {
        let platform = entry.platform.as_ref()?;
        Some((wanted.score(platform)?, entry.digest, platform))
    });
    // Of equals the first in the index counts.
    let best = scored.reduce(|best, next| if next.0 > best.0 { next } else { best });
    match best {
        Some((_, digest, platform)) => Ok((digest, platform.clone())),
        None => {
            let known = entries.iter().filter_map(|entry| entry.platform.as_ref());
            let real = known.filter(|platform| platform.os != "unknown");
            let available: BTreeSet<String> = real.map(Platform::to_string).collect();
            Err(ResolveError::PlatformNotFound {
                reference: reference.to_string(),
                wanted: wanted.clone(),
                available: available.into_iter().collect(),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::NoRemotes;

    #[test]
    fn an_index_without_the_platform_says_what_it_has() {
        let entry = |platform: &str, byte| IndexEntry {
            digest: Digest::from_bytes([byte; 32]),
            platform: Some(platform.parse().unwrap()),
        };
        let entries = [
            entry("linux/arm64/v8", 1),
            entry("linux/arm/v6", 2),
            entry("linux/arm/v7", 3),
            entry("unknown/unknown", 4),
        ];
        let reference = Reference::parse("localhost/web", &NoRemotes).unwrap();
        let pick = |platform: &str| choose(&entries, &platform.parse().unwrap(), &reference);
        assert_eq!(pick("linux/arm/v7").unwrap().0.as_bytes()[0], 3);
        assert_eq!(pick("linux/arm64").unwrap().0.as_bytes()[0], 1);
        let error = pick("linux/amd64").unwrap_err().to_string();
        assert!(
            error.contains("linux/amd64") && error.contains("linux/arm/v6, linux/arm/v7, linux/arm64/v8")
        );
        assert!(!error.contains("unknown"), "{error}");
    }
}
