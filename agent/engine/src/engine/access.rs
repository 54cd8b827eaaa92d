//! What passes through to an instance: processes and logs.

use std::collections::BTreeMap;
use std::fs::File;

use berth_domain::{FilePlace, InstanceId, Invalid, Invalids, NetworkKind};
use tokio::sync::mpsc;

use super::Engine;
use crate::error::{EngineError, Kind};
use crate::ports::network::Dropped;
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

    /// What was dropped of a running instance's packets, by interface, for those on networks of the agent's own.
    ///
    /// # Errors
    /// There is no such instance, or the host does not say.
    pub async fn dropped(&self, id: InstanceId) -> Result<BTreeMap<String, Dropped>, EngineError> {
        let handle =
            self.inner.directory.get(id).ok_or_else(|| EngineError::not_found(Kind::Instance, id))?;
        let snapshot = handle.snapshot();
        let mut dropped = BTreeMap::new();
        for (name, held) in &snapshot.record.interfaces {
            let network = self.inner.networks.get(held.network);
            let Some(network) = network.filter(|network| network.spec.kind == NetworkKind::Bridge) else {
                continue;
            };
            let of_interface = self.inner.ports.network.dropped(id, held.slot).await;
            let of_interface = of_interface
                .map_err(|source| EngineError::Network { name: network.spec.name.to_string(), source })?;
            dropped.insert(name.clone(), of_interface);
        }
        Ok(dropped)
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

    /// Writes a file into a running instance: what `content` holds, from its start on.
    ///
    /// # Errors
    /// There is no such instance, it does not run, or the file cannot be written; nothing of it is then.
    pub async fn push_file(
        &self,
        id: InstanceId,
        place: &FilePlace,
        content: File,
    ) -> Result<(), EngineError> {
        let handle =
            self.inner.directory.get(id).ok_or_else(|| EngineError::not_found(Kind::Instance, id))?;
        self.inner.ports.runtime.push_file(id, place, content).await.map_err(|source| match source {
            RuntimeError::Mount(fault) => fault.into(),
            source => EngineError::Runtime {
                name: handle.snapshot().record.name().to_owned(),
                operation: "write a file into it",
                source,
            },
        })
    }

    /// Opens a file of a running instance, to be read as it is meanwhile.
    ///
    /// # Errors
    /// There is no such instance, it does not run, or the file cannot be read.
    pub async fn pull_file(&self, id: InstanceId, path: &str) -> Result<File, EngineError> {
        let handle =
            self.inner.directory.get(id).ok_or_else(|| EngineError::not_found(Kind::Instance, id))?;
        let path = FilePlace::of_readable(path)?;
        self.inner.ports.runtime.pull_file(id, &path).await.map_err(|source| EngineError::Runtime {
            name: handle.snapshot().record.name().to_owned(),
            operation: "read a file of it",
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
