//! SHA-256 digests as registries write them. The only form that becomes part of a file name is the parsed one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A SHA-256 digest; written `sha256:` and 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

/// Why a text is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// Another algorithm than the one there is.
    #[error("{0:?} is not a digest: only sha256:<64 hex digits> is supported")]
    Algorithm(String),
    /// The part after the colon.
    #[error("{0:?} is not a digest: sha256: takes 64 lower-case hex digits")]
    Hex(String),
}

impl Digest {
    /// Wraps the 32 bytes of a finished hash.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// 64 lower-case hex digits, without the algorithm.
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }

    /// Reads 64 hex digits, as in a file name of the store.
    pub fn from_hex(text: &str) -> Result<Self, DigestError> {
        let mut bytes = [0; 32];
        let lower = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !lower || hex::decode_to_slice(text, &mut bytes).is_err() {
            return Err(DigestError::Hex(shorten(text)));
        }
        Ok(Self(bytes))
    }
}

/// So that a hostile text cannot fill an error message.
fn shorten(text: &str) -> String {
    text.chars().take(100).collect()
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        match text.strip_prefix("sha256:") {
            Some(hex) => Self::from_hex(hex).map_err(|_| DigestError::Hex(shorten(text))),
            None => Err(DigestError::Algorithm(shorten(text))),
        }
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_sha256_is_a_digest() {
        let good = format!("sha256:{}", "0a".repeat(32));
        assert_eq!(good.parse::<Digest>().unwrap().to_string(), good);
        for bad in [
            "",
            "sha256:",
            "sha256:../../etc/passwd",
            "sha512:00",
            &format!("sha512:{}", "0a".repeat(32)),
            &"0a".repeat(32),
            &format!("sha256:{}", "0A".repeat(32)),
            &format!("sha256:{}/", "0a".repeat(32)),
            &format!("sha256:{}", "0a".repeat(31)),
        ] {
            bad.parse::<Digest>().unwrap_err();
        }
        for long in ["x".repeat(1 << 20), format!("sha256:{}", "x".repeat(1 << 20))] {
            let error = long.parse::<Digest>().unwrap_err().to_string();
            assert!(error.len() < 200, "a hostile digest makes a message of {} bytes", error.len());
        }
    }
}
