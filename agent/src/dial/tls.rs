//! The caller's certificates: PEM text, or paths of PEM files.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

/// What the caller has; each is PEM text or the path of a file of it.
#[derive(Clone, Default)]
pub struct Certificates {
    /// Who vouches for the agent.
    pub ca_certificate: Option<String>,
    /// Who vouches for the caller.
    pub client_certificate: Option<String>,
    /// The caller's key.
    pub client_key: Option<String>,
}

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// One is not given.
    #[error("{variable} is not set: an https:// agent wants a certificate of its clients")]
    Missing {
        /// The environment variable.
        variable: &'static str,
    },
    /// A file.
    #[error("The file {} in {variable} cannot be read", path.display())]
    File {
        /// The environment variable.
        variable: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Not PEM, or not of the right kind.
    #[error("{variable} holds nothing that can be used")]
    Pem {
        /// The environment variable.
        variable: &'static str,
        /// Why.
        #[source]
        source: Option<rustls::pki_types::pem::Error>,
    },
    /// They do not fit together.
    #[error("The certificates cannot be used together")]
    Unusable(#[source] rustls::Error),
    /// The host's name.
    #[error("\"{host}\" can be no server's name")]
    Name {
        /// The host.
        host: String,
    },
}

const CA: &str = "BERTH_CA_CERTIFICATE";
const CERTIFICATE: &str = "BERTH_CLIENT_CERTIFICATE";
const KEY: &str = "BERTH_CLIENT_KEY";

impl Certificates {
    /// From the environment.
    #[must_use]
    pub fn from_environment() -> Self {
        let get = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
        Self { ca_certificate: get(CA), client_certificate: get(CERTIFICATE), client_key: get(KEY) }
    }

    /// What secures a connection to a host.
    pub(super) fn connector(&self, host: &str) -> Result<(TlsConnector, ServerName<'static>), TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(CA, self.ca_certificate.as_deref())? {
            roots.add(certificate).map_err(TlsError::Unusable)?;
        }
        let chain = certificates(CERTIFICATE, self.client_certificate.as_deref())?;
        let key = pem(KEY, self.client_key.as_deref())?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|source| TlsError::Pem { variable: KEY, source: Some(source) })?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Unusable)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(TlsError::Unusable)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|_| TlsError::Name { host: host.to_owned() })?;
        Ok((TlsConnector::from(Arc::new(config)), name))
    }
}

fn pem(variable: &'static str, value: Option<&str>) -> Result<String, TlsError> {
    let value = value.ok_or(TlsError::Missing { variable })?;
    if value.contains("-----BEGIN") {
        return Ok(value.to_owned());
    }
    std::fs::read_to_string(value).map_err(|source| TlsError::File { variable, path: value.into(), source })
}

fn certificates(
    variable: &'static str,
    value: Option<&str>,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = pem(variable, value)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let found = found.map_err(|source| TlsError::Pem { variable, source: Some(source) })?;
    if found.is_empty() {
        return Err(TlsError::Pem { variable, source: None });
    }
    Ok(found)
}
