//! Names made by the agent or by content: UUIDs and digests.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A fresh random id.
            #[must_use]
            pub fn random() -> Self {
                Self(Uuid::new_v4())
            }

            /// The id as bytes, for names derived from it.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                Uuid::try_parse(text).map(Self).map_err(|_| BadId::Uuid { text: text.to_owned() })
            }
        }
    };
}

uuid_id!(
    /// An instance of one agent.
    InstanceId
);
uuid_id!(
    /// A registry known by a name.
    RemoteId
);
uuid_id!(
    /// Something that keeps an image in the store.
    PinId
);
uuid_id!(
    /// A network of one agent.
    NetworkId
);
uuid_id!(
    /// A volume of one agent.
    VolumeId
);
uuid_id!(
    /// One agent: made with its data directory.
    AgentId
);

/// The digest of a manifest: `sha256:` and 64 lower-case hexadecimal digits. An image's id is one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

/// Text that is no id.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadId {
    /// Not a UUID.
    #[error("\"{text}\" is not a UUID")]
    Uuid {
        /// What was given.
        text: String,
    },
    /// Not a SHA-256 digest.
    #[error("\"{text}\" is not a digest: write sha256: and 64 lower-case hexadecimal digits")]
    Digest {
        /// What was given.
        text: String,
    },
}

impl Digest {
    const PREFIX: &'static str = "sha256:";

    /// The digest's text, `sha256:…`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The 64 hexadecimal digits alone.
    #[must_use]
    pub fn hex(&self) -> &str {
        self.0.trim_start_matches(Self::PREFIX)
    }
}

impl FromStr for Digest {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let hex = text.strip_prefix(Self::PREFIX).unwrap_or_default();
        let good = hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if good { Ok(Self(text.to_owned())) } else { Err(BadId::Digest { text: text.to_owned() }) }
    }
}

impl TryFrom<String> for Digest {
    type Error = BadId;

    fn try_from(text: String) -> Result<Self, BadId> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_exactly_sha256_and_64_lower_case_digits() {
        let good = format!("sha256:{}", "a0".repeat(32));
        assert_eq!(good.parse::<Digest>().unwrap().hex(), "a0".repeat(32));
        let upper = format!("sha256:{}", "A0".repeat(32));
        let path = format!("sha256:../{}", "a".repeat(61));
        for bad in ["", "sha256:", "sha256:abc", &"a".repeat(64), &upper, &path] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_id_survives_its_text() {
        let id = InstanceId::random();
        assert_eq!(id.to_string().parse::<InstanceId>().unwrap(), id);
        assert!("web".parse::<InstanceId>().is_err());
    }
}
