//! Tokens and passwords: what goes into the `Authorization` header, and where it came from.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::Deserialize;
use url::{Host, Url, form_urlencoded};

use super::challenge::Challenge;
use super::endpoint::{Credentials, Endpoint};
use super::error::RegistryError;
use super::transport::Http;

/// The largest answer taken from a token server.
const MAX_TOKEN_ANSWER: u64 = 256 * 1024;
/// The specification's default where the server does not say.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);
/// A token is renewed this long before it ends, so that it does not end on the way.
const MARGIN: Duration = Duration::from_secs(5);
/// Names under which clouds serve instance credentials, beside the link-local addresses.
const METADATA_NAMES: [&str; 3] = ["metadata.google.internal", "metadata", "instance-data"];

/// What is known of how a registry wants to be asked. One a client, behind a lock.
#[derive(Debug, Default)]
pub(super) struct Auth {
    challenge: Option<Challenge>,
    tokens: HashMap<String, Token>,
}

struct Token {
    value: String,
    expires: Instant,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Option<u64>,
}

impl Auth {
    /// The header for a request, as far as the registry has said before what it wants.
    pub(super) async fn header(
        &mut self,
        http: &Http,
        endpoint: &Endpoint,
        scope: &str,
    ) -> Result<Option<String>, RegistryError> {
        match &self.challenge {
            None => Ok(None),
            Some(Challenge::Basic) => Ok(endpoint.credentials().and_then(basic)),
            Some(Challenge::Bearer { .. }) => {
                let header = self.bearer(http, endpoint, scope).await;
                if header.is_err() {
                    // The registry may ask otherwise the next time.
                    self.challenge = None;
                }
                header.map(Some)
            }
        }
    }

    /// After a 401: takes up the challenge, and forgets the token that was refused.
    pub(super) async fn answer(
        &mut self,
        http: &Http,
        endpoint: &Endpoint,
        scope: &str,
        challenges: Vec<Challenge>,
        refused: Option<&str>,
    ) -> Result<Option<String>, RegistryError> {
        let preferred = challenges.iter().find(|c| matches!(c, Challenge::Bearer { .. }));
        let Some(challenge) = preferred.or_else(|| challenges.first()) else {
            return Ok(None);
        };
        self.challenge = Some(challenge.clone());
        if *challenge == Challenge::Basic && refused.is_some() {
            return Ok(None);
        }
        let same = |token: &Token| Some(format!("Bearer {}", token.value).as_str()) == refused;
        if self.tokens.get(scope).is_some_and(same) {
            self.tokens.remove(scope);
        }
        self.header(http, endpoint, scope).await
    }

    async fn bearer(
        &mut self,
        http: &Http,
        endpoint: &Endpoint,
        scope: &str,
    ) -> Result<String, RegistryError> {
        if let Some(token) = self.tokens.get(scope).filter(|token| token.expires > Instant::now()) {
            return Ok(format!("Bearer {}", token.value));
        }
        let Some(Challenge::Bearer { realm, service }) = &self.challenge else {
            return Err(bad_challenge(endpoint, "it asked for no token"));
        };
        let token = fetch_token(http, endpoint, realm, service.as_deref(), scope).await?;
        let header = format!("Bearer {}", token.value);
        self.tokens.insert(scope.to_owned(), token);
        Ok(header)
    }
}

async fn fetch_token(
    http: &Http,
    endpoint: &Endpoint,
    realm: &str,
    service: Option<&str>,
    scope: &str,
) -> Result<Token, RegistryError> {
    let url = check_realm(endpoint, realm)?;
    let address = url.host_str().unwrap_or(realm).to_owned();
    let mut attempts = http.attempts();
    let response = loop {
        let request = token_request(http, &url, endpoint.credentials(), service, scope);
        let response = http.send(request, &address).await?;
        if !attempts.after(&response).await {
            break response;
        }
    };
    match response.status() {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            return Err(RegistryError::Unauthorized {
                registry: endpoint.host().to_owned(),
                what: "the token for ".to_owned() + if scope.is_empty() { "it" } else { scope },
                anonymous: endpoint.credentials().is_none(),
            });
        }
        status => {
            let what = "a token".to_owned();
            return Err(RegistryError::Status { registry: address, what, status: status.as_u16() });
        }
    }
    let bytes = http.document(response, MAX_TOKEN_ANSWER, "token", &address).await?;
    let answer: TokenAnswer = serde_json::from_slice(&bytes)
        .map_err(|_| bad_challenge(endpoint, "the token server's answer is not JSON"))?;
    let value = answer.token.or(answer.access_token).filter(|value| !value.is_empty());
    let value = value.ok_or_else(|| bad_challenge(endpoint, "the token server's answer holds no token"))?;
    let lifetime = answer.expires_in.map_or(DEFAULT_LIFETIME, Duration::from_secs);
    let expires = Instant::now() + lifetime.min(Duration::from_secs(86_400)).saturating_sub(MARGIN);
    Ok(Token { value, expires })
}

/// An identity token is exchanged as OAuth2 has it; a password goes along with the question.
fn token_request(
    http: &Http,
    realm: &Url,
    credentials: Option<&Credentials>,
    service: Option<&str>,
    scope: &str,
) -> RequestBuilder {
    let known = [("service", service), ("scope", Some(scope).filter(|scope| !scope.is_empty()))];
    let known = known.into_iter().filter_map(|(name, value)| Some((name, value?)));
    if let Some(Credentials::IdentityToken(token)) = credentials {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "refresh_token").append_pair("client_id", "berth");
        let body = form.extend_pairs(known).append_pair("refresh_token", token).finish();
        return http
            .request(Method::POST, realm.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body);
    }
    let mut url = realm.clone();
    url.query_pairs_mut().extend_pairs(known);
    let request = http.request(Method::GET, url);
    match credentials.and_then(basic) {
        Some(header) => request.header(AUTHORIZATION, header),
        None => request,
    }
}

/// Credentials go to a realm only if it is encrypted, or is the registry's own host asked the registry's own way.
fn check_realm(endpoint: &Endpoint, realm: &str) -> Result<Url, RegistryError> {
    let forbidden = |why| RegistryError::ForbiddenTarget {
        registry: endpoint.host().to_owned(),
        target: realm.chars().take(200).collect(),
        why,
    };
    let url = Url::parse(realm).map_err(|_| forbidden("a token realm must be a URL"))?;
    let same_host = url.host_str() == endpoint.base().host_str();
    match url.scheme() {
        "https" => {}
        "http" if same_host && endpoint.base().scheme() == "http" => {}
        "http" => return Err(forbidden("a token realm must be https, or on the registry's own host")),
        _ => return Err(forbidden("a token realm must be https")),
    }
    check_address(endpoint, &url)?;
    Ok(url)
}

/// Refuses what no registry may send a client to: link-local and cloud metadata addresses.
pub(super) fn check_address(endpoint: &Endpoint, url: &Url) -> Result<(), RegistryError> {
    let metadata = match url.host() {
        Some(Host::Ipv4(address)) => is_metadata(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => is_metadata(IpAddr::V6(address)),
        Some(Host::Domain(name)) => METADATA_NAMES.contains(&name.trim_end_matches('.')),
        None => true,
    };
    if metadata {
        return Err(RegistryError::ForbiddenTarget {
            registry: endpoint.host().to_owned(),
            target: url.host_str().unwrap_or_default().to_owned(),
            why: "it is a link-local or metadata address",
        });
    }
    Ok(())
}

/// Whether an address is one that serves a machine's own secrets.
pub(super) fn is_metadata(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local() || address.octets() == [100, 100, 100, 200],
        IpAddr::V6(address) => {
            address.is_unicast_link_local()
                || address.segments()[..2] == [0xfd00, 0x0ec2]
                || address.to_ipv4_mapped().is_some_and(|mapped| is_metadata(IpAddr::V4(mapped)))
        }
    }
}

/// An identity token is no password.
fn basic(credentials: &Credentials) -> Option<String> {
    let Credentials::Password { username, password } = credentials else { return None };
    Some(format!("Basic {}", STANDARD.encode(format!("{username}:{password}"))))
}

fn bad_challenge(endpoint: &Endpoint, why: &'static str) -> RegistryError {
    RegistryError::BadChallenge { registry: endpoint.host().to_owned(), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_realm_is_encrypted_or_the_registrys_own_host() {
        let https = Endpoint::parse("https://registry.example", false).unwrap();
        let plain = Endpoint::parse("http://127.0.0.1:5000", true).unwrap();
        check_realm(&https, "https://auth.example/token").unwrap();
        check_realm(&plain, "http://127.0.0.1:6000/token").unwrap();
        check_realm(&plain, "https://auth.example/token").unwrap();
        for (endpoint, realm) in [
            (&https, "http://registry.example/token"),
            (&https, "http://evil.example/token"),
            (&https, "file:///etc/passwd"),
            (&https, "ftp://auth.example/token"),
            (&https, "https://169.254.169.254/latest"),
            (&https, "https://[fe80::1]/"),
            (&https, "https://[::ffff:169.254.169.254]/"),
            (&https, "https://[fd00:ec2::254]/"),
            (&https, "https://100.100.100.200/latest"),
            (&https, "https://metadata.google.internal/"),
            (&https, "https://Metadata.Google.Internal./"),
            (&https, "/token"),
            (&plain, "http://evil.example/token"),
            (&plain, "http://localhost:5000/token"),
        ] {
            let error = check_realm(endpoint, realm).unwrap_err();
            assert!(matches!(error, RegistryError::ForbiddenTarget { .. }), "{realm}: {error}");
        }
    }
}
