//! Mutual TLS from files: a client without a certificate of a known authority is refused.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::config::Tls;
use super::error::StartError;

/// Reads the files and puts them together.
pub(super) fn load(tls: &Tls) -> Result<Arc<ServerConfig>, StartError> {
    let chain = certificates("tls.certificate", &tls.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(|error| pem("tls.key", &tls.key, error))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates("tls.client_ca", &tls.client_ca)? {
        roots.add(certificate).map_err(|error| pem("tls.client_ca", &tls.client_ca, error))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let unusable = |error: Box<dyn std::error::Error + Send + Sync>| StartError::Tls(error);
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let verifier = verifier.build().map_err(|error| unusable(error.into()))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(error.into()))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|error| unusable(error.into()))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, StartError> {
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = found.map_err(|error| pem(what, path, error))?;
    if found.is_empty() {
        return Err(pem(what, path, "there is no certificate in it"));
    }
    Ok(found)
}

fn pem(
    what: &'static str,
    path: &Path,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> StartError {
    StartError::Pem { what, path: path.to_owned(), source: source.into() }
}
