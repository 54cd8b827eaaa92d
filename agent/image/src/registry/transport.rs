//! One request and what belongs to it: authentication, redirects, retries, bounds and deadlines.

use std::hash::{BuildHasher, Hasher};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{ACCEPT, AUTHORIZATION, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Method, Response, StatusCode};
use tokio::sync::Mutex;
use url::Url;

use super::auth::{Auth, check_address, is_metadata};
use super::challenge;
use super::endpoint::Endpoint;
use super::error::RegistryError;

/// A connection that is not there by then is no connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A transfer that is silent for this long has stalled.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// One request is sent at most this often while the registry answers 429 or 5xx.
const MAX_ATTEMPTS: u32 = 4;
/// The first pause; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// A registry that wants a longer pause than this gets it told to the user.
const MAX_PAUSE: Duration = Duration::from_secs(20);
const MAX_REDIRECTS: usize = 5;

#[derive(Debug)]
pub(super) struct Transport {
    http: reqwest::Client,
    endpoint: Endpoint,
    auth: Mutex<Auth>,
}

impl Transport {
    pub(super) fn new(endpoint: Endpoint) -> Result<Self, RegistryError> {
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(endpoint.tls()?)
            .user_agent(concat!("berth/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .dns_resolver(std::sync::Arc::new(PublicNames))
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(IDLE_TIMEOUT)
            .build()
            .map_err(|source| RegistryError::Setup { address: endpoint.host().to_owned(), source })?;
        Ok(Self { http, endpoint, auth: Mutex::default() })
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Sends a request, authenticates when asked to, and tries again when the registry asks for patience.
    pub(super) async fn send(
        &self,
        method: Method,
        url: Url,
        accept: Option<&'static str>,
        repository: Option<&str>,
    ) -> Result<Response, RegistryError> {
        let scope = repository.map(|name| format!("repository:{name}:pull")).unwrap_or_default();
        let mut attempt = 1;
        loop {
            let response = self.authorized(&method, &url, accept, &scope).await?;
            if !is_busy(response.status()) || attempt == MAX_ATTEMPTS {
                return self.not_limited(response);
            }
            let pause = retry_after(&response).unwrap_or_else(|| backoff(attempt));
            if pause > MAX_PAUSE {
                return self.not_limited(response);
            }
            tracing::debug!(registry = self.endpoint.host(), status = %response.status(), ?pause, "trying again");
            wait(pause).await;
            attempt += 1;
        }
    }

    async fn authorized(
        &self,
        method: &Method,
        url: &Url,
        accept: Option<&'static str>,
        scope: &str,
    ) -> Result<Response, RegistryError> {
        let header = self.auth.lock().await.header(&self.http, &self.endpoint, scope).await?;
        let response = self.follow(method, url, accept, header.as_deref()).await?;
        if response.status() != StatusCode::UNAUTHORIZED || !self.is_registry(response.url()) {
            return Ok(response);
        }
        let challenges = response.headers().get_all(WWW_AUTHENTICATE).iter();
        let challenges =
            challenges.filter_map(|value| value.to_str().ok()).flat_map(challenge::parse).collect();
        let mut auth = self.auth.lock().await;
        let answer = auth.answer(&self.http, &self.endpoint, scope, challenges, header.as_deref()).await?;
        drop(auth);
        match answer {
            None => Ok(response),
            Some(header) => self.follow(method, url, accept, Some(&header)).await,
        }
    }

    /// Follows redirects; credentials stay with the registry's own origin.
    async fn follow(
        &self,
        method: &Method,
        url: &Url,
        accept: Option<&'static str>,
        authorization: Option<&str>,
    ) -> Result<Response, RegistryError> {
        let mut target = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self.http.request(method.clone(), target.clone());
            if let Some(accept) = accept {
                request = request.header(ACCEPT, accept);
            }
            if let Some(authorization) = authorization.filter(|_| self.is_registry(&target)) {
                request = request.header(AUTHORIZATION, authorization);
            }
            let address = self.address(&target);
            let sent = request.send().await;
            let response = sent.map_err(|source| RegistryError::unreachable(&address, source))?;
            if !is_redirect(response.status()) {
                return Ok(response);
            }
            target = self.redirect_target(&target, &response)?;
        }
        Err(self.forbidden(&target, "there are too many redirects"))
    }

    fn redirect_target(&self, from: &Url, response: &Response) -> Result<Url, RegistryError> {
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let target = location.and_then(|location| from.join(location).ok());
        let target = target.ok_or_else(|| self.forbidden(from, "the redirect names no valid URL"))?;
        match target.scheme() {
            "https" => {}
            "http" if self.endpoint.base().scheme() == "http" => {}
            _ => return Err(self.forbidden(&target, "a redirect must stay encrypted")),
        }
        check_address(&self.endpoint, &target)?;
        Ok(target)
    }

    fn is_registry(&self, url: &Url) -> bool {
        url.origin() == self.endpoint.base().origin()
    }

    /// The registry by the name users know it by, or whoever else was asked.
    fn address(&self, url: &Url) -> String {
        if self.is_registry(url) {
            return self.endpoint.host().to_owned();
        }
        url.host_str().unwrap_or_default().to_owned()
    }

    fn forbidden(&self, target: &Url, why: &'static str) -> RegistryError {
        let mut target = target.clone();
        // What follows the path may be a signature.
        target.set_query(None);
        let registry = self.endpoint.host().to_owned();
        RegistryError::ForbiddenTarget {
            registry,
            target: target.to_string().chars().take(200).collect(),
            why,
        }
    }

    fn not_limited(&self, response: Response) -> Result<Response, RegistryError> {
        if response.status() != StatusCode::TOO_MANY_REQUESTS {
            return Ok(response);
        }
        let seconds = retry_after(&response).unwrap_or(MAX_PAUSE).as_secs();
        Err(RegistryError::RateLimited { registry: self.endpoint.host().to_owned(), seconds })
    }

    pub(super) async fn bounded(
        &self,
        response: Response,
        limit: u64,
        what: &str,
    ) -> Result<Vec<u8>, RegistryError> {
        read_bounded(response, limit, what, self.endpoint.host()).await
    }
}

/// Reads a body into memory, but never more than the limit.
pub(super) async fn read_bounded(
    mut response: Response,
    limit: u64,
    what: &str,
    address: &str,
) -> Result<Vec<u8>, RegistryError> {
    let too_large = || RegistryError::TooLarge { what: what.to_owned(), limit };
    if response.content_length().is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    while let Some(chunk) =
        response.chunk().await.map_err(|source| RegistryError::transfer(address, source))?
    {
        if (bytes.len() + chunk.len()) as u64 > limit {
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn is_busy(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 500 | 502 | 503 | 504)
}

/// `Retry-After` as seconds or as a date.
fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

/// Twice as long each time, and between half and all of that, so that many clients do not come back at once.
pub(crate) fn backoff(attempt: u32) -> Duration {
    let full = FIRST_PAUSE * 2u32.saturating_pow(attempt.saturating_sub(1));
    let random = std::hash::RandomState::new().build_hasher().finish() % 512;
    full / 2 + full * u32::try_from(random).unwrap_or(0) / 1024
}

#[allow(clippy::disallowed_methods, reason = "the pause that the registry asked for, or a bounded backoff")]
pub(crate) async fn wait(pause: Duration) {
    tokio::time::sleep(pause).await;
}

/// The system's resolver, less the addresses that serve a machine's own secrets: a name must not lead there either.
#[derive(Debug)]
struct PublicNames;

impl Resolve for PublicNames {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = found.filter(|address| !is_metadata(address.ip())).collect();
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}
