//! The engine's one door, and what all that goes through it shares.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use berth_domain::{AgentId, Digest, InstanceId, NetworkId};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::EngineError;
use crate::event::{Event, EventBus};
use crate::instance::claims::Claims;
use crate::instance::directory::Directory;
use crate::keeper::Keeper;
pub use crate::keeper::UnusedImages;
use crate::ledger::Ledger;
use crate::networks::Networks;
use crate::ports::Ports;
use crate::ports::host::{CheckItem, HostInfo};

mod access;
mod archives;
mod boot;
mod images;
mod instances;
mod networks;
mod open;
mod remotes;
mod upkeep;
mod volumes;

pub use archives::ImportQuery;
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
    /// What becomes of images that nothing uses any more.
    pub unused_images: UnusedImages,
}

impl Config {
    /// The defaults, on a data directory.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            uid_base: 1_000_000_000,
            uid_count: 65_536 * 8192,
            unused_images: UnusedImages::default(),
        }
    }
}

/// The engine. Clones are one and the same; [`Engine::shutdown`] ends it.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) ports: Ports,
    pub(crate) ledger: Ledger,
    pub(crate) networks: Networks,
    pub(crate) bus: EventBus,
    pub(crate) keeper: Keeper,
    pub(crate) claims: Claims,
    /// Instances on each network, while they may run. Making and releasing networks take turns by this.
    pub(crate) attached: tokio::sync::Mutex<HashMap<NetworkId, HashSet<InstanceId>>>,
    /// Names of remotes, volumes and networks are checked and written in turns by this.
    pub(crate) naming: tokio::sync::Mutex<()>,
    /// Host ports are chosen, and their choice made known, in turns by this.
    pub(crate) choosing: Arc<tokio::sync::Mutex<()>>,
    /// What is restricted is worked out, and made so, in turns by this.
    pub(crate) restricting: tokio::sync::Mutex<()>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) tasks: TaskTracker,
    pub(crate) closing: CancellationToken,
}

impl Inner {
    /// Lets an image go if nothing needs it. That it cannot be is no failure of what was asked for: the next
    /// agent tries again.
    pub(crate) async fn collect(&self, digest: &Digest) -> bool {
        match self.keeper.collect(&self.ledger, &*self.ports.images, digest).await {
            Ok(removed) => removed,
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(image = %digest, error, "an image that nothing needs stays for now");
                false
            }
        }
    }
}

impl Engine {
    /// Opens the ledger, adopts what runs, and begins to make everything as it was asked for. Returns when the
    /// ledger is read and every supervisor adopted; instances that are to be started come up in the background.
    ///
    /// # Errors
    /// The directory is another agent's, or the ledger cannot be read; or the host cannot be observed.
    pub async fn open(config: Config, ports: Ports) -> Result<Self, EngineError> {
        let directory = config.data_dir.clone();
        let opened = tokio::task::spawn_blocking(move || Ledger::open(&directory)).await;
        let ledger = opened.map_err(|_panicked| EngineError::Closing)??;
        Self::open_on(config, ports, ledger).await
    }

    /// The same, on a ledger that is open already.
    ///
    /// # Errors
    /// The ledger cannot be read or the host not be observed.
    pub async fn open_on(config: Config, ports: Ports, ledger: Ledger) -> Result<Self, EngineError> {
        let inner = open::open(config, ports, ledger).await?;
        Ok(Self { inner })
    }

    /// Takes no more requests, waits for those that are under way, and lets the directory go. Instances run on.
    pub async fn shutdown(&self) {
        self.inner.closing.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        self.inner.ledger.close();
    }

    /// The id made with the data directory.
    #[must_use]
    pub fn agent_id(&self) -> AgentId {
        self.inner.ledger.agent_id()
    }

    /// What the machine is.
    pub async fn host(&self) -> HostInfo {
        self.inner.ports.host.info().await
    }

    /// What the machine can do and what is missing.
    pub async fn check(&self) -> Vec<CheckItem> {
        self.inner.ports.host.check().await
    }

    /// What happens from now on. A watcher that does not read misses the oldest.
    #[must_use]
    pub fn events(&self) -> tokio::sync::broadcast::Receiver<Event> {
        self.inner.bus.subscribe()
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    /// Runs an operation in a task of its own, so that it goes on when its caller goes away.
    async fn run<T, F>(&self, operation: impl FnOnce(Arc<Inner>) -> F) -> Result<T, EngineError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, EngineError>> + Send + 'static,
    {
        if self.inner.closing.is_cancelled() {
            return Err(EngineError::Closing);
        }
        let task = self.inner.tasks.spawn(operation(Arc::clone(&self.inner)));
        task.await.unwrap_or(Err(EngineError::Closing))
    }
}
