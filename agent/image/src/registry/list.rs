//! What a registry has: tags, repositories, and what refers to a manifest. Page by page, and bounded.

use std::collections::HashMap;

use reqwest::header::{HeaderMap, LINK};
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use url::Url;

use super::error::RegistryError;
use super::source::Source;
use super::transport::Request;
use super::{Client, MAX_MANIFEST, Selector};
use crate::digest::Digest;
use crate::reference::{is_repository, is_tag};

/// The most entries of one list.
pub const MAX_LISTED: usize = 100_000;
/// Asked for in one page; the registry may give fewer.
const PAGE: &str = "1000";
const MAX_PAGES: usize = 10_000;

/// What refers to a manifest: a signature, an attestation, a list of parts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Referrer {
    /// Of its own manifest.
    pub digest: Digest,
    /// Of its manifest.
    pub size: u64,
    /// What it is.
    #[serde(default)]
    pub artifact_type: Option<String>,
    /// What it says about itself.
    #[serde(default)]
    pub annotations: HashMap<String, String>,
}

#[derive(Deserialize)]
struct Tags {
    // A repository without a tag has null.
    tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Repositories {
    repositories: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Referrers {
    #[serde(default)]
    manifests: Vec<Referrer>,
}

impl Client {
    /// The tags of a repository, in the registry's order.
    pub async fn tags(&self, repository: &str) -> Result<Vec<String>, RegistryError> {
        let mut request = self.origin.request(repository, &["tags", "list"])?;
        request.url.query_pairs_mut().append_pair("n", PAGE);
        let missing = || RegistryError::NoRepository {
            registry: self.host().to_owned(),
            repository: repository.to_owned(),
        };
        let what = format!("tags of {repository}");
        let pages = Pages { source: &self.origin, what, missing: &missing };
        let tags = pages.all(request, |page: Tags| page.tags.unwrap_or_default()).await?;
        // What is no tag cannot be pulled, and might do anything to a terminal.
        Ok(tags.into_iter().filter(|tag| is_tag(tag)).collect())
    }

    /// The registry's repositories, in its order. Some registries give no such list.
    pub async fn repositories(&self) -> Result<Vec<String>, RegistryError> {
        let mut url = self.origin.url(&["v2", "_catalog"])?;
        url.query_pairs_mut().append_pair("n", PAGE);
        let request = Request::get(url, "registry:catalog:*".to_owned());
        let missing = || RegistryError::NoCatalogue { registry: self.host().to_owned() };
        let pages =
            Pages { source: &self.origin, what: "list of repositories".to_owned(), missing: &missing };
        let all = pages.all(request, |page: Repositories| page.repositories.unwrap_or_default()).await?;
        Ok(all.into_iter().filter(|repository| is_repository(repository)).collect())
    }

    /// What refers to a manifest, of one type if one is given. Registries without such a list keep it under a tag.
    pub async fn referrers(
        &self,
        repository: &str,
        digest: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Referrer>, RegistryError> {
        let mut request = self.origin.request(repository, &["referrers", &digest.to_string()])?;
        if let Some(artifact_type) = artifact_type {
            request.url.query_pairs_mut().append_pair("artifactType", artifact_type);
        }
        let what = format!("what refers to {repository}@{digest}");
        let missing = || RegistryError::NoRepository {
            registry: self.host().to_owned(),
            repository: repository.to_owned(),
        };
        let pages = Pages { source: &self.origin, what, missing: &missing };
        let found = match pages.all(request, |page: Referrers| page.manifests).await {
            Err(RegistryError::NoRepository { .. }) => self.referrers_tag(repository, digest).await?,
            found => found?,
        };
        // A registry need not choose by itself.
        let fits = |found: &Referrer| {
            artifact_type.is_none_or(|wanted| found.artifact_type.as_deref() == Some(wanted))
        };
        Ok(found.into_iter().filter(fits).collect())
    }

    async fn referrers_tag(&self, repository: &str, digest: &Digest) -> Result<Vec<Referrer>, RegistryError> {
        let tag = format!("sha256-{}", digest.hex());
        match self.origin.manifest(repository, Selector::Tag(&tag)).await {
            Ok(found) => {
                let what = format!("{repository}:{tag}");
                let page: Referrers = serde_json::from_slice(&found.bytes)
                    .map_err(|source| RegistryError::InvalidList { what, source })?;
                Ok(page.manifests)
            }
            Err(RegistryError::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

/// A list on its way.
struct Pages<'p> {
    source: &'p Source,
    what: String,
    /// What a 404 means.
    missing: &'p (dyn Fn() -> RegistryError + Sync),
}

impl Pages<'_> {
    async fn all<P: serde::de::DeserializeOwned, E>(
        &self,
        first: Request,
        entries: impl Fn(P) -> Vec<E>,
    ) -> Result<Vec<E>, RegistryError> {
        let too_large = || RegistryError::TooLarge { what: self.what.clone(), limit: MAX_LISTED as u64 };
        let mut request = first;
        let mut all = Vec::new();
        for _ in 0..MAX_PAGES {
            let response = self.source.transport().send(&request).await?;
            match response.status() {
                StatusCode::OK => {}
                StatusCode::NOT_FOUND => return Err((self.missing)()),
                status => return Err(self.source.refused(status, &self.what)),
            }
            let next = self.next(&request.url, response.headers())?;
            all.extend(entries(self.page(response).await?));
            if all.len() > MAX_LISTED {
                return Err(too_large());
            }
            match next {
                None => return Ok(all),
                Some(url) => request.url = url,
            }
        }
        Err(too_large())
    }

    async fn page<P: serde::de::DeserializeOwned>(&self, response: Response) -> Result<P, RegistryError> {
        let http = self.source.transport().http();
        let bytes = http.document(response, MAX_MANIFEST, &self.what, self.source.host()).await?;
        serde_json::from_slice(&bytes)
            .map_err(|source| RegistryError::InvalidList { what: self.what.clone(), source })
    }

    /// Where the next page is: on the registry, at the same path, and not this page again.
    fn next(&self, here: &Url, headers: &HeaderMap) -> Result<Option<Url>, RegistryError> {
        let mut links = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
        let Some(target) = links.find_map(next_link) else { return Ok(None) };
        let forbidden = |why| RegistryError::ForbiddenTarget {
            registry: self.source.host().to_owned(),
            target: target.chars().take(200).collect(),
            why,
        };
        let url = here.join(target).map_err(|_| forbidden("the next page is no valid URL"))?;
        if url.origin() != here.origin() || url.path() != here.path() {
            return Err(forbidden("the next page of a list must be on the registry, at the same path"));
        }
        if url == *here {
            return Err(forbidden("the next page is the same page again"));
        }
        Ok(Some(url))
    }
}

/// `<URL>; rel="next"`
pub(super) fn next_link(header: &str) -> Option<&str> {
    let (target, parameters) = header.trim().strip_prefix('<')?.split_once('>')?;
    let is_next = |parameter: &str| {
        parameter.trim().split_once('=').is_some_and(|(name, value)| {
            name.trim().eq_ignore_ascii_case("rel") && value.trim().trim_matches('"') == "next"
        })
    };
    parameters.split([';', ',']).any(is_next).then_some(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_next_page_is_a_next_page() {
        assert_eq!(
            next_link(r#"</v2/a/tags/list?last=x&n=2>; rel="next""#),
            Some("/v2/a/tags/list?last=x&n=2")
        );
        assert_eq!(next_link("<x>;rel=next"), Some("x"));
        for other in ["", "x", "<x", "<x>", r#"<x>; rel="prev""#, "<x>; next"] {
            assert_eq!(next_link(other), None, "{other}");
        }
    }
}
