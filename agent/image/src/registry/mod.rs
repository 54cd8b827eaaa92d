//! The registry client: the distribution specification's reading half, over HTTP.
//!
//! One [`Client`] serves one registry and its mirrors. Tags are asked of the registry alone; what a digest names may come
//! from a mirror. Credentials go to the origin they were given for and to the token realm it names, which must be
//! `https` or on the same host; nothing is ever sent to a link-local or metadata address.

mod auth;
mod challenge;
mod downloads;
mod endpoint;
mod error;
mod fetch;
mod list;
mod manifest;
mod patience;
mod source;
mod transport;
mod verify;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use self::downloads::{CONNECTIONS, Downloads};
pub use self::endpoint::{Credentials, Endpoint, EndpointError};
pub use self::error::RegistryError;
pub(crate) use self::fetch::Sink;
pub use self::list::{MAX_LISTED, Referrer};
pub(crate) use self::manifest::{Descriptor, Document, ImageManifest, IndexEntry, write_manifest};
pub use self::patience::Patience;
use self::source::Source;
pub use self::verify::{KeyError, VerifyKey};
use crate::digest::Digest;

/// For the fuzzer: what is read of a registry's headers.
pub(crate) fn parse_headers(text: &str) {
    let _challenges = challenge::parse(text);
    list::next_link(text);
    source::content_range(text);
}

/// The largest manifest or index taken.
pub const MAX_MANIFEST: u64 = 4 * 1024 * 1024;
/// The largest image config taken.
pub const MAX_CONFIG: u64 = 8 * 1024 * 1024;
/// A mirror that cannot be reached is not tried again for so long.
const MIRROR_REST: Duration = Duration::from_secs(60);

/// A client of one registry. Cloning shares its connections and tokens.
#[derive(Debug, Clone)]
pub struct Client {
    origin: Arc<Source>,
    mirrors: Arc<Vec<Mirror>>,
    downloads: Downloads,
    keys: Arc<[VerifyKey]>,
    /// Manifests whose signature was seen to be good.
    verified: Arc<Mutex<HashSet<Digest>>>,
}

/// How a client is to work, beside its registry's address.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Tried first, in this order, for what a digest names.
    pub mirrors: Vec<Endpoint>,
    /// How long it waits.
    pub patience: Patience,
    /// How much it fetches at once.
    pub downloads: Downloads,
    /// If there are any, one of them must have signed what is pulled.
    pub keys: Vec<VerifyKey>,
}

#[derive(Debug)]
struct Mirror {
    source: Arc<Source>,
    rests_until: Mutex<Option<Instant>>,
}

/// A manifest or index as the registry gave it, with the digest of exactly these bytes.
#[derive(Debug, Clone)]
pub(crate) struct ManifestBytes {
    pub digest: Digest,
    pub media_type: Option<String>,
    pub bytes: Vec<u8>,
}

/// What names a manifest in a repository.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Selector<'a> {
    Tag(&'a str),
    Digest(&'a Digest),
}

impl std::fmt::Display for Selector<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => std::fmt::Display::fmt(digest, f),
        }
    }
}

impl Client {
    /// A client of this registry. Nothing is sent yet.
    pub fn new(endpoint: Endpoint) -> Result<Self, RegistryError> {
        Self::with(endpoint, Settings::default())
    }

    /// As [`Client::new`], working as is said here.
    pub fn with(endpoint: Endpoint, settings: Settings) -> Result<Self, RegistryError> {
        let Settings { mirrors, patience, downloads, keys } = settings;
        let mirrors = mirrors.into_iter().map(|endpoint| {
            let source = Arc::new(Source::mirror(endpoint, patience.clone())?);
            Ok(Mirror { source, rests_until: Mutex::default() })
        });
        let mirrors = Arc::new(mirrors.collect::<Result<Vec<_>, RegistryError>>()?);
        Ok(Self {
            origin: Arc::new(Source::registry(endpoint, patience)?),
            mirrors,
            downloads,
            keys: keys.into(),
            verified: Arc::default(),
        })
    }

    /// The registry's host, with its port if it has one.
    pub fn host(&self) -> &str {
        self.origin.host()
    }

    /// Asks the registry whether it is one, and whether it knows the credentials.
    pub async fn check(&self) -> Result<(), RegistryError> {
        self.origin.check().await
    }

    /// What a tag means now, in one HEAD. `None` where the registry does not say.
    pub(crate) async fn head(&self, repository: &str, tag: &str) -> Result<Option<Digest>, RegistryError> {
        self.origin.head(repository, tag).await
    }

    /// A manifest or index, checked against its digest where one is known.
    pub(crate) async fn manifest(
        &self,
        repository: &str,
        selector: Selector<'_>,
    ) -> Result<ManifestBytes, RegistryError> {
        if let Selector::Digest(_) = selector {
            for mirror in self.mirrors() {
                match mirror.source.manifest(repository, selector).await {
                    Ok(found) => return Ok(found),
                    Err(error) => mirror.passed_over(&error),
                }
            }
        }
        self.origin.manifest(repository, selector).await
    }

    /// A small blob whole, checked.
    pub(crate) async fn blob_bytes(
        &self,
        repository: &str,
        blob: &Descriptor,
        limit: u64,
    ) -> Result<Vec<u8>, RegistryError> {
        for mirror in self.mirrors() {
            match mirror.source.blob_bytes(repository, blob, limit).await {
                Ok(bytes) => return Ok(bytes),
                Err(error) => mirror.passed_over(&error),
            }
        }
        self.origin.blob_bytes(repository, blob, limit).await
    }

    /// Whether content may come from elsewhere than the registry.
    pub(crate) fn has_mirrors(&self) -> bool {
        !self.mirrors.is_empty()
    }

    fn is_verified(&self, manifest: &Digest) -> bool {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner).contains(manifest)
    }

    fn set_verified(&self, manifest: &Digest) {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner).insert(*manifest);
    }

    /// Those that are worth a try.
    fn mirrors(&self) -> impl Iterator<Item = &Mirror> {
        self.mirrors.iter().filter(|mirror| !mirror.rests())
    }
}

impl Mirror {
    fn rests(&self) -> bool {
        let until = self.rests_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    /// What a mirror lacks or spoils comes from the next, or from the registry.
    fn passed_over(&self, error: &RegistryError) {
        tracing::info!(
            mirror = self.source.host(),
            error = error as &dyn std::error::Error,
            "a mirror is passed over"
        );
        if matches!(error, RegistryError::Unreachable { .. } | RegistryError::NoAnswer { .. }) {
            let until = Instant::now() + MIRROR_REST;
            *self.rests_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
        }
    }
}
