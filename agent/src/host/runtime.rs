//! Supervisors, what they run, and what is kept for it.

use async_trait::async_trait;
use berth_domain::{ExitRecord, InstanceId, Workload};
use berth_engine::ports::runtime::{
    ExecError, ExecRequest, ExecSession, InstanceState, LogLine, LogRequest, RootfsRequest, Runtime,
    RuntimeError, RuntimeEvent, Settings, StartError, StartRequest, Started, StopMode,
};
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::mpsc;

use super::Place;
use super::supervisor::Finder;

/// The supervisors of this agent.
pub(super) struct Supervisors {
    place: Place,
    finder: Finder,
}

impl Supervisors {
    pub(super) fn new(place: Place, finder: Finder) -> Self {
        Self { place, finder }
    }

    fn unable(&self) -> StartError {
        StartError::Host {
            operation: "run the instance's supervisor".to_owned(),
            advice: self.finder.advice(),
            source: std::io::Error::from(std::io::ErrorKind::NotFound).into(),
        }
    }
}

#[async_trait]
impl Runtime for Supervisors {
    fn events(&self) -> BoxStream<'static, RuntimeEvent> {
        futures::stream::pending().boxed()
    }

    async fn observe_all(&self) -> Result<Vec<(InstanceId, InstanceState)>, RuntimeError> {
        let _ = &self.place;
        Ok(Vec::new())
    }

    async fn observe(&self, _: InstanceId) -> Result<InstanceState, RuntimeError> {
        Ok(InstanceState { workload: Workload::Absent, rootfs: Vec::new() })
    }

    async fn prepare_rootfs(&self, _: &RootfsRequest) -> Result<(), StartError> {
        Ok(())
    }

    async fn start(&self, _: &StartRequest) -> Result<Started, StartError> {
        Err(self.unable())
    }

    async fn stop(&self, _: InstanceId, _: StopMode) -> Result<Option<ExitRecord>, RuntimeError> {
        Ok(None)
    }

    async fn apply(&self, _: InstanceId, _: &Settings) -> Result<(), RuntimeError> {
        Err(RuntimeError::NotRunning)
    }

    async fn keep_only_rootfs(&self, _: InstanceId, _: u32) -> Result<(), RuntimeError> {
        Ok(())
    }

    async fn remove(&self, _: InstanceId) -> Result<(), RuntimeError> {
        Ok(())
    }

    async fn exec(&self, _: InstanceId, _: &ExecRequest) -> Result<ExecSession, ExecError> {
        Err(ExecError::NotRunning)
    }

    async fn logs(
        &self,
        _: InstanceId,
        _: &LogRequest,
    ) -> Result<mpsc::Receiver<Result<LogLine, RuntimeError>>, RuntimeError> {
        Ok(mpsc::channel(1).1)
    }
}
