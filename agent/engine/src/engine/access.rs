//! What passes through to an instance: processes and logs.

use berth_domain::InstanceId;
use tokio::sync::mpsc;

use super::Engine;
use crate::error::EngineError;
use crate::ports::runtime::{ExecRequest, ExecSession, LogLine, LogRequest, RuntimeError};

impl Engine {
    /// Runs a process inside a running instance.
    ///
    /// # Errors
    /// There is no such instance, it does not run, or the process cannot be run.
    pub async fn exec(&self, _id: InstanceId, _request: &ExecRequest) -> Result<ExecSession, EngineError> {
        Err(EngineError::Closing)
    }

    /// Reads an instance's log.
    ///
    /// # Errors
    /// There is no such instance, or its log cannot be read.
    pub async fn logs(
        &self,
        _id: InstanceId,
        _request: &LogRequest,
    ) -> Result<mpsc::Receiver<Result<LogLine, RuntimeError>>, EngineError> {
        Err(EngineError::Closing)
    }
}
