//! What an image says about how it wants to be run, and what layers it is made of.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize};

use crate::digest::Digest;
use crate::platform::Platform;

/// An image's configuration. Built from the registry's JSON; `null` and absent mean the same.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ImageConfig {
    /// What is run; empty where the image has none.
    pub entrypoint: Vec<String>,
    /// The arguments of the entrypoint, or what is run where there is none.
    pub command: Vec<String>,
    /// The environment, in the image's order. A later entry of one name wins.
    pub environment: Vec<(String, String)>,
    /// `80/tcp`, …
    pub exposed_ports: BTreeSet<String>,
    /// Directories meant to be volumes.
    pub volumes: BTreeSet<String>,
    /// `user[:group]`, names or numbers; empty is root.
    pub user: String,
    /// Empty is `/`.
    pub working_dir: String,
    /// `SIGTERM`, …; empty is the default.
    pub stop_signal: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Docker's extension; `None` where the image has none.
    pub health_check: Option<HealthCheck>,
}

/// A health check as Docker writes it into an image; durations in nanoseconds, 0 for the default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HealthCheck {
    /// `["CMD", …]`, `["CMD-SHELL", "…"]` or `["NONE"]`.
    pub test: Vec<String>,
    /// Between two checks.
    pub interval_ns: u64,
    /// Of one check.
    pub timeout_ns: u64,
    /// In which failures do not count.
    pub start_period_ns: u64,
    /// Failures in a row that make an instance unhealthy.
    pub retries: u32,
}

/// The whole config blob, as far as Berth reads it.
#[derive(Debug, Clone)]
pub(crate) struct ConfigBlob {
    pub config: ImageConfig,
    pub platform: Platform,
    pub created: Option<String>,
    pub diff_ids: Vec<Digest>,
}

/// Why a config blob was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not the JSON of an image config.
    #[error("the image's config is not valid")]
    Json(#[source] serde_json::Error),
    /// An environment entry without a `=`, or with a byte no environment can hold.
    #[error("the image's config has the environment entry {0:?}, which is not NAME=VALUE without NUL")]
    Environment(String),
    /// A negative duration or count.
    #[error("the image's health check has a negative {0}")]
    HealthCheck(&'static str),
}

#[derive(Deserialize)]
struct RawBlob {
    #[serde(default, deserialize_with = "or_default")]
    architecture: String,
    #[serde(default, deserialize_with = "or_default")]
    os: String,
    #[serde(default)]
    variant: Option<String>,
    #[serde(default)]
    created: Option<String>,
    #[serde(default)]
    config: Option<RawConfig>,
    rootfs: RawRootfs,
}

#[derive(Deserialize)]
struct RawRootfs {
    #[serde(default, deserialize_with = "or_default")]
    diff_ids: Vec<Digest>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct RawConfig {
    #[serde(deserialize_with = "or_default")]
    entrypoint: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    cmd: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    env: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    exposed_ports: BTreeMap<String, serde::de::IgnoredAny>,
    #[serde(deserialize_with = "or_default")]
    volumes: BTreeMap<String, serde::de::IgnoredAny>,
    #[serde(deserialize_with = "or_default")]
    user: String,
    #[serde(deserialize_with = "or_default")]
    working_dir: String,
    #[serde(deserialize_with = "or_default")]
    stop_signal: String,
    #[serde(deserialize_with = "or_default")]
    labels: BTreeMap<String, String>,
    healthcheck: Option<RawHealth>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct RawHealth {
    #[serde(deserialize_with = "or_default")]
    test: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    interval: i64,
    #[serde(deserialize_with = "or_default")]
    timeout: i64,
    #[serde(deserialize_with = "or_default")]
    start_period: i64,
    #[serde(deserialize_with = "or_default")]
    retries: i64,
}

/// Builders write `null` where they mean nothing.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(input: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(input)?.unwrap_or_default())
}

impl ConfigBlob {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        // As a value first: serde_json refuses one that is nested deeper than 128, but skips any depth of what is not asked for.
        let value: serde_json::Value = serde_json::from_slice(bytes).map_err(ConfigError::Json)?;
        let raw: RawBlob = serde_json::from_value(value).map_err(ConfigError::Json)?;
        let platform = Platform {
            os: raw.os,
            architecture: raw.architecture,
            variant: raw.variant.filter(|v| !v.is_empty()),
        };
        Ok(Self {
            config: raw.config.unwrap_or_default().validated()?,
            platform,
            created: raw.created,
            diff_ids: raw.rootfs.diff_ids,
        })
    }
}

impl RawConfig {
    fn validated(self) -> Result<ImageConfig, ConfigError> {
        let environment = self.env.into_iter().map(environment_entry).collect::<Result<_, _>>()?;
        Ok(ImageConfig {
            entrypoint: self.entrypoint,
            command: self.cmd,
            environment,
            exposed_ports: self.exposed_ports.into_keys().collect(),
            volumes: self.volumes.into_keys().collect(),
            user: self.user,
            working_dir: self.working_dir,
            stop_signal: self.stop_signal,
            labels: self.labels,
            health_check: self.healthcheck.map(RawHealth::validated).transpose()?,
        })
    }
}

fn environment_entry(entry: String) -> Result<(String, String), ConfigError> {
    match entry.split_once('=') {
        Some((name, value)) if !name.is_empty() && !entry.contains('\0') => {
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => Err(ConfigError::Environment(entry.chars().take(100).collect())),
    }
}

impl RawHealth {
    fn validated(self) -> Result<HealthCheck, ConfigError> {
        let positive = |value: i64, name| u64::try_from(value).map_err(|_| ConfigError::HealthCheck(name));
        Ok(HealthCheck {
            test: self.test,
            interval_ns: positive(self.interval, "interval")?,
            timeout_ns: positive(self.timeout, "timeout")?,
            start_period_ns: positive(self.start_period, "start period")?,
            retries: u32::try_from(self.retries)
                .map_err(|_| ConfigError::HealthCheck("number of retries"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_docker_config_is_read_whole() {
        let json = br#"{"architecture":"arm64","os":"linux","variant":"v8","created":"2026-01-02T03:04:05Z",
            "config":{"Entrypoint":["/e"],"Cmd":null,"Env":["A=1","B=x=y"],"ExposedPorts":{"80/tcp":{}},
            "Volumes":{"/data":{}},"User":"www:1","WorkingDir":"/w","StopSignal":"SIGINT","Labels":{"k":"v"},
            "Healthcheck":{"Test":["CMD","true"],"Interval":30000000000,"Retries":3}},
            "rootfs":{"type":"layers","diff_ids":[]},"history":[]}"#;
        let blob = ConfigBlob::parse(json).unwrap();
        assert_eq!(blob.platform.to_string(), "linux/arm64/v8");
        assert_eq!(blob.config.entrypoint, ["/e"]);
        assert!(blob.config.command.is_empty());
        assert_eq!(blob.config.environment[1], ("B".to_owned(), "x=y".to_owned()));
        assert_eq!(blob.config.exposed_ports.first().unwrap(), "80/tcp");
        let health = blob.config.health_check.unwrap();
        assert_eq!((health.interval_ns, health.retries, health.timeout_ns), (30_000_000_000, 3, 0));
    }

    #[test]
    fn bad_environments_diff_ids_and_numbers_are_refused() {
        let with = |config: &str, ids: &str| {
            ConfigBlob::parse(format!(r#"{{"config":{config},"rootfs":{{"diff_ids":{ids}}}}}"#).as_bytes())
        };
        with("null", "[]").unwrap();
        assert!(matches!(with(r#"{"Env":["A"]}"#, "[]"), Err(ConfigError::Environment(_))));
        assert!(matches!(with(r#"{"Env":["A=\u0000"]}"#, "[]"), Err(ConfigError::Environment(_))));
        assert!(matches!(with(r#"{"Healthcheck":{"Retries":-1}}"#, "[]"), Err(ConfigError::HealthCheck(_))));
        with("{}", r#"["sha256:../../etc/passwd"]"#).unwrap_err();
    }
}
