//! What passes through to an instance: processes and logs.

use berth_domain::{InstanceId, Invalid, Invalids};
use tokio::sync::mpsc;

use super::Engine;
use crate::error::{EngineError, Kind};
use crate::ports::runtime::{ExecError, ExecRequest, ExecSession, LogLine, LogRequest, RuntimeError, Usage};

impl Engine {
    /// Runs a process inside a running instance.
    ///
    /// # Errors
    /// There is no such instance, it does not run, or the process cannot be run.
    pub async fn exec(&self, id: InstanceId, request: &ExecRequest) -> Result<ExecSession, EngineError> {
        let handle =
            self.inner.directory.get(id).ok_or_else(|| EngineError::not_found(Kind::Instance, id))?;
        if request.argv.is_empty() {
            let invalid = Invalid::new(&["command"], "There is nothing to run", "Give the command to run");
            return Err(Invalids::from(invalid).into());
        }
        for text in &request.argv {
            let checked = berth_domain::value::text::argument(text);
            checked.map_err(|invalid| Invalids::from(invalid.under(&["command"])))?;
        }
        for (name, value) in &request.environment {
            let checked = berth_domain::value::environment::variable(name, Some(value));
            checked.map_err(|invalid| Invalids::from(invalid.under(&["environment"])))?;
        }
        let failed = |source| EngineError::Exec { name: handle.snapshot().record.name().to_owned(), source };
        if handle.snapshot().workload.pid().is_none() {
            return Err(failed(ExecError::NotRunning));
        }
        self.inner.ports.runtime.exec(id, request).await.map_err(failed)
    }

    /// What a running instance uses.
    ///
    /// # Errors
    /// There is no such instance, or it does not run.
    pub async fn usage(&self, id: InstanceId) -> Result<Usage, EngineError> {
        let handle =
            self.inner.directory.get(id).ok_or_else(|| EngineError::not_found(Kind::Instance, id))?;
        self.inner.ports.runtime.usage(id).await.map_err(|source| EngineError::Runtime {
            name: handle.snapshot().record.name().to_owned(),
            operation: "tell what it uses",
            source,
        })
    }

    /// Reads an instance's log.
    ///
    /// # Errors
    /// There is no such instance, or its log cannot be read.
    pub async fn logs(
        &self,
        id: InstanceId,
        request: &LogRequest,
    ) -> Result<mpsc::Receiver<Result<LogLine, RuntimeError>>, EngineError> {
        let handle =
            self.inner.directory.get(id).ok_or_else(|| EngineError::not_found(Kind::Instance, id))?;
        self.inner.ports.runtime.logs(id, request).await.map_err(|source| EngineError::Runtime {
            name: handle.snapshot().record.name().to_owned(),
            operation: "read its log",
            source,
        })
    }
}
