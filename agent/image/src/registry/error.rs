//! What can go wrong with a registry.

use crate::digest::{Digest, DigestError};
use crate::registry::endpoint::EndpointError;

/// An operation on a registry failed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The registry's address or certificate is not usable.
    #[error("the registry's settings are not usable")]
    Endpoint(#[from] EndpointError),
    /// The HTTP client could not be made.
    #[error("cannot set up the connection to {address}")]
    Setup {
        /// The registry.
        address: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// No connection, or no answer in time.
    #[error("cannot reach the registry at {address}")]
    Unreachable {
        /// Whom was tried.
        address: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// A connection broke or stalled in the middle.
    #[error("the transfer from {address} broke off")]
    Transfer {
        /// Who sent.
        address: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// Connected, but nothing came.
    #[error("{address} did not answer within {seconds} s")]
    NoAnswer {
        /// Who was asked.
        address: String,
        /// How long it was waited for.
        seconds: f32,
    },
    /// A transfer that trickles, or has stalled, or takes longer than anything may.
    #[error("the transfer from {address} is too slow: {bytes} bytes in the last {seconds} s")]
    TooSlow {
        /// Who sends.
        address: String,
        /// What came.
        bytes: u64,
        /// In which time.
        seconds: f32,
    },
    /// The registry refuses.
    #[error("{registry} refuses {what}{}", if *anonymous { ": it wants credentials, or there is no such repository" }
        else { ": the credentials are wrong, or not allowed this" })]
    Unauthorized {
        /// The registry.
        registry: String,
        /// What was asked for.
        what: String,
        /// Whether no credentials were given.
        anonymous: bool,
    },
    /// No such repository or tag.
    #[error("{registry} has no {repository}:{selector}: the repository or the tag does not exist")]
    NotFound {
        /// The registry.
        registry: String,
        /// The repository.
        repository: String,
        /// The tag or the digest.
        selector: String,
    },
    /// No such repository.
    #[error("{registry} has no repository {repository}")]
    NoRepository {
        /// The registry.
        registry: String,
        /// The repository.
        repository: String,
    },
    /// Registries of many tenants do not tell what they have.
    #[error("{registry} gives no list of its repositories")]
    NoCatalogue {
        /// The registry.
        registry: String,
    },
    /// Not the JSON of a list.
    #[error("the {what} is not a valid list")]
    InvalidList {
        /// Which list.
        what: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A manifest names a blob that is not there.
    #[error("the registry has no blob {digest} in {repository}, though the manifest names it")]
    BlobNotFound {
        /// The repository.
        repository: String,
        /// The blob.
        digest: Digest,
    },
    /// Any other status.
    #[error("{registry} answers {status} for {what}")]
    Status {
        /// The registry.
        registry: String,
        /// What was asked for.
        what: String,
        /// The HTTP status.
        status: u16,
    },
    /// Too many requests, and the registry wants a longer pause than a pull waits.
    #[error("{registry} is limiting requests; try again in {seconds} s")]
    RateLimited {
        /// The registry.
        registry: String,
        /// How long it asks to wait.
        seconds: u64,
    },
    /// Not what the digest says.
    #[error("the {what} is not what its digest says: expected {expected}, got {actual}")]
    DigestMismatch {
        /// What was fetched.
        what: String,
        /// The digest it was fetched by.
        expected: Digest,
        /// The digest of what came.
        actual: Digest,
    },
    /// Not as long as the manifest says.
    #[error("the {what} has not the size its manifest says: expected {expected} bytes, got {actual}")]
    SizeMismatch {
        /// What was fetched.
        what: String,
        /// What the manifest says.
        expected: u64,
        /// What came, or what the registry announced.
        actual: u64,
    },
    /// A range that is not the one that was asked for.
    #[error("{address} answers with another part of {digest} than it was asked for")]
    BadRange {
        /// Who answered.
        address: String,
        /// The blob.
        digest: Digest,
    },
    /// Over a limit.
    #[error("the {what} is larger than the {limit} bytes allowed")]
    TooLarge {
        /// What was fetched.
        what: String,
        /// The limit.
        limit: u64,
    },
    /// A kind of document or layer that Berth does not know.
    #[error("{what} has the media type {media_type:?}, which is not supported")]
    UnsupportedMediaType {
        /// Which document.
        what: String,
        /// Its media type.
        media_type: String,
    },
    /// Not the JSON of a manifest.
    #[error("{what} is not a valid manifest")]
    InvalidManifest {
        /// Which document.
        what: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Both an index and a manifest, or not what its media type says (CVE-2021-41190).
    #[error("{what} is ambiguous: {why}")]
    AmbiguousManifest {
        /// Which document.
        what: String,
        /// What contradicts what.
        why: &'static str,
    },
    /// A digest that is none.
    #[error("{what} names a malformed digest")]
    BadDigest {
        /// Which document.
        what: String,
        /// Why.
        #[source]
        source: DigestError,
    },
    /// The remote wants signatures, and there is none.
    #[error("{repository}@{digest} is not signed, and its remote takes only what is")]
    NotSigned {
        /// The repository.
        repository: String,
        /// What should be signed.
        digest: Digest,
    },
    /// The remote wants signatures, and those there are do not hold.
    #[error("the signature of {repository}@{digest} does not hold: {why}")]
    BadSignature {
        /// The repository.
        repository: String,
        /// What should be signed.
        digest: Digest,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A redirect or a token realm that would take the request where it must not go.
    #[error("{registry} sends the client to {target:?}, which is refused: {why}")]
    ForbiddenTarget {
        /// The registry.
        registry: String,
        /// Where to.
        target: String,
        /// Why not.
        why: &'static str,
    },
    /// The authentication challenge, or the token server's answer, makes no sense.
    #[error("cannot authenticate to {registry}: {why}")]
    BadChallenge {
        /// The registry.
        registry: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl RegistryError {
    pub(crate) fn unreachable(address: &str, source: reqwest::Error) -> Self {
        // The URL may carry a signature of a storage provider; the address is told beside it.
        Self::Unreachable { address: address.to_owned(), source: source.without_url() }
    }

    pub(crate) fn transfer(address: &str, source: reqwest::Error) -> Self {
        Self::Transfer { address: address.to_owned(), source: source.without_url() }
    }

    /// Whether it is about a signature.
    pub fn is_signature(&self) -> bool {
        matches!(self, Self::NotSigned { .. } | Self::BadSignature { .. })
    }

    /// Whether there was a connection, and it went before an answer came.
    pub(crate) fn is_broken_connection(&self) -> bool {
        matches!(self, Self::Unreachable { source, .. } if source.is_request() && !source.is_connect())
    }

    /// Whether another attempt may well succeed. What the registry answered was asked for again already.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Self::Transfer { .. } | Self::TooSlow { .. })
    }
}
