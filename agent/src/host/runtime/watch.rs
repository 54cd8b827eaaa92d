//! Following a supervisor until it is gone.

use std::path::PathBuf;

use berth_domain::{Health, InstanceId, Timestamp, Workload};
use berth_engine::ports::runtime::RuntimeEvent;
use berth_runtime::client::{ClientError, Supervisor};
use berth_runtime::control::Event;
use berth_runtime::health;
use tokio::process::Child;
use tokio::sync::mpsc;

use super::{process, state};

/// One supervisor and whom its events go to.
pub(super) struct Watch {
    pub(super) instance: InstanceId,
    pub(super) supervisor: Supervisor,
    pub(super) run: PathBuf,
    pub(super) sender: mpsc::UnboundedSender<RuntimeEvent>,
    /// Where this agent has started it: its end is collected.
    pub(super) process: Option<Child>,
    /// What was told last, or is known without.
    pub(super) last: Option<Workload>,
}

impl Watch {
    pub(super) async fn run(mut self) {
        let revision = state::spec(&self.run).map_or(0, |spec| spec.revision);
        if let Err(error) = self.follow(revision).await {
            tracing::debug!(instance = %self.instance, %error, "a supervisor cannot be followed any more");
        }
        if let Some(process) = &mut self.process
            && let Err(error) = process.wait().await
        {
            tracing::warn!(instance = %self.instance, %error, "a supervisor's end was not seen");
        }
        // A later start has written another spec; its own watch tells of it.
        if state::spec(&self.run).is_none_or(|spec| spec.revision == revision) {
            self.tell(super::ended(&self.run));
        }
    }

    async fn follow(&mut self, revision: u64) -> Result<(), ClientError> {
        let mut events = self.supervisor.watch().await?;
        let mut again = 0;
        while let Some(event) = events.next().await? {
            match event {
                Event::Started { pid, started_at_ms, restarts } => {
                    again = restarts;
                    let (pid, started_at) =
                        (u32::try_from(pid).unwrap_or_default(), Timestamp(started_at_ms));
                    let running = Workload::Running { revision, pid, started_at, restarts };
                    if self.last.as_ref() != Some(&running) {
                        self.tell(running);
                    }
                }
                Event::Restarting { exit, .. } => {
                    self.tell(Workload::Waiting { revision, restarts: again, exit: state::exit(&exit) });
                }
                // The same again: it is time to look.
                Event::Health(_) | Event::Addresses { .. } => {
                    if let Some(workload) = &self.last {
                        self.tell(workload.clone());
                    }
                }
                // The end is told when the supervisor is gone too.
                Event::Gone(_) => {}
            }
        }
        Ok(())
    }

    fn tell(&mut self, workload: Workload) {
        self.last = Some(workload.clone());
        // The engine is gone only when the agent stops.
        let _gone = self.sender.send(RuntimeEvent { instance: self.instance, workload });
    }
}

/// Waits until the workload's health is known, or until it has ended.
pub(super) async fn settled(supervisor: &Supervisor) -> Result<Option<Health>, ClientError> {
    let mut events = supervisor.watch().await?;
    if let Some(health) = supervisor.status().await?.health {
        if health.state != health::State::Starting {
            return Ok(Some(process::told(health)));
        }
    } else {
        return Ok(None);
    }
    while let Some(event) = events.next().await? {
        match event {
            Event::Health(health) if health.state != health::State::Starting => {
                return Ok(Some(process::told(health)));
            }
            Event::Restarting { .. } | Event::Gone(_) => return Ok(None),
            Event::Health(_) | Event::Addresses { .. } | Event::Started { .. } => {}
        }
    }
    Ok(None)
}

/// Waits until the supervisor is gone, whatever it says.
pub(super) async fn gone(supervisor: &Supervisor) {
    if let Ok(mut events) = supervisor.watch().await {
        while let Ok(Some(_)) = events.next().await {}
    }
}

/// Asks a supervisor to stop, and waits until it is gone.
pub(super) async fn stop(supervisor: &Supervisor, force: bool) -> Result<(), ClientError> {
    let mut events = supervisor.watch().await?;
    supervisor.stop(force).await?;
    while events.next().await?.is_some() {}
    Ok(())
}
