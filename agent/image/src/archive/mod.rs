//! Images in files: OCI layouts and what `docker save` writes, as a tar stream.
//!
//! ```text
//! file -> container (what is where) -> layout | docker -> Candidate: manifest, config, where each layer is
//! ```
//!
//! The archive is read where it lies; no name in it ever becomes a path of the host.

mod container;
mod docker;
mod layout;
mod write;

use std::io;

pub(crate) use self::container::{Container, Member};
pub(crate) use self::write::Writer;
use crate::config::ConfigError;
use crate::digest::Digest;
use crate::platform::Platform;
use crate::registry::RegistryError;

/// The largest index taken from an archive.
const MAX_INDEX: u64 = crate::registry::MAX_MANIFEST;

/// Why an archive gives no image.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The file cannot be read.
    #[error("the archive cannot be read")]
    Read(#[source] io::Error),
    /// Not a tar stream, or a damaged one.
    #[error("the archive is not a whole tar file")]
    Tar(#[source] crate::import::tar::TarError),
    /// A tar stream without an image.
    #[error("the archive holds neither an OCI layout (index.json) nor a Docker archive (manifest.json)")]
    NotAnArchive,
    /// A part that is named and not there.
    #[error("the archive has no {0:?}, though it names it")]
    Missing(String),
    /// A part that is not what it should be.
    #[error("{name:?} in the archive is not valid")]
    Json {
        /// The part.
        name: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A part that is not what its digest says.
    #[error("{name:?} in the archive is not what its digest says: expected {expected}, got {actual}")]
    DigestMismatch {
        /// The part.
        name: String,
        /// What names it.
        expected: Digest,
        /// Of its bytes.
        actual: Digest,
    },
    /// A part over a limit.
    #[error("{name:?} in the archive is over the limit {limit_name} of {limit}")]
    TooLarge {
        /// The part.
        name: String,
        /// The limit's name.
        limit_name: &'static str,
        /// Its value.
        limit: u64,
    },
    /// A manifest that is refused.
    #[error("a manifest of the archive is refused")]
    Manifest(#[source] RegistryError),
    /// A config that is refused.
    #[error("an image config of the archive is refused")]
    Config(#[source] ConfigError),
    /// Several images, and none was named.
    #[error("the archive holds several images: {}; say which", .0.join(", "))]
    Several(Vec<String>),
    /// Not the image that was asked for.
    #[error("the archive has no image {wanted:?}; it has {}", list(available))]
    NoSuchImage {
        /// What was asked for.
        wanted: String,
        /// What there is.
        available: Vec<String>,
    },
    /// No image for the platform.
    #[error("the archive has no image for {wanted}; it has {}", list(available))]
    PlatformNotFound {
        /// What was asked for.
        wanted: Platform,
        /// What there is.
        available: Vec<String>,
    },
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none with a name".to_owned() } else { names.join(", ") }
}

/// Which image of an archive.
#[derive(Debug, Clone)]
pub struct Selection {
    /// As the archive calls it, in whole or by its tag alone; `None` where it holds one image.
    pub name: Option<String>,
    /// The platform.
    pub platform: Platform,
}

/// An image of an archive, ready to be imported.
pub(crate) struct Candidate {
    /// Of the manifest: the image's id.
    pub digest: Digest,
    pub manifest: Vec<u8>,
    pub config: Vec<u8>,
    pub platform: Platform,
    /// Where each layer is, in the manifest's order.
    pub layers: Vec<Member>,
}

/// Finds the image in an archive.
pub(crate) fn find(container: &Container, selection: &Selection) -> Result<Candidate, ArchiveError> {
    if container.has("index.json") {
        // What Docker writes since version 25 is both; the layout's digests are those of registries.
        return layout::find(container, selection);
    }
    if container.has("manifest.json") {
        return docker::find(container, selection);
    }
    Err(ArchiveError::NotAnArchive)
}

/// Of several named things the one that is meant: by its whole name, by its tag, or the only one.
fn choose<T>(
    mut named: Vec<(Vec<String>, T)>,
    wanted: Option<&str>,
    several_is_fine: bool,
) -> Result<Vec<T>, ArchiveError> {
    if let Some(wanted) = wanted {
        let tag = wanted.rsplit('/').next().and_then(|last| last.split_once(':')).map(|(_, tag)| tag);
        let whole = |names: &[String]| names.iter().any(|name| name == wanted);
        let by_tag = |names: &[String]| tag.is_some_and(|tag| names.iter().any(|name| name == tag));
        if named.iter().any(|(names, _)| whole(names)) {
            named.retain(|(names, _)| whole(names));
        } else if named.iter().any(|(names, _)| by_tag(names)) {
            named.retain(|(names, _)| by_tag(names));
        }
    }
    let names = || named.iter().flat_map(|(names, _)| names.clone()).collect::<Vec<_>>();
    match (named.len(), wanted) {
        (0, wanted) => Err(ArchiveError::NoSuchImage {
            wanted: wanted.unwrap_or_default().to_owned(),
            available: names(),
        }),
        // One image needs no name: the reference that was given is what it is called from now on.
        (1, _) => Ok(named.into_iter().map(|(_, item)| item).collect()),
        _ if several_is_fine => Ok(named.into_iter().map(|(_, item)| item).collect()),
        (_, None) => Err(ArchiveError::Several(names())),
        (_, Some(wanted)) => Err(ArchiveError::NoSuchImage { wanted: wanted.to_owned(), available: names() }),
    }
}
