//! The task of one instance. It alone writes the instance's record and takes its steps, one operation at a time.
//!
//! What comes to it: requests of users, the runtime's events, its own retries, and the agent's end. At the agent's
//! end it finishes the operation it is in, and leaves the instance as it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use berth_domain::{Health, ImageInfo, InstanceId, Workload};
use tokio::sync::{mpsc, oneshot, watch};

use super::interfaces;
use super::retry::Retry;
pub(crate) use super::status::Snapshot;
use super::update::Change;
use crate::engine::Inner;
use crate::error::{EngineError, Kind};
use crate::ledger::Record;
use crate::ports::runtime::{InstanceState, InterfaceState, StopMode};
use crate::report::Reporter;

/// What a user wants of an instance.
pub(crate) enum Operation {
    /// Bring up what was just written to the ledger.
    Create,
    Update(Box<Change>),
    Start,
    Stop(StopMode),
    Restart(StopMode),
    Delete(StopMode),
    /// Go on with what the ledger wants.
    Resume,
    /// Its addresses are others now, in the ledger.
    Readdress,
    /// Devices of the host came or went.
    Replug,
    /// What its networks are called is another.
    Refresh,
}

impl Operation {
    /// Does not wait for a workload that takes its time to stop.
    fn is_urgent(&self) -> bool {
        matches!(
            self,
            Self::Stop(StopMode::Kill) | Self::Restart(StopMode::Kill) | Self::Delete(StopMode::Kill)
        )
    }
}

enum Message {
    Request {
        operation: Operation,
        reporter: Reporter,
        reply: oneshot::Sender<Result<Arc<Snapshot>, EngineError>>,
    },
    Happened(Workload),
}

/// The way to an instance's task.
#[derive(Clone)]
pub(crate) struct Handle {
    id: InstanceId,
    inbox: mpsc::UnboundedSender<Message>,
    urgent: watch::Sender<usize>,
    snapshot: watch::Receiver<Arc<Snapshot>>,
}

impl Handle {
    /// The instance as its task saw it last.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.borrow())
    }

    /// The instance as its task sees it from now on.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshot.clone()
    }

    /// Asks for an operation and waits for its end.
    pub(crate) async fn request(
        &self,
        operation: Operation,
        reporter: Reporter,
    ) -> Result<Arc<Snapshot>, EngineError> {
        if operation.is_urgent() {
            self.urgent.send_modify(|count| *count += 1);
        }
        let (reply, answer) = oneshot::channel();
        let gone = || EngineError::not_found(Kind::Instance, self.id);
        self.inbox.send(Message::Request { operation, reporter, reply }).map_err(|_closed| gone())?;
        // Without an answer, the instance was deleted by a request before this one, or the agent ends.
        answer.await.unwrap_or_else(|_dropped| Err(gone()))
    }

    /// Tells of something that happened on the host.
    pub(crate) fn happened(&self, workload: Workload) {
        // An instance that was just deleted does not care.
        let _gone = self.inbox.send(Message::Happened(workload));
    }
}

/// The task's own.
pub(super) struct Actor {
    pub(super) inner: Arc<Inner>,
    pub(super) record: Record,
    pub(super) workload: Workload,
    pub(super) rootfs: Vec<u32>,
    pub(super) health: Option<Health>,
    pub(super) clamped: Vec<String>,
    pub(super) accelerator: Option<String>,
    pub(super) interfaces: BTreeMap<String, InterfaceState>,
    /// The generation whose ports, limits and restart policy are in force, where that is known.
    pub(super) settings: Option<u64>,
    pub(super) image: Option<Arc<ImageInfo>>,
    pub(super) retry: Retry,
    pub(super) reporter: Reporter,
    pub(super) stop_mode: StopMode,
    pub(super) urgent: watch::Receiver<usize>,
    /// All that was of it is gone.
    pub(super) gone: bool,
    snapshot: watch::Sender<Arc<Snapshot>>,
}

/// Starts the task of an instance. With `resume`, it first brings up what the ledger wants; else it waits for its
/// `Create`.
pub(crate) fn spawn(
    inner: &Arc<Inner>,
    record: Record,
    found: InstanceState,
    image: Option<Arc<ImageInfo>>,
    resume: bool,
) -> Handle {
    let (inbox, messages) = mpsc::unbounded_channel();
    let (urgent, urgency) = watch::channel(0);
    let first = Snapshot {
        addresses: interfaces::addresses(inner, &record, &found.interfaces),
        record: record.clone(),
        workload: found.workload.clone(),
        image: image.clone(),
        health: None,
        clamped: Vec::new(),
        accelerator: None,
        interfaces: found.interfaces.clone(),
    };
    let (snapshot, watcher) = watch::channel(Arc::new(first));
    let handle = Handle { id: record.id, inbox, urgent: urgent.clone(), snapshot: watcher };
    let actor = Actor {
        inner: Arc::clone(inner),
        record,
        workload: found.workload,
        rootfs: Vec::new(),
        health: None,
        clamped: Vec::new(),
        accelerator: None,
        interfaces: found.interfaces,
        settings: None,
        image,
        retry: Retry::default(),
        reporter: Reporter::silent(),
        stop_mode: StopMode::Graceful,
        urgent: urgency,
        gone: false,
        snapshot,
    };
    inner.tasks.spawn(actor.run(messages, urgent, resume));
    handle
}

impl Actor {
    async fn run(
        mut self,
        mut messages: mpsc::UnboundedReceiver<Message>,
        urgent: watch::Sender<usize>,
        resume: bool,
    ) {
        if resume {
            self.resume().await;
        }
        let closing = self.inner.closing.clone();
        while !self.gone {
            let message = tokio::select! {
                biased;
                () = closing.cancelled() => break,
                message = messages.recv() => message,
                () = self.retry.due() => {
                    self.resume().await;
                    continue;
                }
            };
            match message {
                None => break,
                Some(Message::Happened(workload)) => self.happened(workload).await,
                Some(Message::Request { operation, reporter, reply }) => {
                    if operation.is_urgent() {
                        urgent.send_modify(|count| *count -= 1);
                    }
                    self.reporter = reporter;
                    let result = self.operate(operation).await;
                    self.reporter = Reporter::silent();
                    self.stop_mode = StopMode::Graceful;
                    // Whoever asked may have gone away; what was asked for is done all the same.
                    let _gone = reply.send(result.map(|()| self.current()));
                }
            }
        }
    }

    async fn operate(&mut self, operation: Operation) -> Result<(), EngineError> {
        match operation {
            Operation::Create => self.create().await,
            Operation::Update(change) => self.update(*change).await,
            Operation::Start => self.start().await,
            Operation::Stop(mode) => self.stop(mode).await,
            Operation::Restart(mode) => self.restart(mode).await,
            Operation::Delete(mode) => self.delete(mode).await,
            Operation::Readdress => self.readdress().await,
            Operation::Replug => self.replug().await,
            Operation::Refresh => self.refresh().await,
            Operation::Resume => {
                self.resume().await;
                Ok(())
            }
        }
    }

    pub(super) fn current(&self) -> Arc<Snapshot> {
        Arc::new(Snapshot {
            record: self.record.clone(),
            workload: self.workload.clone(),
            image: self.image.clone(),
            health: self.health.clone(),
            clamped: self.clamped.clone(),
            accelerator: self.accelerator.clone(),
            addresses: interfaces::addresses(&self.inner, &self.record, &self.interfaces),
            interfaces: self.interfaces.clone(),
        })
    }

    /// Shows the instance as it is now to whoever asks.
    pub(super) fn publish(&self) {
        self.snapshot.send_replace(self.current());
    }

    /// Writes the record; what follows may rely on it.
    pub(super) async fn commit(&self) -> Result<(), EngineError> {
        self.inner.ledger.save_instance(self.record.clone()).await?;
        self.publish();
        Ok(())
    }
}
