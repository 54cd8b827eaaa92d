//! What users ask of an instance, and what happens to it by itself.

use std::error::Error;
use std::time::Duration;

use berth_domain::{Timestamp, Workload};

use super::actor::Actor;
use crate::error::EngineError;
use crate::event::{Action, Subject};
use crate::ledger::Phase;
use crate::ports::runtime::StopMode;

/// A supervisor that vanishes sooner than this after its start is started again later, not at once.
const SETTLED_AFTER: Duration = Duration::from_secs(10);

impl Actor {
    /// Brings up what was just written to the ledger, or undoes it whole.
    pub(super) async fn create(&mut self) -> Result<(), EngineError> {
        match self.bring_up_new().await {
            Ok(()) => Ok(()),
            Err(error) => {
                // Read before it is undone: its log goes with it.
                let error = self.inner.with_last_words(self.record.id, error).await;
                self.undo_create(&error).await;
                Err(error)
            }
        }
    }

    async fn bring_up_new(&mut self) -> Result<(), EngineError> {
        self.emit(Action::Created, "");
        self.load_image().await?;
        self.converge().await?;
        self.record.phase = Phase::Settled;
        self.record.failure = None;
        self.commit().await
    }

    async fn undo_create(&mut self, cause: &EngineError) {
        self.emit(Action::Failed, &told(cause));
        self.record.phase = Phase::Deleting;
        self.stop_mode = StopMode::Kill;
        if let Err(error) = self.vanish().await {
            self.note_failure(&error).await;
            self.retry.later();
        }
    }

    /// Starts it, if it does not run.
    pub(super) async fn start(&mut self) -> Result<(), EngineError> {
        if self.record.current.spec.running && self.workload.is_live() {
            return Ok(());
        }
        self.start_anew().await
    }

    /// Stops and starts it.
    pub(super) async fn restart(&mut self, mode: StopMode) -> Result<(), EngineError> {
        self.stop_mode = mode;
        self.start_anew().await?;
        self.emit(Action::Restarted, "asked for");
        Ok(())
    }

    async fn start_anew(&mut self) -> Result<(), EngineError> {
        let before = self.record.clone();
        self.record.generation += 1;
        self.record.current.revision = self.record.generation;
        self.record.current.exit = None;
        self.record.current.spec = self.record.current.spec.with_running(true);
        self.record.failure = None;
        if let Err(error) = self.commit().await {
            self.record = before;
            return Err(error);
        }
        self.converge_or_fail().await
    }

    /// Takes up the addresses that the ledger has given it, and is started anew with them where it runs.
    pub(super) async fn readdress(&mut self) -> Result<(), EngineError> {
        self.record.interfaces = self.inner.ledger.interfaces(self.record.id).await?;
        self.publish();
        if self.record.phase != Phase::Settled || !self.workload.is_live() {
            return Ok(());
        }
        self.reporter.line("restarting with other addresses");
        self.start_anew().await?;
        self.emit(Action::Restarted, "its network has other addresses");
        Ok(())
    }

    /// What its networks say of names is taken up where it runs.
    pub(super) async fn refresh(&mut self) -> Result<(), EngineError> {
        if self.record.phase != Phase::Settled {
            return Ok(());
        }
        self.observe().await?;
        if self.workload.is_live() { self.apply_settings().await } else { Ok(()) }
    }

    /// Stops it; nothing but a user starts it again.
    pub(super) async fn stop(&mut self, mode: StopMode) -> Result<(), EngineError> {
        if !self.record.current.spec.running && !self.workload.is_live() {
            return Ok(());
        }
        self.stop_mode = mode;
        let before = self.record.clone();
        self.record.generation += 1;
        self.record.current.spec = self.record.current.spec.with_running(false);
        self.record.failure = None;
        if let Err(error) = self.commit().await {
            self.record = before;
            return Err(error);
        }
        self.converge_or_fail().await
    }

    /// Stops and removes it.
    pub(super) async fn delete(&mut self, mode: StopMode) -> Result<(), EngineError> {
        self.stop_mode = mode;
        let before = self.record.phase;
        self.record.phase = Phase::Deleting;
        if let Err(error) = self.commit().await {
            self.record.phase = before;
            return Err(error);
        }
        match self.vanish().await {
            Ok(()) => {
                self.emit(Action::Deleted, "");
                Ok(())
            }
            Err(error) => {
                self.note_failure(&error).await;
                self.retry.later();
                Err(error)
            }
        }
    }

    /// From here on, nothing of it stays: first on the host, then in the ledger.
    async fn vanish(&mut self) -> Result<(), EngineError> {
        self.commit().await?;
        self.converge().await?;
        self.inner.vanish_volumes_of(self.record.id).await?;
        self.inner.ledger.delete_instance(self.record.id).await?;
        self.inner.directory.remove(self.record.id);
        self.gone = true;
        if let Err(error) = self.inner.restrict().await {
            // Whoever is given its addresses has the rules looked at again before it comes up.
            let error: &dyn Error = &error;
            tracing::warn!(instance = %self.record.id, error, "rules still speak of an instance that is gone");
        }
        let previous = self.record.previous.take().map(|version| version.image);
        self.inner.collect(&self.record.current.image).await;
        if let Some(image) = previous {
            self.inner.collect(&image).await;
        }
        Ok(())
    }

    /// Goes on with what the ledger wants: when the agent starts, and when a retry is due.
    pub(super) async fn resume(&mut self) {
        if let Err(error) = self.load_image().await {
            tracing::warn!(instance = %self.record.id, error = %told(&error), "its image cannot be read");
        }
        match self.record.phase {
            Phase::Creating => match self.bring_up_new().await {
                Ok(()) => {}
                Err(error) if error.is_lasting() => self.undo_create(&error).await,
                Err(error) => self.fail(&error).await,
            },
            Phase::Updating => {
                if let Err(error) = self.bring_up_change().await {
                    self.roll_back(&error).await;
                }
            }
            Phase::Deleting => {
                if let Err(error) = self.vanish().await {
                    self.fail(&error).await;
                }
            }
            Phase::Settled => {
                // What went wrong is on record already.
                let _failed = self.converge_or_fail().await;
            }
        }
    }

    /// Something happened on the host. The event only says that it is time to look.
    pub(super) async fn happened(&mut self, workload: Workload) {
        // The same again tells only that it is time to look: its health is another, for one.
        match &workload {
            same if *same == self.workload => {}
            Workload::Running { restarts, .. } if *restarts > 0 => {
                self.emit(Action::Restarted, &format!("start {}", restarts + 1));
            }
            Workload::Waiting { exit, .. } => {
                self.emit(Action::Exited, &format!("ended with code {}", exit.code))
            }
            _ => {}
        }
        let was_live = self.workload.is_live();
        if let Err(error) = self.observe().await {
            self.fail(&error).await;
            return;
        }
        let vanished = was_live && self.workload == Workload::Absent && self.record.current.spec.running;
        if vanished && self.is_fresh() {
            tracing::warn!(instance = %self.record.id, "its supervisor vanished soon after the start");
            self.retry.later();
            return;
        }
        // What went wrong is on record already.
        let _failed = self.converge_or_fail().await;
    }

    fn is_fresh(&self) -> bool {
        let age = self.record.started_at.map(|at| Timestamp::now().0.saturating_sub(at.0));
        age.is_some_and(|age| u128::from(age) < SETTLED_AFTER.as_millis())
    }

    pub(super) async fn converge_or_fail(&mut self) -> Result<(), EngineError> {
        let result = self.converge().await;
        match &result {
            Ok(()) if self.record.failure.is_some() => {
                self.record.failure = None;
                self.commit().await?;
            }
            Ok(()) => {}
            Err(error) => self.fail(error).await,
        }
        result
    }

    /// It could not be brought up: says so, and tries again later where that may help.
    pub(super) async fn fail(&mut self, error: &EngineError) {
        self.note_failure(error).await;
        self.emit(Action::Failed, &told(error));
        if error.is_lasting() {
            self.retry.forget();
        } else {
            self.retry.later();
        }
    }

    async fn note_failure(&mut self, error: &EngineError) {
        let failure = Some(told(error));
        if self.record.failure == failure {
            return;
        }
        self.record.failure = failure;
        if let Err(error) = self.commit().await {
            let error: &dyn Error = &error;
            tracing::warn!(instance = %self.record.id, error, "its failure is not in the ledger");
            self.publish();
        }
    }

    pub(super) fn emit(&self, action: Action, message: &str) {
        self.inner.bus.emit(Subject::Instance, &self.record.id, self.record.name(), action, message);
    }
}

/// An error in one line.
fn told(error: &EngineError) -> String {
    let report = error.report();
    if report.detail.is_empty() { report.summary } else { format!("{}: {}", report.summary, report.detail) }
}
