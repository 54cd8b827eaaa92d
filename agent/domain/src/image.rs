//! Images as the agent knows them: what they say of themselves, and what they are made of.

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::ids::Digest;
use crate::invalid::Invalid;
use crate::name::shown;

/// `os/architecture[/variant]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Platform(String);

impl Platform {
    /// Checks a platform.
    ///
    /// # Errors
    /// The text has not two or three parts of lower-case letters and digits.
    pub fn new(text: &str) -> Result<Self, Invalid> {
        let part = |p: &str| {
            !p.is_empty() && p.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-'))
        };
        let parts = text.split('/').count();
        if matches!(parts, 2 | 3) && text.split('/').all(part) && text.len() <= 64 {
            return Ok(Self(text.to_owned()));
        }
        let summary = format!("\"{}\" is not a platform", shown(text));
        Err(Invalid::new(
            &["platform"],
            summary,
            "Write os/architecture, such as linux/amd64 or linux/arm64/v8",
        ))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Platform {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        Self::new(&text)
    }
}

impl From<Platform> for String {
    fn from(platform: Platform) -> Self {
        platform.0
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an image says of how it is run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageConfig {
    /// What is run.
    pub entrypoint: Vec<String>,
    /// Its arguments, or what is run where there is no entrypoint.
    pub command: Vec<String>,
    /// Variables by name.
    pub environment: BTreeMap<String, String>,
    /// `80/tcp` and the like.
    pub exposed_ports: Vec<String>,
    /// Paths that are volumes.
    pub volumes: Vec<String>,
    /// `user[:group]`; empty is root.
    pub user: String,
    /// Empty is `/`.
    pub working_dir: String,
    /// Empty is SIGTERM.
    pub stop_signal: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// How its health is told.
    pub health_check: Option<HealthCheckConfig>,
}

/// As the image's config states it; durations in nanoseconds, 0 for the default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HealthCheckConfig {
    /// `["CMD", …]`, `["CMD-SHELL", …]` or `["NONE"]`.
    pub test: Vec<String>,
    /// Between two checks.
    pub interval_ns: u64,
    /// Of one check.
    pub timeout_ns: u64,
    /// Failures in it do not count.
    pub start_period_ns: u64,
    /// Failures in a row that make it unhealthy.
    pub retries: u32,
}

/// One layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Digest of the blob in the registry.
    pub digest: String,
    /// Digest of the uncompressed tar.
    pub diff_id: String,
    /// Bytes of the blob.
    pub size: u64,
}

/// An image in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageInfo {
    /// Digest of the platform's manifest: the image's id.
    pub digest: Digest,
    /// What it runs on.
    pub platform: String,
    /// Bytes of the layers as the registry holds them.
    pub size: u64,
    /// Its layers, the lowest first.
    pub layers: Vec<Layer>,
    /// RFC 3339, as the image says; empty if it does not.
    pub created: String,
    /// How it is run.
    pub config: ImageConfig,
    /// When it was pulled, or needed last.
    pub used: SystemTime,
}
