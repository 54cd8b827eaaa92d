//! The machine itself.

use async_trait::async_trait;

/// What the machine is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostInfo {
    /// Its name.
    pub hostname: String,
    /// The agent's version.
    pub agent_version: String,
    /// The kernel's release.
    pub kernel_version: String,
    /// As in OCI: `amd64`, `arm64`.
    pub architecture: String,
    /// How many.
    pub cpus: u32,
    /// Bytes.
    pub memory_bytes: u64,
    /// Four base32 characters that mark all this agent names on the host.
    pub prefix: String,
    /// The agent's data directory.
    pub data_dir: String,
    /// `v1` or `v2`.
    pub cgroup_version: String,
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All is there.
    Ok,
    /// Berth works without it, with less.
    Limited,
    /// Berth does not work without it.
    Missing,
}

/// One thing that Berth needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckItem {
    /// What.
    pub name: String,
    /// Whether it is there.
    pub outcome: Outcome,
    /// What was found.
    pub found: String,
    /// What to do; empty where nothing is to be done.
    pub fix: String,
}

/// The machine.
#[async_trait]
pub trait Host: Send + Sync + 'static {
    /// What it is.
    async fn info(&self) -> HostInfo;

    /// What it can do and what is missing.
    async fn check(&self) -> Vec<CheckItem>;
}
