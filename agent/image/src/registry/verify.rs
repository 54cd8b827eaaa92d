//! Signatures: cosign's, made with a key, looked for where cosign puts them.
//!
//! A signature is a layer of the manifest under the tag `sha256-<hex>.sig` beside the image, or of one that refers to
//! the image. The layer is a small JSON
//! document that names the digest that is signed; its annotation holds the signature of that document. The platform's
//! manifest may be signed, or the index that names it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519,
    RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use spki::SubjectPublicKeyInfoRef;

use super::error::RegistryError;
use super::manifest::{Descriptor, Document};
use super::{Client, ManifestBytes, Selector};
use crate::digest::Digest;

/// What one signature says is a few hundred bytes.
const MAX_PAYLOAD: u64 = 64 * 1024;
/// The most signatures of one image that are looked at.
const MAX_SIGNATURES: usize = 64;
const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const ANNOTATION: &str = "dev.cosignproject.cosign/signature";
const ARTIFACT: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
const SIGNATURE_TYPE: &str = "cosign container image signature";

const EC: &str = "1.2.840.10045.2.1";
const P256: &str = "1.2.840.10045.3.1.7";
const P384: &str = "1.3.132.0.34";
const RSA: &str = "1.2.840.113549.1.1.1";
const EDWARDS: &str = "1.3.101.112";

/// A public key that signatures are checked with.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifyKey {
    kind: KeyKind,
    key: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyKind {
    P256,
    P384,
    Rsa,
    Ed25519,
}

/// Why a text is no key that signatures can be checked with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not PEM, or not a public key in it.
    #[error("this is not a public key in PEM: it begins with -----BEGIN PUBLIC KEY-----")]
    Pem,
    /// A kind of key that is not supported.
    #[error("keys of the kind {0} are not supported: use ECDSA on P-256 or P-384, RSA or Ed25519")]
    Kind(String),
}

impl std::fmt::Debug for VerifyKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VerifyKey({:?})", self.kind)
    }
}

impl VerifyKey {
    /// Reads `-----BEGIN PUBLIC KEY-----`.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).map_err(|_| KeyError::Pem)?;
        let info = SubjectPublicKeyInfoRef::try_from(der.as_ref()).map_err(|_| KeyError::Pem)?;
        let algorithm = info.algorithm.oid.to_string();
        let kind = match algorithm.as_str() {
            EC => match info.algorithm.parameters_oid().map_err(|_| KeyError::Pem)?.to_string().as_str() {
                P256 => KeyKind::P256,
                P384 => KeyKind::P384,
                curve => return Err(KeyError::Kind(format!("ECDSA on {curve}"))),
            },
            RSA => KeyKind::Rsa,
            EDWARDS => KeyKind::Ed25519,
            _ => return Err(KeyError::Kind(algorithm)),
        };
        let key = info.subject_public_key.as_bytes().ok_or(KeyError::Pem)?.to_vec();
        Ok(Self { kind, key })
    }

    fn verifies(&self, payload: &[u8], signature: &[u8]) -> bool {
        let algorithms: &[&'static dyn VerificationAlgorithm] = match self.kind {
            KeyKind::P256 => &[&ECDSA_P256_SHA256_ASN1],
            // cosign hashes with SHA-256 whatever the curve.
            KeyKind::P384 => &[&ECDSA_P384_SHA256_ASN1, &ECDSA_P384_SHA384_ASN1],
            KeyKind::Rsa => &[&RSA_PKCS1_2048_8192_SHA256],
            KeyKind::Ed25519 => &[&ED25519],
        };
        let fits = |algorithm: &&'static dyn VerificationAlgorithm| {
            UnparsedPublicKey::new(*algorithm, &self.key).verify(payload, signature).is_ok()
        };
        algorithms.iter().any(fits)
    }
}

#[derive(Deserialize)]
struct Signatures {
    #[serde(default)]
    layers: Vec<SignatureLayer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SignatureLayer {
    #[serde(default)]
    media_type: String,
    digest: Digest,
    size: u64,
    #[serde(default)]
    annotations: std::collections::HashMap<String, String>,
}

#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    #[serde(rename = "type")]
    kind: String,
    image: SignedImage,
}

#[derive(Deserialize)]
struct SignedImage {
    #[serde(rename = "docker-manifest-digest")]
    digest: Digest,
}

impl Client {
    /// Checks that one of the keys signed this manifest, or the index `root` that names it. Fine where no key is wanted.
    pub(crate) async fn verify(
        &self,
        repository: &str,
        manifest: &Digest,
        root: &Digest,
    ) -> Result<(), RegistryError> {
        if self.keys.is_empty() || self.is_verified(manifest) {
            return Ok(());
        }
        let own = self.signed(repository, manifest).await;
        let checked = match own {
            Err(error) if root != manifest && error.is_signature() => {
                match self.signed(repository, root).await {
                    Ok(()) => self.names(repository, root, manifest).await,
                    // Of two reasons the one that says more.
                    Err(RegistryError::NotSigned { .. }) => Err(error),
                    Err(other) => Err(other),
                }
            }
            own => own,
        };
        checked?;
        self.set_verified(manifest);
        Ok(())
    }

    /// That an index names a manifest: what signs the one signs the other.
    async fn names(&self, repository: &str, root: &Digest, manifest: &Digest) -> Result<(), RegistryError> {
        let found = self.manifest(repository, Selector::Digest(root)).await?;
        let what = format!("{repository}@{root}");
        let named = match Document::parse(&found, &what)? {
            Document::Index(entries) => entries.iter().any(|entry| entry.digest == *manifest),
            Document::Manifest(_) => false,
        };
        if named {
            Ok(())
        } else {
            Err(bad(repository, manifest, "what is signed is an index that does not name it"))
        }
    }

    async fn signed(&self, repository: &str, digest: &Digest) -> Result<(), RegistryError> {
        let tag = format!("sha256-{}.sig", digest.hex());
        let found = match self.origin.manifest(repository, Selector::Tag(&tag)).await {
            Ok(found) => vec![found],
            Err(RegistryError::NotFound { .. }) => self.referring(repository, digest).await?,
            Err(error) => return Err(error),
        };
        let mut outcome =
            Err(RegistryError::NotSigned { repository: repository.to_owned(), digest: *digest });
        for found in &found {
            outcome = self.signed_in(repository, digest, found).await;
            if !outcome.as_ref().is_err_and(RegistryError::is_signature) {
                break;
            }
        }
        outcome
    }

    /// Signatures that refer to what they sign, as cosign can be told to make them.
    async fn referring(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<Vec<ManifestBytes>, RegistryError> {
        let mut found = Vec::new();
        for referrer in self.referrers(repository, digest, Some(ARTIFACT)).await?.iter().take(MAX_SIGNATURES)
        {
            found.push(self.origin.manifest(repository, Selector::Digest(&referrer.digest)).await?);
        }
        Ok(found)
    }

    async fn signed_in(
        &self,
        repository: &str,
        digest: &Digest,
        found: &ManifestBytes,
    ) -> Result<(), RegistryError> {
        let signatures: Signatures = serde_json::from_slice(&found.bytes)
            .map_err(|_| bad(repository, digest, "its signatures are not a manifest"))?;
        if signatures.layers.len() > MAX_SIGNATURES {
            return Err(bad(repository, digest, "it has too many signatures"));
        }
        let mut why = "its manifest of signatures holds none";
        for layer in signatures.layers.iter().filter(|layer| layer.media_type == SIMPLE_SIGNING) {
            match self.signature(repository, digest, layer).await? {
                Ok(()) => return Ok(()),
                Err(reason) => why = reason,
            }
        }
        Err(bad(repository, digest, why))
    }

    /// Whether one signature holds; if not, why.
    async fn signature(
        &self,
        repository: &str,
        digest: &Digest,
        layer: &SignatureLayer,
    ) -> Result<Result<(), &'static str>, RegistryError> {
        let Some(signature) = layer.annotations.get(ANNOTATION).and_then(|text| STANDARD.decode(text).ok())
        else {
            return Ok(Err("its signature is not base64"));
        };
        let blob = Descriptor { digest: layer.digest, size: layer.size };
        let payload = self.origin.blob_bytes(repository, &blob, MAX_PAYLOAD).await?;
        if !self.keys.iter().any(|key| key.verifies(&payload, &signature)) {
            return Ok(Err("none of the remote's keys made its signature"));
        }
        // Only what is signed is read.
        let Ok(Payload { critical }) = serde_json::from_slice(&payload) else {
            return Ok(Err("what is signed is not a description of an image"));
        };
        if critical.kind != SIGNATURE_TYPE {
            return Ok(Err("what is signed is not an image"));
        }
        if critical.image.digest != *digest {
            return Ok(Err("the signature is another image's"));
        }
        Ok(Ok(()))
    }
}

fn bad(repository: &str, digest: &Digest, why: &'static str) -> RegistryError {
    RegistryError::BadSignature { repository: repository.to_owned(), digest: *digest, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_key_is_refused() {
        for bad in ["", "key", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"] {
            assert_eq!(VerifyKey::from_pem(bad).unwrap_err(), KeyError::Pem, "{bad}");
        }
        // P-521: a fine key, and not one that can be used.
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        assert!(VerifyKey::from_pem(&key.serialize_pem()).is_err());
        VerifyKey::from_pem(&key.public_key_pem()).unwrap();
    }
}
