//! The registry client: the distribution specification's reading half, over HTTP.
//!
//! One [`Client`] serves one registry. Credentials go to that registry's own origin and to the token realm it names,
//! which must be `https` or on the registry's host; nothing is ever sent to a link-local or metadata address.

mod auth;
mod challenge;
mod endpoint;
mod error;
mod manifest;
mod patience;
mod transport;

use std::sync::Arc;

use reqwest::{Method, StatusCode};
use url::Url;

pub use self::endpoint::{Credentials, Endpoint, EndpointError};
pub use self::error::RegistryError;
pub(crate) use self::manifest::{Descriptor, Document, ImageManifest, IndexEntry, write_manifest};
pub use self::patience::Patience;
pub(crate) use self::patience::{Attempts, Body};
use self::transport::Transport;
use crate::digest::Digest;

/// The largest manifest or index taken.
pub const MAX_MANIFEST: u64 = 4 * 1024 * 1024;
/// The largest image config taken.
pub const MAX_CONFIG: u64 = 8 * 1024 * 1024;

const ACCEPT_MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";
const CONTENT_DIGEST: &str = "docker-content-digest";

/// A client of one registry. Cloning shares its connections and tokens.
#[derive(Debug, Clone)]
pub struct Client {
    transport: Arc<Transport>,
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
        Self::with_patience(endpoint, Patience::default())
    }

    /// As [`Client::new`], but waits as long as is said here.
    pub fn with_patience(endpoint: Endpoint, patience: Patience) -> Result<Self, RegistryError> {
        Ok(Self { transport: Arc::new(Transport::new(endpoint, patience)?) })
    }

    /// The attempts at something that takes more than one request.
    pub(crate) fn attempts(&self) -> Attempts<'_> {
        self.transport.http().attempts()
    }

    /// The registry's host, with its port if it has one.
    pub fn host(&self) -> &str {
        self.transport.endpoint().host()
    }

    /// Asks the registry whether it is one, and whether it knows the credentials.
    pub async fn check(&self) -> Result<(), RegistryError> {
        let url = self.url(&["v2", ""])?;
        let response = self.transport.send(Method::GET, url, None, None).await?;
        match response.status() {
            StatusCode::OK => Ok(()),
            status => Err(self.refused(status, "/v2/")),
        }
    }

    /// What a tag means now, in one HEAD. `None` where the registry does not say.
    pub(crate) async fn head(&self, repository: &str, tag: &str) -> Result<Option<Digest>, RegistryError> {
        let selector = Selector::Tag(tag);
        let url = self.manifest_url(repository, selector)?;
        let response =
            self.transport.send(Method::HEAD, url, Some(ACCEPT_MANIFESTS), Some(repository)).await?;
        self.found(response.status(), repository, selector)?;
        let header = response.headers().get(CONTENT_DIGEST).and_then(|value| value.to_str().ok());
        Ok(header.and_then(|value| value.parse().ok()))
    }

    /// A manifest or index, checked against its digest where one is known.
    pub(crate) async fn manifest(
        &self,
        repository: &str,
        selector: Selector<'_>,
    ) -> Result<ManifestBytes, RegistryError> {
        let url = self.manifest_url(repository, selector)?;
        let response =
            self.transport.send(Method::GET, url, Some(ACCEPT_MANIFESTS), Some(repository)).await?;
        self.found(response.status(), repository, selector)?;
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let media_type = header("content-type").map(|value| {
            let essence = value.split(';').next().unwrap_or(value);
            essence.trim().to_owned()
        });
        let claimed = header(CONTENT_DIGEST).and_then(|value| value.parse::<Digest>().ok());
        let what = format!("manifest {selector} of {repository}");
        let bytes = self.transport.http().document(response, MAX_MANIFEST, &what, self.host()).await?;
        let digest = Digest::of(&bytes);
        let expected = match selector {
            Selector::Digest(expected) => Some(*expected),
            Selector::Tag(_) => claimed,
        };
        match expected {
            Some(expected) if expected != digest => {
                Err(RegistryError::DigestMismatch { what, expected, actual: digest })
            }
            _ => Ok(ManifestBytes { digest, media_type, bytes }),
        }
    }

    /// Begins the download of a blob. The reader checks size and digest.
    pub(crate) async fn blob(&self, repository: &str, blob: &Descriptor) -> Result<Body, RegistryError> {
        let response = self.blob_response(repository, blob).await?;
        Ok(self.transport.http().body(response, self.host()))
    }

    async fn blob_response(
        &self,
        repository: &str,
        blob: &Descriptor,
    ) -> Result<reqwest::Response, RegistryError> {
        let mut path = vec!["v2"];
        path.extend(repository.split('/'));
        let digest = blob.digest.to_string();
        path.extend(["blobs", &digest]);
        let response = self.transport.send(Method::GET, self.url(&path)?, None, Some(repository)).await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => {
                return Err(RegistryError::BlobNotFound {
                    repository: repository.to_owned(),
                    digest: blob.digest,
                });
            }
            status => return Err(self.refused(status, &format!("blob {digest} of {repository}"))),
        }
        if let Some(length) = response.content_length().filter(|length| *length != blob.size) {
            let what = format!("blob {digest}");
            return Err(RegistryError::SizeMismatch { what, expected: blob.size, actual: length });
        }
        Ok(response)
    }

    /// A small blob whole, checked.
    pub(crate) async fn blob_bytes(
        &self,
        repository: &str,
        blob: &Descriptor,
        limit: u64,
    ) -> Result<Vec<u8>, RegistryError> {
        let what = format!("blob {} of {repository}", blob.digest);
        if blob.size > limit {
            return Err(RegistryError::TooLarge { what, limit });
        }
        let response = self.blob_response(repository, blob).await?;
        let bytes = self.transport.http().document(response, blob.size, &what, self.host()).await?;
        if bytes.len() as u64 != blob.size {
            let actual = bytes.len() as u64;
            return Err(RegistryError::SizeMismatch { what, expected: blob.size, actual });
        }
        let actual = Digest::of(&bytes);
        if actual != blob.digest {
            return Err(RegistryError::DigestMismatch { what, expected: blob.digest, actual });
        }
        Ok(bytes)
    }

    fn manifest_url(&self, repository: &str, selector: Selector<'_>) -> Result<Url, RegistryError> {
        let mut path = vec!["v2"];
        path.extend(repository.split('/'));
        let selector = selector.to_string();
        path.extend(["manifests", &selector]);
        self.url(&path)
    }

    /// Builds a URL segment by segment, so that no part can bring a `/`, a `?` or a `..` of its own.
    fn url(&self, segments: &[&str]) -> Result<Url, RegistryError> {
        let mut url = self.transport.endpoint().base().clone();
        // An address that was parsed as http or https always has a path.
        let appended = url.path_segments_mut().map(|mut path| {
            path.clear().extend(segments);
        });
        if appended.is_err() {
            return Err(EndpointError::Address(url.to_string()).into());
        }
        Ok(url)
    }

    fn found(
        &self,
        status: StatusCode,
        repository: &str,
        selector: Selector<'_>,
    ) -> Result<(), RegistryError> {
        match status {
            StatusCode::OK => Ok(()),
            StatusCode::NOT_FOUND => Err(RegistryError::NotFound {
                registry: self.host().to_owned(),
                repository: repository.to_owned(),
                selector: selector.to_string(),
            }),
            status => Err(self.refused(status, &format!("{repository}:{selector}"))),
        }
    }

    fn refused(&self, status: StatusCode, what: &str) -> RegistryError {
        let registry = self.host().to_owned();
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => RegistryError::Unauthorized {
                registry,
                what: what.to_owned(),
                anonymous: self.transport.endpoint().credentials().is_none(),
            },
            status => RegistryError::Status { registry, what: what.to_owned(), status: status.as_u16() },
        }
    }
}
