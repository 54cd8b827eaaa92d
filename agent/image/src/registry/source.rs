//! One place that content comes from: the registry itself, or a mirror of it.

use std::ops::Range;

use reqwest::header::{CONTENT_RANGE, HeaderMap};
use reqwest::{Method, Response, StatusCode};
use url::Url;

use super::endpoint::{Endpoint, EndpointError};
use super::error::RegistryError;
use super::manifest::Descriptor;
use super::patience::{Attempts, Body, Patience};
use super::transport::{Request, Transport};
use super::{MAX_MANIFEST, ManifestBytes, Selector};
use crate::digest::Digest;

const ACCEPT_MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";
const CONTENT_DIGEST: &str = "docker-content-digest";

#[derive(Debug)]
pub(super) struct Source {
    transport: Transport,
    /// Before every repository: the path of a mirror's address.
    prefix: String,
}

/// A blob whose bytes begin to come.
#[derive(Debug)]
pub(super) struct Opened {
    response: Response,
    /// The first byte's place in the blob: a registry may give the whole though a range was asked for.
    pub starts_at: u64,
    /// Whether it is a range.
    pub partial: bool,
}

impl Source {
    pub(super) fn registry(endpoint: Endpoint, patience: Patience) -> Result<Self, RegistryError> {
        Ok(Self { transport: Transport::new(endpoint, patience)?, prefix: String::new() })
    }

    pub(super) fn mirror(endpoint: Endpoint, patience: Patience) -> Result<Self, RegistryError> {
        let prefix = endpoint.path().to_owned();
        Ok(Self { transport: Transport::new(endpoint, patience)?, prefix })
    }

    /// The host, with its port if it has one.
    pub(super) fn host(&self) -> &str {
        self.transport.endpoint().host()
    }

    pub(super) fn transport(&self) -> &Transport {
        &self.transport
    }

    pub(super) fn attempts(&self) -> Attempts<'_> {
        self.transport.http().attempts()
    }

    pub(super) fn body(&self, opened: Opened) -> Body {
        self.transport.http().body(opened.response, self.host())
    }

    /// Asks the registry whether it is one, and whether it knows the credentials.
    pub(super) async fn check(&self) -> Result<(), RegistryError> {
        let request = Request::get(self.url(&["v2", ""])?, String::new());
        let response = self.transport.send(&request).await?;
        match response.status() {
            StatusCode::OK => Ok(()),
            status => Err(self.refused(status, "/v2/")),
        }
    }

    pub(super) async fn head(&self, repository: &str, tag: &str) -> Result<Option<Digest>, RegistryError> {
        let selector = Selector::Tag(tag);
        let request = Request { method: Method::HEAD, ..self.manifest_request(repository, selector)? };
        let response = self.transport.send(&request).await?;
        self.found(response.status(), repository, selector)?;
        Ok(header(response.headers(), CONTENT_DIGEST).and_then(|value| value.parse().ok()))
    }

    pub(super) async fn manifest(
        &self,
        repository: &str,
        selector: Selector<'_>,
    ) -> Result<ManifestBytes, RegistryError> {
        let request = self.manifest_request(repository, selector)?;
        let response = self.transport.send(&request).await?;
        self.found(response.status(), repository, selector)?;
        let media_type = header(response.headers(), "content-type").map(|value| {
            let essence = value.split(';').next().unwrap_or(value);
            essence.trim().to_owned()
        });
        let claimed =
            header(response.headers(), CONTENT_DIGEST).and_then(|value| value.parse::<Digest>().ok());
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

    /// Begins the download of a blob, or of a range of it. The reader checks size and digest of the whole.
    pub(super) async fn blob(
        &self,
        repository: &str,
        blob: &Descriptor,
        range: Option<Range<u64>>,
    ) -> Result<Opened, RegistryError> {
        let digest = blob.digest.to_string();
        let mut request = self.request(repository, &["blobs", &digest])?;
        request.range = range.as_ref().map(|range| format!("bytes={}-{}", range.start, range.end - 1));
        let response = self.transport.send(&request).await?;
        match (response.status(), range) {
            (StatusCode::OK, _) => {
                if let Some(length) = response.content_length().filter(|length| *length != blob.size) {
                    let what = format!("blob {digest}");
                    return Err(RegistryError::SizeMismatch { what, expected: blob.size, actual: length });
                }
                Ok(Opened { response, starts_at: 0, partial: false })
            }
            (StatusCode::PARTIAL_CONTENT, Some(range)) => {
                let told = header(response.headers(), CONTENT_RANGE.as_str()).and_then(content_range);
                let length = response.content_length().unwrap_or(range.end - range.start);
                let fits = length == range.end - range.start
                    && told.is_some_and(|(told, size)| {
                        told == range && size.is_none_or(|size| size == blob.size)
                    });
                if !fits {
                    return Err(self.bad_range(blob));
                }
                Ok(Opened { response, starts_at: range.start, partial: true })
            }
            (StatusCode::PARTIAL_CONTENT, None) | (StatusCode::RANGE_NOT_SATISFIABLE, _) => {
                Err(self.bad_range(blob))
            }
            (StatusCode::NOT_FOUND, _) => {
                Err(RegistryError::BlobNotFound { repository: repository.to_owned(), digest: blob.digest })
            }
            (status, _) => Err(self.refused(status, &format!("blob {digest} of {repository}"))),
        }
    }

    pub(super) fn bad_range(&self, blob: &Descriptor) -> RegistryError {
        RegistryError::BadRange { address: self.host().to_owned(), digest: blob.digest }
    }

    /// A small blob whole, checked.
    pub(super) async fn blob_bytes(
        &self,
        repository: &str,
        blob: &Descriptor,
        limit: u64,
    ) -> Result<Vec<u8>, RegistryError> {
        let what = format!("blob {} of {repository}", blob.digest);
        if blob.size > limit {
            return Err(RegistryError::TooLarge { what, limit });
        }
        let response = self.blob(repository, blob, None).await?.response;
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

    fn manifest_request(&self, repository: &str, selector: Selector<'_>) -> Result<Request, RegistryError> {
        let mut request = self.request(repository, &["manifests", &selector.to_string()])?;
        request.accept = Some(ACCEPT_MANIFESTS);
        Ok(request)
    }

    /// A question about a repository.
    pub(super) fn request(&self, repository: &str, rest: &[&str]) -> Result<Request, RegistryError> {
        let repository = match self.prefix.as_str() {
            "" => repository.to_owned(),
            prefix => format!("{prefix}/{repository}"),
        };
        let mut path = vec!["v2"];
        path.extend(repository.split('/'));
        path.extend(rest);
        Ok(Request::get(self.url(&path)?, format!("repository:{repository}:pull")))
    }

    /// Builds a URL segment by segment, so that no part can bring a `/`, a `?` or a `..` of its own.
    pub(super) fn url(&self, segments: &[&str]) -> Result<Url, RegistryError> {
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

    pub(super) fn found(
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

    pub(super) fn refused(&self, status: StatusCode, what: &str) -> RegistryError {
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

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// `bytes FIRST-LAST/SIZE`, where the size may be `*`.
pub(super) fn content_range(text: &str) -> Option<(Range<u64>, Option<u64>)> {
    let (range, size) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let range = first.trim().parse().ok()?..last.trim().parse::<u64>().ok()?.checked_add(1)?;
    let size = match size.trim() {
        "*" => None,
        size => Some(size.parse().ok()?),
    };
    Some((range, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_read_or_refused() {
        assert_eq!(content_range("bytes 0-9/10"), Some((0..10, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5..10, None)));
        for bad in
            ["", "bytes", "bytes */10", "bytes 5-/10", "items 0-9/10", "bytes 0-18446744073709551615/1"]
        {
            assert_eq!(content_range(bad), None, "{bad}");
        }
    }
}
