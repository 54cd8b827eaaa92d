//! A data directory, a host that outlives engines, and engines on them.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::ledger::Ledger;
use crate::testing::FakeHost;
use crate::view::{By, InstanceView};
use crate::{Config, Engine, EngineError, Reporter};
use berth_domain::{Digest, ImageConfig, InstanceDraft, PortDraft, Status};
use tempfile::TempDir;
use tokio::runtime::Runtime;

pub const WEB: &str = "registry.test/web:1";
pub const WEB2: &str = "registry.test/web:2";

pub struct World {
    pub dir: TempDir,
    pub host: Arc<FakeHost>,
    pub web: Digest,
    pub web2: Digest,
}

/// One agent's life. Dropping it is a crash.
pub struct Life {
    pub engine: Engine,
    ledger: Ledger,
    runtime: Runtime,
}

impl World {
    pub fn new() -> Self {
        let host = FakeHost::new();
        let config = ImageConfig { entrypoint: vec!["/bin/web".to_owned()], ..ImageConfig::default() };
        let web = host.push(WEB, 1, config.clone()).unwrap();
        let web2 = host.push(WEB2, 2, config).unwrap();
        Self { dir: data_dir(), host, web, web2 }
    }

    pub fn boot(&self) -> Life {
        self.try_boot().unwrap()
    }

    pub fn try_boot(&self) -> Result<Life, EngineError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let ledger = Ledger::open_with(self.path(), self.host.faults())?;
        let opened = Engine::open_on(Config::new(self.path()), self.host.ports(), ledger.clone());
        let engine = runtime.block_on(opened)?;
        Ok(Life { engine, ledger, runtime })
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Life {
    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        let limited = async { tokio::time::timeout(Duration::from_secs(20), future).await };
        self.runtime.block_on(limited).expect("it took too long")
    }

    pub fn create(&self, draft: InstanceDraft) -> Result<InstanceView, EngineError> {
        self.run(self.engine.create_instance(draft, Reporter::silent()))
    }

    pub fn get(&self, name: &str) -> Option<InstanceView> {
        self.run(self.engine.get_instance(By::Name(name.to_owned()))).ok()
    }

    /// Waits for what an event will bring about.
    pub fn until(&self, name: &str, good: impl Fn(&InstanceView) -> bool) -> InstanceView {
        self.run(async {
            let mut events = self.engine.events();
            loop {
                let view = self.engine.get_instance(By::Name(name.to_owned())).await.unwrap();
                if good(&view) {
                    return view;
                }
                // Not every change has an event: look again after a while.
                let _next = tokio::time::timeout(Duration::from_millis(20), events.recv()).await;
            }
        })
    }

    pub fn until_running(&self, name: &str) -> InstanceView {
        self.until(name, |view| view.status == Status::Running)
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.ledger.close();
    }
}

pub fn draft(name: &str, image: &str) -> InstanceDraft {
    let port = PortDraft { container_port: 80, ..PortDraft::default() };
    InstanceDraft {
        name: name.to_owned(),
        image: image.to_owned(),
        running: true,
        ports: BTreeMap::from([("http".to_owned(), port)]),
        ..InstanceDraft::default()
    }
}

/// In memory where that can be had: each test commits hundreds of times, and none of it has to last.
fn data_dir() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}
