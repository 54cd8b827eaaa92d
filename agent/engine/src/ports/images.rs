//! Registries and the image store.

use std::fs::File;
use std::sync::Arc;

use async_trait::async_trait;
use berth_domain::{Digest, ImageInfo, Platform, RemoteId, RemoteSecrets, RemoteSpec};
use bytes::Bytes;
use thiserror::Error;
use tokio::sync::mpsc;

use super::Cause;
use crate::report::Reporter;

/// A remote with its secrets, as adapters need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// Its id.
    pub id: RemoteId,
    /// What was asked for.
    pub spec: RemoteSpec,
    /// Never leave the agent.
    pub secrets: RemoteSecrets,
}

/// What a reference meant when it was looked up last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// `None`: the one that is asked for.
    pub platform: Option<Platform>,
    /// What the tag pointed at.
    pub index_digest: Digest,
    /// The platform's manifest there.
    pub image_digest: Digest,
}

/// A question to a registry.
#[derive(Debug, Clone)]
pub struct ResolveRequest {
    /// As the user wrote it.
    pub reference: String,
    /// `None`: the host's.
    pub platform: Option<Platform>,
    /// One HEAD is enough where the registry still says this for the platform.
    pub known: Vec<Known>,
    /// This platform's manifest, whatever the tag says by now.
    pub image_digest: Option<Digest>,
    /// All remotes of the ledger.
    pub remotes: Arc<[Remote]>,
}

/// What a reference means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// As the user wrote it.
    pub reference: String,
    /// `host/repository@digest`.
    pub reference_resolved: String,
    /// What the tag points at: an index or a manifest.
    pub index_digest: Digest,
    /// The platform's manifest: the image's id.
    pub image_digest: Digest,
    /// What it runs on.
    pub platform: Platform,
}

/// Registries and the store.
#[async_trait]
pub trait Images: Send + Sync + 'static {
    /// Asks the registry what a reference means now. Makes one attempt; changes nothing.
    async fn resolve(&self, request: &ResolveRequest) -> Result<Resolution, ImageError>;

    /// The tags of a repository, written as a reference without a tag. Makes one attempt.
    async fn tags(&self, repository: &str, remotes: &Arc<[Remote]>) -> Result<Vec<String>, ImageError>;

    /// The repositories of a remote, or of a registry by its host; below the remote's path, if it has one. Makes one
    /// attempt.
    async fn repositories(&self, remote: &str, remotes: &Arc<[Remote]>) -> Result<Vec<String>, ImageError>;

    /// Makes the resolved image part of the store; at once where it is. Two pulls of one image share the work or
    /// do not disturb each other.
    async fn pull(
        &self,
        resolution: &Resolution,
        remotes: &Arc<[Remote]>,
        reporter: &Reporter,
    ) -> Result<Arc<ImageInfo>, ImageError>;

    /// An image of the store; `None` where it is not, or not whole.
    async fn get(&self, digest: &Digest) -> Result<Option<Arc<ImageInfo>>, ImageError>;

    /// All images of the store, whole ones only.
    async fn list(&self) -> Result<Vec<Arc<ImageInfo>>, ImageError>;

    /// Takes an image out of the store, with all that no other image holds. Fine where it is not there. What an
    /// instance has mounted stays readable to it.
    async fn remove(&self, digest: &Digest) -> Result<(), ImageError>;

    /// Somewhere to put an archive while it is being received.
    async fn scratch(&self) -> Result<Scratch, ImageError>;

    /// Makes an image of an archive part of the store; at once where it is.
    async fn import(
        &self,
        archive: File,
        request: &ImportRequest,
        reporter: &Reporter,
    ) -> Result<(Resolution, Arc<ImageInfo>), ImageError>;

    /// An image of the store as an OCI archive, piece by piece. An error in the middle is the last piece.
    async fn export(&self, request: &ExportRequest) -> Result<mpsc::Receiver<ArchivePiece>, ImageError>;

    /// Verifies images against the digests that name what they are made of; all of them, or those given.
    async fn check(&self, only: Option<&[Digest]>, reporter: &Reporter) -> Result<CheckReport, ImageError>;

    /// Fetches again what is damaged of an image. Until all of it is there, nothing changes.
    async fn repair(
        &self,
        resolution: &Resolution,
        remotes: &Arc<[Remote]>,
        reporter: &Reporter,
    ) -> Result<(), ImageError>;

    /// What removing these images would take away, with what nothing needs anyway. Changes nothing.
    async fn would_remove(&self, images: &[Digest]) -> Result<Freed, ImageError>;

    /// Takes away what nothing needs: what pulls that failed have left.
    async fn collect(&self) -> Result<Freed, ImageError>;

    /// Notes that an image was needed until now, for those who ask [`ImageInfo::used`].
    async fn touch(&self, digest: &Digest) -> Result<(), ImageError>;
}

/// A piece of an archive, or why there is no more.
pub type ArchivePiece = Result<Bytes, ImageError>;

/// An unnamed file for an archive; it goes when it is closed.
#[derive(Debug)]
pub struct Scratch {
    /// The file, empty.
    pub file: File,
    /// The most bytes an archive may have.
    pub limit: u64,
}

/// What is taken from an archive.
#[derive(Debug, Clone)]
pub struct ImportRequest {
    /// What the image is called from now on; also which image, where the archive holds several. `None`: its digest, of the
    /// only one.
    pub reference: Option<String>,
    /// `None`: the host's.
    pub platform: Option<Platform>,
    /// All remotes of the ledger, for names in the reference.
    pub remotes: Arc<[Remote]>,
}

/// What is put into an archive.
#[derive(Debug, Clone)]
pub struct ExportRequest {
    /// The image.
    pub image: Digest,
    /// What it is called in the archive.
    pub reference: Option<String>,
    /// Its own manifest and blobs, from where the reference leads; else what is stored.
    pub refetch: bool,
    /// All remotes of the ledger.
    pub remotes: Arc<[Remote]>,
}

/// What a check of the store found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Images looked at.
    pub images: u64,
    /// Bytes of layers read.
    pub bytes: u64,
    /// Images that are not whole, and what is wrong with each.
    pub damaged: Vec<(Digest, Vec<String>)>,
}

/// What went, or would go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Freed {
    /// Files' contents.
    pub objects: u64,
    /// Bytes on disk.
    pub bytes: u64,
}

/// Why an image could not be had.
#[derive(Debug, Error)]
pub enum ImageError {
    /// The reference is malformed.
    #[error("\"{reference}\" is not an image reference: {why}")]
    BadReference {
        /// As it was written.
        reference: String,
        /// The malformed part, and how it is written right.
        why: String,
    },
    /// The reference names a remote that the agent does not know, or neither a remote nor a host.
    #[error("\"{reference}\" names no registry that this host knows")]
    UnknownRemote {
        /// As it was written.
        reference: String,
        /// The remote's name, empty where there is none.
        remote: String,
        /// The reference as it is probably meant: `docker.io/postgres:16`.
        suggestion: String,
    },
    /// No answer, or none that makes sense; also a registry that asks to come back later.
    #[error("The registry {registry} cannot be reached")]
    Unreachable {
        /// `host[:port]`.
        registry: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// What the remote says of its registry cannot be used.
    #[error("The remote of {registry} cannot be used")]
    BadRemote {
        /// `host[:port]`.
        registry: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// The remote takes only what is signed, and this is not, or not by one of its keys.
    #[error("{reference} is refused: {why}")]
    NotVerified {
        /// As it was written.
        reference: String,
        /// Whether there is no signature, or what is wrong with it.
        why: String,
    },
    /// The registry wants other credentials.
    #[error("The registry {registry} refuses access to {repository}")]
    Unauthorized {
        /// `host[:port]`.
        registry: String,
        /// Repository.
        repository: String,
        /// Whether credentials were sent.
        with_credentials: bool,
    },
    /// The registry has no such repository, tag or digest.
    #[error("The registry has no image {reference}")]
    NotFound {
        /// As it was written.
        reference: String,
    },
    /// The registry does not tell what it has.
    #[error("The registry {registry} gives no list of its repositories")]
    NoCatalogue {
        /// `host[:port]`.
        registry: String,
    },
    /// The image is not made for the platform.
    #[error("{reference} is not made for {platform}")]
    PlatformNotFound {
        /// As it was written.
        reference: String,
        /// What was asked for.
        platform: String,
        /// What there is.
        available: Vec<String>,
    },
    /// What came is not what its digest, size or format says.
    #[error("The content of {reference} is bad: {what}")]
    BadContent {
        /// As it was written.
        reference: String,
        /// Which part, and what is wrong with it.
        what: String,
        /// Why.
        #[source]
        source: Option<Cause>,
    },
    /// There is no image in the archive, or not the one that was meant.
    #[error("The archive gives no image: {why}")]
    Archive {
        /// What is wrong with it.
        why: String,
        /// Why.
        #[source]
        source: Option<Cause>,
    },
    /// The store cannot be read or written.
    #[error("The image store cannot {operation}")]
    Store {
        /// "write an object" and the like.
        operation: String,
        /// Why.
        #[source]
        source: Cause,
    },
}
