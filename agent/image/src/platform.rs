//! Platforms as an index names them: an operating system, an architecture and perhaps a variant of it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An operating system, an architecture, and a variant where it matters (`arm/v7`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`, as Go writes it.
    pub os: String,
    /// `amd64`, `arm64`, …, as Go writes it.
    pub architecture: String,
    /// `v7`, `v8`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// Why a text names no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a platform: write OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT, such as linux/arm64")]
pub struct PlatformError(pub String);

impl Platform {
    /// The platform of this machine.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" => "ppc64le",
            "loongarch64" => "loong64",
            other => other,
        };
        Self { os: "linux".to_owned(), architecture: architecture.to_owned(), variant: None }
    }

    /// How well what is offered serves what is wanted: `None` is not at all, and more is better.
    pub fn score(&self, offered: &Self) -> Option<u8> {
        if self.os != offered.os || self.architecture != offered.architecture {
            return None;
        }
        match (self.effective_variant(), offered.effective_variant()) {
            (wanted, have) if wanted == have => Some(3),
            (_, None) => Some(2),
            // The oldest variant runs on any machine of the architecture; a wish without a variant takes any.
            (None, Some(_)) => Some(1),
            _ => None,
        }
    }

    /// `arm64` and `arm64/v8` are one platform, as are `amd64` and `amd64/v1`.
    fn effective_variant(&self) -> Option<&str> {
        match (self.architecture.as_str(), self.variant.as_deref()) {
            ("arm64", Some("v8")) | ("amd64", Some("v1")) | (_, Some("")) => None,
            (_, variant) => variant,
        }
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let valid = |part: &&str| {
            !part.is_empty()
                && part.len() <= 32
                && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
        };
        let parts: Vec<&str> = text.split('/').collect();
        if !parts.iter().all(valid) {
            return Err(PlatformError(text.chars().take(100).collect()));
        }
        let (os, architecture, variant) = match parts.as_slice() {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some((*variant).to_owned())),
            _ => return Err(PlatformError(text.chars().take(100).collect())),
        };
        Ok(Self { os: (*os).to_owned(), architecture: (*architecture).to_owned(), variant })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_round_trip_and_bad_ones_say_what_to_write() {
        for text in ["linux/amd64", "linux/arm/v7"] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), text);
        }
        for text in ["", "linux", "linux/", "/amd64", "linux/arm/v7/x", "Linux/amd64", "linux/a b"] {
            let error = text.parse::<Platform>().unwrap_err();
            assert!(error.to_string().contains("linux/arm64"), "{error}");
        }
    }

    #[test]
    fn the_best_variant_wins_and_a_foreign_one_does_not() {
        let score = |wanted: &str, have: &str| {
            wanted.parse::<Platform>().unwrap().score(&have.parse::<Platform>().unwrap())
        };
        assert_eq!(score("linux/arm64", "linux/arm64/v8"), Some(3));
        assert_eq!(score("linux/arm/v7", "linux/arm/v7"), Some(3));
        assert!(score("linux/arm/v7", "linux/arm") < score("linux/arm/v7", "linux/arm/v7"));
        assert_eq!(score("linux/arm/v6", "linux/arm/v7"), None);
        assert_eq!(score("linux/amd64", "windows/amd64"), None);
        assert_eq!(score("linux/amd64", "linux/arm64"), None);
    }
}
