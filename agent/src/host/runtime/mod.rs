//! Supervisors, what they run, and what is kept for it: the engine's runtime, made from `berth-runtime`.
//!
//! - `launch`: from a start request to a launch spec, and from a failed stage to the argument that mends it
//! - `watch`: a task a supervisor, from its events to the engine's
//! - `session`: a program beside the workload
//! - `files`: the directories of an instance

mod files;
mod launch;
mod session;
mod watch;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use berth_domain::{ExitRecord, InstanceId};
use berth_engine::ports::runtime::{
    ExecError, ExecRequest, ExecSession, InstanceState, LogLine, LogRequest, LogStream, RootfsRequest, Runtime,
    RuntimeError, RuntimeEvent, Settings, StartError, StartRequest, Started, StopMode,
};
use berth_image::store::Store;
use berth_runtime::client::{self, ClientError, Supervisor};
use berth_runtime::control::{Event, Update};
use berth_runtime::logs;
use berth_sys::cgroup::{Cgroup, Layout};
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::Place;
use super::supervisor::Finder;
use files::Files;

/// How long a supervisor may take to go once its workload has been killed.
const LAST_MOMENT: Duration = Duration::from_secs(15);

/// The supervisors of this agent.
pub(super) struct Supervisors {
    place: Place,
    finder: Finder,
    store: Store,
    sender: mpsc::UnboundedSender<RuntimeEvent>,
    receiver: Mutex<Option<mpsc::UnboundedReceiver<RuntimeEvent>>>,
}

/// Runs work that waits for the disk where it may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RuntimeError> + Send + 'static,
) -> Result<T, RuntimeError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(host("finish what was begun", error)))
}

fn host(operation: &str, source: impl Into<berth_engine::ports::Cause>) -> RuntimeError {
    RuntimeError::Host { operation: operation.to_owned(), source: source.into() }
}

impl Supervisors {
    pub(super) fn new(place: Place, finder: Finder, store: Store) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Self { place, finder, store, sender, receiver: Mutex::new(Some(receiver)) }
    }

    fn files(&self, instance: InstanceId) -> Files {
        Files::new(&self.place, instance)
    }

    async fn state(&self, instance: InstanceId) -> Result<(InstanceState, Option<Supervisor>), RuntimeError> {
        let files = self.files(instance);
        let adopted = client::adopt(&files.run).await.map_err(|error| host("ask the supervisor", error))?;
        blocking(move || {
            let rootfs = files.rootfs_numbers().map_err(|error| host("list the root filesystems", error))?;
            let (workload, supervisor) = match adopted {
                Some((supervisor, status)) => (watch::of_status(&files, &status), Some(supervisor)),
                None => (watch::of_record(&files), None),
            };
            Ok((InstanceState { workload, rootfs }, supervisor))
        })
        .await
    }

    fn group_parent(&self) -> String {
        format!("berth{}", self.place.prefix)
    }
}

#[async_trait]
impl Runtime for Supervisors {
    fn events(&self) -> BoxStream<'static, RuntimeEvent> {
        let receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take();
        match receiver {
            Some(receiver) => UnboundedReceiverStream::new(receiver).boxed(),
            None => futures::stream::pending().boxed(),
        }
    }

    async fn observe_all(&self) -> Result<Vec<(InstanceId, InstanceState)>, RuntimeError> {
        let place = self.place.clone();
        let instances = blocking(move || {
            files::instances(&place).map_err(|error| host("list the instances' directories", error))
        })
        .await?;
        let mut found = Vec::with_capacity(instances.len());
        for instance in instances {
            let (state, supervisor) = self.state(instance).await?;
            if let Some(supervisor) = supervisor {
                watch::follow(&supervisor, self.files(instance), instance, self.sender.clone())
                    .await
                    .map_err(|error| host("watch the supervisor", error))?;
            }
            found.push((instance, state));
        }
        Ok(found)
    }

    async fn observe(&self, instance: InstanceId) -> Result<InstanceState, RuntimeError> {
        Ok(self.state(instance).await?.0)
    }

    async fn prepare_rootfs(&self, request: &RootfsRequest) -> Result<(), StartError> {
        let (files, store, request) = (self.files(request.instance), self.store.clone(), request.clone());
        let prepared = tokio::task::spawn_blocking(move || {
            launch::tree(&store, &request.image)?;
            files.make(request.rootfs).map_err(|error| launch::host("make the instance's directories", error))
        });
        prepared.await.unwrap_or_else(|error| Err(launch::host("finish what was begun", error)))
    }

    async fn start(&self, request: &StartRequest) -> Result<Started, StartError> {
        let Some(program) = self.finder.find() else {
            return Err(StartError::Host {
                operation: "run the instance's supervisor".to_owned(),
                advice: self.finder.advice(),
                source: std::io::Error::from(std::io::ErrorKind::NotFound).into(),
            });
        };
        let files = self.files(request.instance);
        let spec = {
            let (place, store, files, request) =
                (self.place.clone(), self.store.clone(), files.clone(), request.clone());
            tokio::task::spawn_blocking(move || launch::spec(&place, &store, &files, &request))
                .await
                .unwrap_or_else(|error| Err(launch::host("finish what was begun", error)))?
        };
        let spawned =
            client::spawn(&program, &spec).await.map_err(|error| launch::failed(error, &request.config))?;
        let mut process = spawned.process;
        // Waited for so that it leaves no zombie; how its workload ended is told by its events.
        tokio::spawn(async move {
            if let Err(error) = process.wait().await {
                tracing::warn!(%error, "cannot wait for a supervisor");
            }
        });
        watch::follow(&spawned.supervisor, files, request.instance, self.sender.clone())
            .await
            .map_err(|error| launch::host("watch the supervisor", error))?;
        Ok(Started { pid: spawned.pid.unsigned_abs(), at: berth_domain::Timestamp::now() })
    }

    async fn stop(&self, instance: InstanceId, mode: StopMode) -> Result<Option<ExitRecord>, RuntimeError> {
        let files = self.files(instance);
        let found = client::adopt(&files.run).await.map_err(|error| host("ask the supervisor", error))?;
        let Some((supervisor, _)) = found else {
            return Ok(watch::exit_of(watch::of_record(&files)));
        };
        let refused = |error: ClientError| host("stop the instance", error);
        let mut events = supervisor.watch().await.map_err(refused)?;
        supervisor.stop(mode == StopMode::Kill).await.map_err(refused)?;
        let patience = match mode {
            StopMode::Graceful => files.stop_timeout() + LAST_MOMENT,
            StopMode::Kill => LAST_MOMENT,
        };
        let gone = async {
            let mut last = None;
            while let Some(event) = events.next().await.map_err(refused)? {
                if let Event::Gone(record) = event {
                    last = Some(watch::exit(&record));
                }
            }
            Ok(last)
        };
        tokio::time::timeout(patience, gone).await.unwrap_or(Err(RuntimeError::Unstoppable { waited: patience }))
    }

    async fn apply(&self, instance: InstanceId, settings: &Settings) -> Result<(), RuntimeError> {
        let files = self.files(instance);
        let found = client::adopt(&files.run).await.map_err(|error| host("ask the supervisor", error))?;
        let Some((supervisor, _)) = found else { return Err(RuntimeError::NotRunning) };
        let Some(spec) = files.spec() else { return Err(RuntimeError::NotRunning) };
        let update = Update {
            restart: launch::restart(&settings.restart),
            stop: spec.stop,
            cgroup: launch::cgroup(self.group_parent(), &spec.cgroup.name, &settings.limits),
        };
        supervisor.update(update).await.map_err(|error| launch::refused_limit(error))
    }

    async fn keep_only_rootfs(&self, instance: InstanceId, rootfs: u32) -> Result<(), RuntimeError> {
        let files = self.files(instance);
        blocking(move || files.keep_only(rootfs).map_err(|error| host("remove an old root filesystem", error))).await
    }

    async fn remove(&self, instance: InstanceId) -> Result<(), RuntimeError> {
        let (files, parent) = (self.files(instance), self.group_parent());
        blocking(move || {
            let layout = Layout::detect().map_err(|error| host("look at the control groups", error))?;
            // There is one only where a supervisor was killed.
            let group = Cgroup::existing(layout, &parent, &instance.to_string());
            group.remove().map_err(|error| host("remove the control group", error))?;
            files.remove().map_err(|error| host("remove the instance's directories", error))
        })
        .await
    }

    async fn exec(&self, instance: InstanceId, request: &ExecRequest) -> Result<ExecSession, ExecError> {
        session::start(&self.files(instance), request).await
    }

    async fn logs(
        &self,
        instance: InstanceId,
        request: &LogRequest,
    ) -> Result<mpsc::Receiver<Result<LogLine, RuntimeError>>, RuntimeError> {
        let query = logs::Query {
            tail: request.tail.and_then(|tail| usize::try_from(tail).ok()),
            since: request.since.map(since).transpose()?,
            follow: request.follow,
        };
        let directory = self.files(instance).log();
        let (sender, receiver) = mpsc::channel(64);
        if !directory.exists() {
            return Ok(receiver);
        }
        let mut entries = logs::open(&directory, query);
        tokio::spawn(async move {
            while let Some(entry) = entries.recv().await {
                let line = entry.map(line).map_err(|error| host("read the log", error));
                if sender.send(line).await.is_err() {
                    return;
                }
            }
        });
        Ok(receiver)
    }
}

/// As the log writes its times, so that they compare as text.
fn since(time: std::time::SystemTime) -> Result<String, RuntimeError> {
    let time = jiff::Timestamp::try_from(time).map_err(|error| host("read the log from that moment", error))?;
    Ok(format!("{time:.9}"))
}

fn line(entry: logs::Entry) -> LogLine {
    LogLine {
        time: entry.time,
        stream: match entry.stream {
            logs::Stream::Stdout => LogStream::Stdout,
            logs::Stream::Stderr => LogStream::Stderr,
        },
        data: entry.data,
        partial: entry.partial,
    }
}

/// Shared with the tasks that watch.
type Events = mpsc::UnboundedSender<RuntimeEvent>;

