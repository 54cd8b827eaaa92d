//! Where a registry is, and how to talk to it.

use std::fmt;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use url::Url;

use crate::reference::{RemoteAddress, is_docker_hub, is_host};

/// What logs in. None of it shows in debug output.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A user name, and a password or access token.
    Password {
        /// The user.
        username: String,
        /// The password or access token.
        password: String,
    },
    /// What a login left in a Docker config or with a helper, to get access tokens with.
    IdentityToken(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// A registry's address and the way to talk to it.
#[derive(Debug, Clone)]
pub struct Endpoint {
    base: Url,
    host: String,
    path: String,
    credentials: Option<Credentials>,
    certificates: Vec<CertificateDer<'static>>,
    identity: Option<Identity>,
}

/// A client certificate with what is between it and its authority, and its key.
struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(…)")
    }
}

/// Why a registry's settings are not usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Not an address.
    #[error("{0:?} is not a registry's address: write https://HOST[:PORT]")]
    Address(String),
    /// `http://` without `insecure`.
    #[error("{0:?} is not encrypted: write https://, or set insecure = true")]
    Insecure(String),
    /// Not certificates in PEM.
    #[error("the CA certificate is not PEM text with at least one certificate")]
    CaCertificate,
    /// Not a certificate and its key in PEM.
    #[error("the client certificate and its key are not a pair of PEM texts")]
    ClientCertificate,
    /// The system's own roots could not be read, and no CA was given.
    #[error(
        "this host has no CA certificates: install the package ca-certificates, or give the registry's own"
    )]
    NoRoots,
}

impl Endpoint {
    /// Reads `https://host[:port][/path]`; `http://` only with `insecure`.
    pub fn parse(address: &str, insecure: bool) -> Result<Self, EndpointError> {
        let bad = || EndpointError::Address(address.chars().take(200).collect());
        let url = Url::parse(address).map_err(|_| bad())?;
        match url.scheme() {
            "https" => {}
            "http" if insecure => {}
            "http" => return Err(EndpointError::Insecure(address.to_owned())),
            _ => return Err(bad()),
        }
        let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
        if !plain || url.fragment().is_some() {
            return Err(bad());
        }
        let host = match (url.host_str(), url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (Some(host), None) => host.to_owned(),
            (None, _) => return Err(bad()),
        };
        if !is_host(&host) {
            return Err(bad());
        }
        let path = url.path().trim_matches('/').to_owned();
        let mut base = url;
        base.set_path("/");
        if is_docker_hub(&host) {
            // What users call docker.io answers under another name.
            base.set_host(Some("registry-1.docker.io")).map_err(|_| bad())?;
        }
        let host = if is_docker_hub(&host) { "docker.io".to_owned() } else { host };
        Ok(Self { base, host, path, credentials: None, certificates: Vec::new(), identity: None })
    }

    /// The registry that a reference names by its host alone: over https, anonymous.
    pub fn for_host(host: &str) -> Result<Self, EndpointError> {
        Self::parse(&format!("https://{host}"), false)
    }

    /// With a user name and a password.
    #[must_use]
    pub fn with_credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = Some(credentials);
        self
    }

    /// Trusts these CA certificates (PEM) instead of the system's.
    pub fn with_ca_certificate(mut self, pem: &str) -> Result<Self, EndpointError> {
        let certificates = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
        self.certificates = certificates.map_err(|_| EndpointError::CaCertificate)?;
        if self.certificates.is_empty() {
            return Err(EndpointError::CaCertificate);
        }
        Ok(self)
    }

    /// Shows this certificate (PEM, with its chain) when the registry asks for one.
    pub fn with_client_certificate(mut self, chain: &str, key: &str) -> Result<Self, EndpointError> {
        let bad = || EndpointError::ClientCertificate;
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|_| bad())?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| bad())?;
        if chain.is_empty() {
            return Err(bad());
        }
        self.identity = Some(Identity { chain, key });
        // Whether they fit each other is known now, not at the first pull.
        self.tls(true)?;
        Ok(self)
    }

    /// What references need to know of it, under a remote's name.
    pub fn remote_address(&self, name: &str) -> RemoteAddress {
        RemoteAddress { name: name.to_owned(), host: self.host.clone(), path: self.path.clone() }
    }

    /// The host as references write it, with its port if it has one.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// What stands before every repository, without slashes around it.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn base(&self) -> &Url {
        &self.base
    }

    pub(crate) fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    /// Whether there is nothing about TLS that is this registry's alone.
    pub(crate) fn is_plain_tls(&self) -> bool {
        self.certificates.is_empty() && self.identity.is_none()
    }

    /// The TLS settings; ring does the cryptography. For the registry itself: the given CAs, or else the system's, and the
    /// client certificate. For whom it sends to: both CAs, and none.
    pub(crate) fn tls(&self, registry: bool) -> Result<rustls::ClientConfig, EndpointError> {
        let mut roots = rustls::RootCertStore::empty();
        if self.certificates.is_empty() || !registry {
            // A damaged file among the system's certificates is no reason to trust none of them.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        for certificate in &self.certificates {
            roots.add(certificate.clone()).map_err(|_| EndpointError::CaCertificate)?;
        }
        if roots.is_empty() && self.base.scheme() == "https" {
            return Err(EndpointError::NoRoots);
        }
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| EndpointError::CaCertificate)?;
        let builder = builder.with_root_certificates(roots);
        match self.identity.clone().filter(|_| registry) {
            None => Ok(builder.with_no_client_auth()),
            Some(Identity { chain, key }) => {
                builder.with_client_auth_cert(chain, key).map_err(|_| EndpointError::ClientCertificate)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_https_unless_insecure_is_said() {
        assert_eq!(Endpoint::parse("https://ghcr.io", false).unwrap().host(), "ghcr.io");
        assert_eq!(Endpoint::parse("http://127.0.0.1:5000", true).unwrap().host(), "127.0.0.1:5000");
        assert_eq!(
            Endpoint::parse("http://127.0.0.1:5000", false).unwrap_err(),
            EndpointError::Insecure("http://127.0.0.1:5000".to_owned())
        );
        for bad in [
            "",
            "ghcr.io",
            "ftp://x",
            "file:///etc",
            "https://u:p@host",
            "https://host/?q",
            "https://host/#f",
            "https://",
            // What no reference could name.
            "https://my_registry",
            "https://-host",
        ] {
            assert!(matches!(Endpoint::parse(bad, true), Err(EndpointError::Address(_))), "{bad}");
        }
    }

    #[test]
    fn docker_hub_answers_under_another_name() {
        let hub = Endpoint::for_host("docker.io").unwrap();
        assert_eq!(hub.host(), "docker.io");
        assert_eq!(hub.base().host_str(), Some("registry-1.docker.io"));
    }

    #[test]
    fn a_path_goes_before_repositories() {
        let address = Endpoint::parse("https://ghcr.io/some/org/", false).unwrap().remote_address("org");
        assert_eq!((address.host.as_str(), address.path.as_str()), ("ghcr.io", "some/org"));
    }

    #[test]
    fn no_debug_output_holds_a_password() {
        let credentials =
            Credentials::Password { username: "user".to_owned(), password: "hunter2".to_owned() };
        let endpoint = Endpoint::for_host("ghcr.io").unwrap().with_credentials(credentials);
        assert!(!format!("{endpoint:?}").contains("hunter2"));
    }

    #[test]
    fn a_certificate_that_is_none_is_refused() {
        let endpoint = || Endpoint::for_host("ghcr.io").unwrap();
        for none in ["", "nonsense"] {
            assert_eq!(endpoint().with_ca_certificate(none).unwrap_err(), EndpointError::CaCertificate);
        }
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        assert_eq!(
            endpoint().with_client_certificate("nonsense", &key).unwrap_err(),
            EndpointError::ClientCertificate
        );
    }
}
