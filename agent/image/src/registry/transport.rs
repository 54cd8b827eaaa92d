//! One request and what belongs to it: authentication, redirects, retries, bounds and deadlines.

use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{ACCEPT, AUTHORIZATION, LOCATION, RANGE, WWW_AUTHENTICATE};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use tokio::sync::Mutex;
use url::Url;

use super::auth::{Auth, check_address, is_metadata};
use super::challenge;
use super::endpoint::Endpoint;
use super::error::RegistryError;
use super::patience::{Attempts, Body, Patience, retry_after};

const MAX_REDIRECTS: usize = 5;

/// What is asked of a registry.
#[derive(Debug)]
pub(super) struct Request {
    pub method: Method,
    pub url: Url,
    pub accept: Option<&'static str>,
    pub range: Option<String>,
    /// What a token must be good for.
    pub scope: String,
}

impl Request {
    pub(super) fn get(url: Url, scope: String) -> Self {
        Self { method: Method::GET, url, accept: None, range: None, scope }
    }
}

/// The HTTP client, and how long it waits.
#[derive(Debug)]
pub(super) struct Http {
    /// For the registry's own host.
    registry: reqwest::Client,
    /// For whom it sends to: it knows no client certificate.
    elsewhere: reqwest::Client,
    host: Option<String>,
    patience: Patience,
}

impl Http {
    fn new(endpoint: &Endpoint, patience: Patience) -> Result<Self, RegistryError> {
        let build = |tls| {
            let builder = reqwest::Client::builder()
                .tls_backend_preconfigured(tls)
                .user_agent(concat!("berth/", env!("CARGO_PKG_VERSION")))
                .redirect(reqwest::redirect::Policy::none())
                .dns_resolver(std::sync::Arc::new(PublicNames))
                .connect_timeout(patience.connect);
            builder
                .build()
                .map_err(|source| RegistryError::Setup { address: endpoint.host().to_owned(), source })
        };
        let registry = build(endpoint.tls(true)?)?;
        let elsewhere = if endpoint.is_plain_tls() { registry.clone() } else { build(endpoint.tls(false)?)? };
        let host = endpoint.base().host_str().map(str::to_owned);
        Ok(Self { registry, elsewhere, host, patience })
    }

    pub(super) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        let own = url.host_str() == self.host.as_deref();
        let client = if own { &self.registry } else { &self.elsewhere };
        client.request(method, url)
    }

    /// Sends a request and waits for the head of its answer; `address` is whom errors name.
    pub(super) async fn send(
        &self,
        request: RequestBuilder,
        address: &str,
    ) -> Result<Response, RegistryError> {
        match tokio::time::timeout(self.patience.answer, request.send()).await {
            Ok(sent) => sent.map_err(|source| RegistryError::unreachable(address, source)),
            Err(_elapsed) => Err(RegistryError::NoAnswer {
                address: address.to_owned(),
                seconds: self.patience.answer.as_secs_f32(),
            }),
        }
    }

    pub(super) fn attempts(&self) -> Attempts<'_> {
        Attempts::new(&self.patience)
    }

    /// A small body, in memory.
    pub(super) async fn document(
        &self,
        response: Response,
        limit: u64,
        what: &str,
        address: &str,
    ) -> Result<Vec<u8>, RegistryError> {
        let body = Body::new(response, address, &self.patience, self.patience.document);
        body.bounded(limit, what).await
    }

    /// A large body, to be read chunk by chunk.
    pub(super) fn body(&self, response: Response, address: &str) -> Body {
        Body::new(response, address, &self.patience, self.patience.layer)
    }

    /// A 429 that is left when all attempts were made says when to try again.
    fn not_limited(&self, response: Response, registry: &str) -> Result<Response, RegistryError> {
        if response.status() != StatusCode::TOO_MANY_REQUESTS {
            return Ok(response);
        }
        let seconds = retry_after(&response).unwrap_or(self.patience.max_pause).as_secs();
        Err(RegistryError::RateLimited { registry: registry.to_owned(), seconds })
    }
}

#[derive(Debug)]
pub(super) struct Transport {
    http: Http,
    endpoint: Endpoint,
    auth: Mutex<Auth>,
}

impl Transport {
    pub(super) fn new(endpoint: Endpoint, patience: Patience) -> Result<Self, RegistryError> {
        Ok(Self { http: Http::new(&endpoint, patience)?, endpoint, auth: Mutex::default() })
    }

    pub(super) fn http(&self) -> &Http {
        &self.http
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Sends a request, authenticates when asked to, and tries again when the registry asks for patience.
    pub(super) async fn send(&self, request: &Request) -> Result<Response, RegistryError> {
        let mut attempts = self.http.attempts();
        loop {
            match self.authorized(request).await {
                Ok(response) if !attempts.after(&response).await => {
                    return self.http.not_limited(response, self.endpoint.host());
                }
                Ok(response) => {
                    tracing::debug!(registry = self.endpoint.host(), status = %response.status(), "asking again");
                }
                // A connection that was closed under the request; none at all is told at once.
                Err(error) if error.is_broken_connection() && attempts.another().await => {
                    tracing::debug!(registry = self.endpoint.host(), %error, "asking again");
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn authorized(&self, request: &Request) -> Result<Response, RegistryError> {
        let scope = &request.scope;
        let header = self.auth.lock().await.header(&self.http, &self.endpoint, scope).await?;
        let response = self.follow(request, header.as_deref()).await?;
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
            Some(header) => self.follow(request, Some(&header)).await,
        }
    }

    /// Follows redirects; credentials stay with the registry's own origin.
    async fn follow(&self, asked: &Request, authorization: Option<&str>) -> Result<Response, RegistryError> {
        let mut target = asked.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self.http.request(asked.method.clone(), target.clone());
            if let Some(accept) = asked.accept {
                request = request.header(ACCEPT, accept);
            }
            if let Some(range) = &asked.range {
                request = request.header(RANGE, range);
            }
            if let Some(authorization) = authorization.filter(|_| self.is_registry(&target)) {
                request = request.header(AUTHORIZATION, authorization);
            }
            let address = self.address(&target);
            let response = self.http.send(request, &address).await?;
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
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_does_not_lead_to_a_metadata_address() {
        // A number is a name that means itself: no server is asked.
        for (name, addresses) in [("169.254.169.254", 0), ("fd00:ec2::254", 0), ("127.0.0.1", 1)] {
            let found = PublicNames.resolve(name.parse().unwrap()).await.unwrap();
            assert_eq!(found.count(), addresses, "{name}");
        }
    }
}
