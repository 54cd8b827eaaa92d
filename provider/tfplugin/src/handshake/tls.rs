//! Mutual TLS with one peer only: the Terraform that started this process.
//!
//! Terraform's certificate is self-signed, of P-521, and marked as a certificate authority's, so the usual verification of a
//! chain would refuse it. It is compared with the one that came in the environment, and the peer must prove that it has the key.

use std::{fmt, io, sync::Arc};

use p521::{
    ecdsa::{Signature, VerifyingKey, signature::Verifier as _},
    pkcs8::DecodePublicKey as _,
};
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject as _},
    server::{
        ParsedCertificate,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

/// Why there can be no TLS with Terraform.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    #[error("PLUGIN_CLIENT_CERT holds no PEM certificate")]
    ClientCertificate(#[source] io::Error),
    #[error("cannot make a certificate")]
    Own(#[from] rcgen::Error),
    #[error("cannot configure it")]
    Configure(#[from] rustls::Error),
}

/// This side's certificate, and the settings that admit one client.
pub(super) struct Security {
    /// DER.
    pub certificate: Vec<u8>,
    pub config: ServerConfig,
}

/// Makes a certificate for this process and admits the client whose PEM certificate this is.
pub(super) fn for_client(pem: &str) -> Result<Security, TlsError> {
    let client = CertificateDer::from_pem_slice(pem.as_bytes())
        .map_err(|error| TlsError::ClientCertificate(io::Error::other(error)))?;
    let crypto = Arc::new(rustls::crypto::ring::default_provider());
    let key = KeyPair::generate()?;
    let own = CertificateParams::new(vec!["localhost".to_owned()])?.self_signed(&key)?;
    let certificate = own.der().to_vec();
    let mut config = ServerConfig::builder_with_provider(crypto.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(OnlyTerraform { client, crypto }))
        .with_single_cert(vec![own.into()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Security { certificate, config })
}

/// Admits who has this certificate and its key.
struct OnlyTerraform {
    client: CertificateDer<'static>,
    crypto: Arc<CryptoProvider>,
}

impl fmt::Debug for OnlyTerraform {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("OnlyTerraform")
    }
}

fn bad_signature() -> rustls::Error {
    rustls::Error::InvalidCertificate(rustls::CertificateError::BadSignature)
}

impl ClientCertVerifier for OnlyTerraform {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        if end_entity.as_ref() == self.client.as_ref() {
            Ok(ClientCertVerified::assertion())
        } else {
            Err(rustls::Error::InvalidCertificate(rustls::CertificateError::ApplicationVerificationFailure))
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        // TLS 1.3 alone is offered.
        Err(bad_signature())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if signed.scheme != SignatureScheme::ECDSA_NISTP521_SHA512 {
            let known = &self.crypto.signature_verification_algorithms;
            return verify_tls13_signature(message, certificate, signed, known);
        }
        let key = ParsedCertificate::try_from(certificate)?.subject_public_key_info();
        let key = VerifyingKey::from_public_key_der(key.as_ref()).map_err(|_| bad_signature())?;
        let signature = Signature::from_der(signed.signature()).map_err(|_| bad_signature())?;
        key.verify(message, &signature).map_err(|_| bad_signature())?;
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let mut schemes = self.crypto.signature_verification_algorithms.supported_schemes();
        schemes.insert(0, SignatureScheme::ECDSA_NISTP521_SHA512);
        schemes
    }
}
