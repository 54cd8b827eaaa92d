//! The engine's one door.

use std::path::PathBuf;
use std::sync::Arc;

use berth_domain::AgentId;

use crate::error::EngineError;
use crate::event::Event;
use crate::ports::Ports;
use crate::ports::host::{CheckItem, HostInfo};

mod access;
mod images;
mod instances;
mod remotes;

pub use images::{PinTarget, PullQuery, ResolveQuery};

/// What an engine is opened with.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where `ledger.sqlite` and `agent.lock` are; made if missing.
    pub data_dir: PathBuf,
    /// The first id of the instances' ranges.
    pub uid_base: u32,
    /// How many ids there are for all instances.
    pub uid_count: u32,
}

impl Config {
    /// The defaults, on a data directory.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self { data_dir: data_dir.into(), uid_base: 1_000_000_000, uid_count: 65_536 * 8192 }
    }
}

/// The engine. Clones are one and the same.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    ports: Ports,
}

impl Engine {
    /// Opens the ledger, adopts what runs, and begins to make everything as it was asked for. Returns when the
    /// ledger is read and every supervisor adopted; instances that are to be started come up in the background.
    ///
    /// # Errors
    /// The directory is another agent's, or the ledger cannot be read; or the host cannot be observed.
    pub async fn open(_config: Config, _ports: Ports) -> Result<Self, EngineError> {
        Err(EngineError::Closing)
    }

    /// Takes no more requests, waits for those that are under way, and lets the directory go. Instances run on.
    pub async fn shutdown(&self) {}

    /// The id made with the data directory.
    #[must_use]
    pub fn agent_id(&self) -> AgentId {
        AgentId::random()
    }

    /// What the machine is.
    pub async fn host(&self) -> HostInfo {
        self.inner.ports.host.info().await
    }

    /// What the machine can do and what is missing.
    pub async fn check(&self) -> Vec<CheckItem> {
        self.inner.ports.host.check().await
    }

    /// What happens from now on.
    #[must_use]
    pub fn events(&self) -> tokio::sync::broadcast::Receiver<Event> {
        crate::event::EventBus::new().subscribe()
    }
}
