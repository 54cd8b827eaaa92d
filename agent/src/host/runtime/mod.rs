//! Supervisors, what they run and what is kept for it, from `berth-runtime`.
//!
//! An instance has `instances/<id>` in the data directory, with `rootfs-<n>`, `log` and `files`, and in the run directory,
//! with its supervisor's socket, launch spec and exit record.

mod devices;
mod exec;
mod files;
mod home;
mod launch;
mod mounts;
mod plugs;
mod port;
mod process;
mod refusal;
mod remains;
mod state;
mod transfer;
mod watch;
mod writes;

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use berth_domain::{ExitRecord, FilePlace, Health, InstanceId, InstanceKind, Workload};
use berth_engine::ports::Cause;
use berth_engine::ports::runtime::{
    Contents, ExecError, ExecRequest, ExecSession, InstanceState, LogLine, LogRequest, LogStream,
    RootfsRequest, Runtime, RuntimeError, RuntimeEvent, Settings, StartError, StartRequest, Started,
    StopMode, Usage,
};
use berth_image::store::Store;
use berth_runtime::client::{self, ClientError, Supervisor};
use berth_runtime::control::{State, Update};
use berth_runtime::health::HealthSpec;
use berth_runtime::spec::{LaunchSpec, VmSpec};
use berth_runtime::{exit, logs};
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

use self::home::Home;
use self::remains::{remove_dir, remove_file};
use super::Place;
use super::driver::Driver;
use super::guests::{self, GuestError, Guests};
use super::network::Served;
use super::supervisor::Finder;

pub(super) use devices::Places;
pub(crate) use devices::SPEC_DIRS;

/// How long a supervisor may take beyond its workload's own time to stop.
const BEYOND: Duration = Duration::from_secs(30);

/// What an instance with this run directory was started with.
pub(super) fn launch_spec(run: &Path) -> Option<LaunchSpec> {
    state::spec(run)
}

/// The supervisors of this agent.
pub(super) struct Supervisors {
    place: Place,
    finder: Finder,
    store: Store,
    driver: Driver,
    sender: mpsc::UnboundedSender<RuntimeEvent>,
    receiver: Mutex<Option<mpsc::UnboundedReceiver<RuntimeEvent>>>,
    allowed: Allowed,
    guests: Guests,
    served: Served,
}

/// What of the host instances may have.
#[derive(Debug, Clone)]
pub(super) struct Allowed {
    /// What they may bind.
    pub bind_sources: mounts::Allowed,
    /// Where their devices are found.
    pub devices: Places,
    /// Whether they may be the host's root with more than the default capabilities.
    pub privileged: bool,
}

impl Supervisors {
    pub(super) fn new(
        place: Place,
        finder: Finder,
        store: Store,
        driver: Driver,
        allowed: Allowed,
        guests: Guests,
        served: Served,
    ) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        let receiver = Mutex::new(Some(receiver));
        Self { place, finder, store, driver, sender, receiver, allowed, guests, served }
    }

    fn home(&self, instance: InstanceId) -> Home {
        let name = format!("instances/{instance}");
        Home { data: self.place.data.join(&name), run: self.place.run.join(name) }
    }

    /// What a request's machine is, where it is for one.
    async fn vm(&self, request: &StartRequest) -> Result<Option<VmSpec>, StartError> {
        if request.config.kind == InstanceKind::Container {
            return Ok(None);
        }
        let (guests, limits) = (self.guests.clone(), request.settings.limits.clone());
        let made = tokio::task::spawn_blocking(move || guests.spec(&limits)).await;
        let made = made.map_err(|error| launch::unable("prepare the virtual machine", error))?;
        let failed = |error: GuestError| StartError::Machine { advice: error.advice(), source: error.into() };
        made.map(Some).map_err(failed)
    }

    /// Removes what a supervisor left that was killed; there is nothing where it ended in order, or was never there.
    async fn clear_remains(&self, instance: InstanceId) -> io::Result<()> {
        let parent = launch::group(&self.place);
        blocking(move || remains::clear(&parent, instance).map_err(io::Error::other)).await
    }

    fn health(&self, settings: &Settings) -> Option<HealthSpec> {
        settings.health.as_ref().map(|check| process::health(check, &self.finder.tls_probe()))
    }

    /// The supervisor, where one lives.
    async fn live(&self, home: &Home) -> Result<Option<(Supervisor, State)>, RuntimeError> {
        let found = client::adopt(&home.run).await;
        let found = found.map_err(|error| unable("reach the instance's supervisor", error))?;
        Ok(found.map(|(supervisor, status)| (supervisor, status.state)))
    }

    /// The supervisor of an instance whose workload runs.
    async fn running(&self, instance: InstanceId) -> Result<Supervisor, RuntimeError> {
        match self.live(&self.home(instance)).await? {
            Some((supervisor, State::Running { .. })) => Ok(supervisor),
            _ => Err(RuntimeError::NotRunning),
        }
    }

    /// `started`: by this agent just now, and who asked for it knows.
    fn follow(
        &self,
        instance: InstanceId,
        supervisor: Supervisor,
        started: Option<(tokio::process::Child, Workload)>,
    ) {
        let (process, last) = started.unzip();
        let watch = watch::Watch {
            instance,
            supervisor,
            run: self.home(instance).run,
            sender: self.sender.clone(),
            process,
            last,
        };
        tokio::spawn(watch.run());
    }
}

fn unable(operation: &str, source: impl Into<Cause>) -> RuntimeError {
    RuntimeError::Host { operation: operation.to_owned(), source: source.into() }
}

/// Runs work on files on a blocking thread.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

#[async_trait]
impl Runtime for Supervisors {
    fn events(&self) -> BoxStream<'static, RuntimeEvent> {
        let taken = self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take();
        match taken {
            Some(receiver) => UnboundedReceiverStream::new(receiver).boxed(),
            // Whoever was first has them all.
            None => futures::stream::pending().boxed(),
        }
    }

    fn plugged(&self) -> BoxStream<'static, ()> {
        plugs::watch()
    }

    async fn observe_all(&self) -> Result<Vec<(InstanceId, InstanceState)>, RuntimeError> {
        let places = [self.place.data.join("instances"), self.place.run.join("instances")];
        let ids = blocking(move || state::ids(&places)).await;
        let ids = ids.map_err(|error| unable("list the instances' directories", error))?;
        let mut all = Vec::new();
        for id in ids {
            let state = self.observe(id).await?;
            if state.workload.is_live() {
                self.follow(id, Supervisor::at(&self.home(id).run), None);
            }
            all.push((id, state));
        }
        Ok(all)
    }

    async fn observe(&self, instance: InstanceId) -> Result<InstanceState, RuntimeError> {
        let home = self.home(instance);
        let data = home.data.clone();
        let rootfs = blocking(move || state::rootfs(&data)).await;
        let rootfs = rootfs.map_err(|error| unable("look at the instance's directory", error))?;
        let mut found = client::adopt(&home.run).await;
        if let Ok(Some((supervisor, status))) = &found
            && status.state == State::Stopping
        {
            // On its way out: what is left of it is told when it is gone.
            let gone = tokio::time::timeout(state::stop_time(&home.run) + BEYOND, watch::gone(supervisor));
            gone.await.map_err(|_elapsed| RuntimeError::Unstoppable { waited: BEYOND })?;
            found = client::adopt(&home.run).await;
        }
        let found = found.map_err(|error| unable("reach the instance's supervisor", error))?;
        let status = found.map(|(_, status)| status);
        let health = status.as_ref().and_then(|status| status.health.clone()).map(process::told);
        let clamped = status.as_ref().map(|status| status.clamped.clone()).unwrap_or_default();
        let interfaces =
            status.as_ref().map(|status| state::interfaces(&status.interfaces)).unwrap_or_default();
        let accelerator = status.as_ref().and_then(|_| state::accelerator(&home.run));
        let workload = state::workload(&home.run, status);
        Ok(InstanceState { workload, rootfs, health, clamped, accelerator, interfaces })
    }

    async fn prepare_rootfs(&self, request: &RootfsRequest) -> Result<(), StartError> {
        launch::lower(&self.store, &self.driver, &request.image).await?;
        let directory = self.home(request.instance).rootfs(request.rootfs);
        let made = blocking(move || std::fs::create_dir_all(directory)).await;
        made.map_err(|error| launch::unable("make the instance's directory", error))
    }

    async fn start(&self, request: &StartRequest) -> Result<Started, StartError> {
        let program = self.finder.find().ok_or_else(|| StartError::Host {
            operation: "find the instance's supervisor".to_owned(),
            advice: self.finder.advice(),
            source: io::Error::from(io::ErrorKind::NotFound).into(),
        })?;
        if let Some(field) = request.config.security.beyond_default().filter(|_| !self.allowed.privileged) {
            return Err(StartError::NotAllowed { field });
        }
        let home = self.home(request.instance);
        let lower = launch::lower(&self.store, &self.driver, &request.image).await?;
        let vm = self.vm(request).await?;
        let mut spec = launch::spec(&self.place, &home, request, lower, vm);
        let put_in = self.mount_specs(&request.contents, &[]).await.map_err(StartError::Mount)?;
        put_in.into_spec(&mut spec);
        spec.health = self.health(&request.settings);
        let files =
            files::Files::of(request.config.hostname.as_str(), &request.contents, &self.place, &self.served);
        let root = spec.ids.host_base;
        let (uids, upper) = (request.uids, spec.rootfs.upper.clone());
        let (made, data, run) = (spec.files.clone(), home.data.clone(), home.run.clone());
        let wanted = request.contents.writes.clone();
        let written = blocking(move || {
            let ids = std::ops::Range { start: uids.base, end: uids.base.saturating_add(uids.count) };
            berth_storage::owners::shift(&upper, &ids, root)?;
            files.write(&made, root)?;
            std::fs::create_dir_all(data.join("log"))?;
            // How an earlier start ended is not how this one does.
            remove_file(&run.join(exit::FILE))?;
            std::fs::create_dir_all(&run)?;
            writes::lay_out_anew(&run, &wanted)
        });
        spec.writes = written.await.map_err(|error| launch::unable("write the instance's files", error))?;
        match client::spawn(&program, &spec).await {
            Ok(spawned) => {
                let started = state::started(&spawned);
                let Started { pid, at: started_at } = started;
                let known = Workload::Running { revision: spec.revision, pid, started_at, restarts: 0 };
                self.follow(request.instance, spawned.supervisor, Some((spawned.process, known)));
                Ok(started)
            }
            Err(error) => {
                let run = home.run.clone();
                // Nothing was started, and nothing says that it was.
                let cleared = move || writes::clear(&run).and_then(|()| remove_file(&run.join("spec.json")));
                if let Err(error) = blocking(cleared).await {
                    tracing::warn!(%error, "the spec of a failed start is left");
                }
                if let Err(error) = self.clear_remains(request.instance).await {
                    tracing::warn!(%error, "the control group of a failed start is left");
                }
                Err(launch::failed(request, &spec, error))
            }
        }
    }

    async fn stop(&self, instance: InstanceId, mode: StopMode) -> Result<Option<ExitRecord>, RuntimeError> {
        let home = self.home(instance);
        if let Some((supervisor, _)) = self.live(&home).await? {
            let waited = state::stop_time(&home.run) + BEYOND;
            let stopped =
                tokio::time::timeout(waited, watch::stop(&supervisor, mode == StopMode::Kill)).await;
            let stopped = stopped.map_err(|_elapsed| RuntimeError::Unstoppable { waited })?;
            if let Err(error) = stopped {
                // It may have ended by itself meanwhile.
                if self.live(&home).await?.is_some() {
                    return Err(unable("stop the instance", error));
                }
            }
        }
        let cleared = self.clear_remains(instance).await;
        cleared.map_err(|error| unable("remove what the instance ran in", error))?;
        Ok(exit::read(&home.run).map(|record| state::exit(&record)))
    }

    async fn apply(
        &self,
        instance: InstanceId,
        settings: &Settings,
        contents: &Contents,
    ) -> Result<(), RuntimeError> {
        let home = self.home(instance);
        let (supervisor, state) = self.live(&home).await?.ok_or(RuntimeError::NotRunning)?;
        let Some(mut spec) = state::spec(&home.run) else { return Err(RuntimeError::NotRunning) };
        launch::limit(&mut spec.cgroup, &settings.limits, spec.vm.is_some());
        spec.restart = launch::restart(settings.restart);
        let put_in = self.mount_specs(contents, &spec.mounts).await.map_err(RuntimeError::Mount)?;
        spec.mounts = put_in.mounts;
        let machine = spec.vm.as_mut().map(|vm| {
            let size = guests::size(&settings.limits);
            (vm.cpus, vm.memory_bytes) = (size.cpus, size.memory_bytes);
            size
        });
        let networks = launch::interfaces(&self.place, instance, &spec.hostname, &contents.interfaces);
        if spec.vm.as_ref().is_none_or(|vm| vm.has_slots) {
            spec.networks = networks;
        } else if spec.networks != networks && !contents.settled {
            // A machine of an agent before this one: its interfaces are as they are until it boots again.
            return Err(RuntimeError::NeedsRestart);
        }
        let (run, wanted) = (home.run.clone(), contents.writes.clone());
        // What an agent laid out that was killed before it could ask for it. A workload that runs waits for nothing; what one
        // waits for that does not is to be kept.
        let is_stale = spec.vm.is_none() && matches!(state, State::Running { .. });
        let files = files::Files::of(&spec.hostname, contents, &self.place, &self.served);
        let binds = spec.files.clone();
        let lay_out = if is_stale { writes::lay_out_anew } else { writes::lay_out };
        let laid = blocking(move || lay_out(&run, &wanted)).await;
        let writes = laid.map_err(|error| unable("lay out the instance's files", error))?;
        spec.health = self.health(settings);
        let update = Update {
            writes,
            notify: contents.notify.then_some(nix::libc::SIGHUP),
            restart: spec.restart,
            stop: spec.stop,
            cgroup: spec.cgroup.clone(),
            mounts: Some(spec.mounts.clone()),
            networks: Some(spec.networks.clone()),
            health: spec.health.clone(),
            machine,
            patience_ms: spec.vm.as_ref().map_or(0, guests::patience_ms),
        };
        if let Err(error) = supervisor.update(update).await {
            // Anything else may have come after it took them.
            if matches!(error, ClientError::Update(_)) {
                let run = home.run.clone();
                if let Err(error) = blocking(move || writes::clear(&run)).await {
                    tracing::warn!(%error, "files that were not written are left");
                }
            }
            return Err(refusal::of(&spec, error));
        }
        let saved = blocking(move || {
            files.rewrite(&binds)?;
            let text = serde_json::to_vec(&spec)?;
            let path = spec.run_dir.join("spec.json");
            berth_sys::fs::write_whole(&path, &text, 0o600).map_err(io::Error::other)
        });
        saved.await.map_err(|error| unable("record the instance's limits", error))
    }

    async fn settled(&self, instance: InstanceId) -> Result<Option<Health>, RuntimeError> {
        let home = self.home(instance);
        let Some((supervisor, _)) = self.live(&home).await? else { return Ok(None) };
        let settled = watch::settled(&supervisor).await;
        settled.map_err(|error| unable("follow the instance's health", error))
    }

    async fn answers(&self, instance: InstanceId, address: Option<Ipv4Addr>, port: u16) -> bool {
        if let Some(address) = address {
            return port::answers(address, port).await;
        }
        let home = self.home(instance);
        let Ok(Some((supervisor, State::Running { pid, .. }))) = self.live(&home).await else { return false };
        let is_machine = state::spec(&home.run).is_some_and(|spec| spec.vm.is_some());
        port::is_open_inside(&supervisor, pid, is_machine, port).await
    }

    async fn usage(&self, instance: InstanceId) -> Result<Usage, RuntimeError> {
        let home = self.home(instance);
        let (supervisor, _) = self.live(&home).await?.ok_or(RuntimeError::NotRunning)?;
        let usage = supervisor.usage().await.map_err(|error| unable("tell what the instance uses", error))?;
        Ok(state::usage(&usage))
    }

    async fn keep_only_rootfs(&self, instance: InstanceId, rootfs: u32) -> Result<(), RuntimeError> {
        let home = self.home(instance);
        let removed = blocking(move || {
            for other in state::rootfs(&home.data)?.into_iter().filter(|number| *number != rootfs) {
                remove_dir(&home.rootfs(other))?;
            }
            Ok(())
        });
        removed.await.map_err(|error| unable("remove the instance's old files", error))
    }

    async fn remove(&self, instance: InstanceId) -> Result<(), RuntimeError> {
        let home = self.home(instance);
        let cleared = self.clear_remains(instance).await;
        cleared.map_err(|error| unable("remove what the instance ran in", error))?;
        let removed = blocking(move || {
            remove_dir(&home.run)?;
            remove_dir(&home.data)
        });
        removed.await.map_err(|error| unable("remove the instance's files", error))
    }

    async fn exec(&self, instance: InstanceId, request: &ExecRequest) -> Result<ExecSession, ExecError> {
        let home = self.home(instance);
        let failed = |source: RuntimeError| ExecError::Host {
            operation: "reach the instance's supervisor".to_owned(),
            source: source.into(),
        };
        let spec = state::spec(&home.run).ok_or(ExecError::NotRunning)?;
        match exec::run(&Supervisor::at(&home.run), &spec.process, request).await {
            // Whether it runs at all is asked only where that may be why.
            Err(error @ ExecError::Host { .. }) => match self.live(&home).await.map_err(failed)? {
                Some((_, State::Running { .. })) => Err(error),
                _ => Err(ExecError::NotRunning),
            },
            result => result,
        }
    }

    async fn push_file(
        &self,
        instance: InstanceId,
        place: &FilePlace,
        content: File,
    ) -> Result<(), RuntimeError> {
        transfer::push(&self.running(instance).await?, place, content).await
    }

    async fn pull_file(&self, instance: InstanceId, path: &str) -> Result<File, RuntimeError> {
        transfer::pull(&self.running(instance).await?, path).await
    }

    async fn logs(
        &self,
        instance: InstanceId,
        request: &LogRequest,
    ) -> Result<mpsc::Receiver<Result<LogLine, RuntimeError>>, RuntimeError> {
        let since = request.since.and_then(|time| jiff::Timestamp::try_from(time).ok());
        let query = logs::Query {
            tail: request.tail.map(|lines| usize::try_from(lines).unwrap_or(usize::MAX)),
            since: since.map(|time| format!("{time:.9}")),
            follow: request.follow,
        };
        let mut entries = logs::open(&self.home(instance).log(), query);
        let (sender, receiver) = mpsc::channel(64);
        tokio::spawn(async move {
            loop {
                let entry = tokio::select! {
                    () = sender.closed() => return,
                    entry = entries.recv() => entry,
                };
                let Some(entry) = entry else { return };
                let line = entry.map(line).map_err(|error| unable("read the log", error));
                if sender.send(line).await.is_err() {
                    return;
                }
            }
        });
        Ok(receiver)
    }
}

fn line(entry: logs::Entry) -> LogLine {
    let stream = match entry.stream {
        logs::Stream::Stdout => LogStream::Stdout,
        logs::Stream::Stderr => LogStream::Stderr,
    };
    LogLine { time: entry.time, stream, data: entry.data, partial: entry.partial }
}

/// What a workload is whose supervisor is gone.
fn ended(run: &Path) -> Workload {
    state::workload(run, None)
}
