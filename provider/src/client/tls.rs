//! TLS to an agent: its certificate is checked against the given authority, ours is shown to it.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::TlsConnector;

/// Certificates as the user gave them: PEM text, or where a file is meant a path that is read when it is needed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsText {
    /// The name to expect in the agent's certificate, where it is not the address's host.
    pub server_name: Option<String>,
    /// The authority that signed the agent's certificate.
    pub ca_certificate: Option<String>,
    /// What we show to the agent.
    pub client_certificate: Option<String>,
    /// Its key.
    pub client_key: Option<Secret>,
}

/// Text that no debug output shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// An argument that mutual TLS cannot do without.
    #[error("{0} is not set, and an https address needs it")]
    Missing(&'static str),
    /// A path from the environment that cannot be read.
    #[error("{argument} names the file {path}, which cannot be read")]
    File {
        /// The argument.
        argument: &'static str,
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Text that is not PEM, or holds something else.
    #[error("{argument} holds no usable PEM text")]
    Pem {
        /// The argument.
        argument: &'static str,
        /// Why.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// Certificates and key that do not fit together, or are not understood.
    #[error("{argument} cannot be used")]
    Unusable {
        /// The argument.
        argument: &'static str,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// A server name that is none.
    #[error("\"{0}\" is no server name")]
    ServerName(String),
}

/// What a TLS connection to one agent is made with.
pub struct Tls {
    /// Makes connections.
    pub connector: TlsConnector,
    /// The name expected in the agent's certificate.
    pub server_name: ServerName<'static>,
}

impl TlsText {
    /// Reads the certificates and the key.
    pub fn load(&self, host: &str) -> Result<Tls, TlsError> {
        let authority = text(&self.ca_certificate, "ca_certificate")?;
        let certificate = text(&self.client_certificate, "client_certificate")?;
        let key = text(&self.client_key.as_ref().map(|key| key.0.clone()), "client_key")?;
        let mut roots = rustls::RootCertStore::empty();
        for root in certificates(&authority, "ca_certificate")? {
            roots.add(root).map_err(|source| TlsError::Unusable { argument: "ca_certificate", source })?;
        }
        let chain = certificates(&certificate, "client_certificate")?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|source| TlsError::Pem { argument: "client_key", source })?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|source| TlsError::Unusable { argument: "ca_certificate", source })?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(|source| TlsError::Unusable { argument: "client_key", source })?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = self.server_name.as_deref().unwrap_or(host);
        let server_name =
            ServerName::try_from(name.to_owned()).map_err(|_| TlsError::ServerName(name.to_owned()))?;
        Ok(Tls { connector: TlsConnector::from(Arc::new(config)), server_name })
    }
}

fn text(value: &Option<String>, argument: &'static str) -> Result<String, TlsError> {
    let value = value.as_deref().filter(|value| !value.is_empty()).ok_or(TlsError::Missing(argument))?;
    if value.contains("-----BEGIN") {
        return Ok(value.to_owned());
    }
    if value.contains('\n') {
        let source = rustls::pki_types::pem::Error::NoItemsFound;
        return Err(TlsError::Pem { argument, source });
    }
    std::fs::read_to_string(value).map_err(|source| TlsError::File {
        argument,
        path: value.to_owned(),
        source,
    })
}

fn certificates(text: &str, argument: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|source| TlsError::Pem { argument, source })?;
    if all.is_empty() {
        return Err(TlsError::Pem { argument, source: rustls::pki_types::pem::Error::NoItemsFound });
    }
    Ok(all)
}
