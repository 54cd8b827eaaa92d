//! Observing, planning, and taking the steps.

use std::collections::BTreeSet;
use std::sync::Arc;

use berth_domain::{
    EffectiveConfig, HealthCheck, ImageInfo, KnownNetwork, NetworkId, Observed, Step, Wanted, Workload, plan,
};
use tokio::sync::watch;

use super::actor::Actor;
use crate::error::EngineError;
use crate::event::{Action, Subject};
use crate::ledger::Phase;
use crate::network_error::NetworkFault;
use crate::ports::network::{NetworkError, Publication};
use crate::ports::runtime::{
    Contents, RootfsRequest, RuntimeError, Settings, StartError, StartRequest, StopMode,
};

/// A plan is empty after two rounds; one that is not after so many is being worked against.
const ROUNDS: usize = 6;

impl Actor {
    /// Takes steps until the host is as the ledger wants it.
    pub(super) async fn converge(&mut self) -> Result<(), EngineError> {
        for _ in 0..ROUNDS {
            self.observe().await?;
            let desired = self.record.desired();
            let observed = Observed {
                workload: self.workload.clone(),
                settings: self.settings,
                rootfs: self.rootfs.clone(),
            };
            let steps = plan(&desired, &observed);
            for step in &steps {
                self.take(*step).await?;
            }
            if steps.is_empty() || desired.wanted == Wanted::Absent {
                self.retry.forget();
                return Ok(());
            }
        }
        // It keeps changing under our hands: a crash loop, for one. Its events bring us back here.
        tracing::debug!(instance = %self.record.id, "still changing after {ROUNDS} rounds");
        Ok(())
    }

    /// Looks at what the host has, and notes what changed by itself.
    pub(super) async fn observe(&mut self) -> Result<(), EngineError> {
        let state = self.inner.ports.runtime.observe(self.record.id).await;
        let state = state.map_err(|source| self.runtime_failed("observe it", source))?;
        self.workload = state.workload;
        self.rootfs = state.rootfs;
        self.health = state.health;
        self.clamped = state.clamped;
        self.accelerator = state.accelerator;
        self.interfaces = state.interfaces;
        let noted = (self.record.started_at, self.record.restarts);
        match &self.workload {
            Workload::Running { started_at, restarts, .. } => {
                self.record.started_at = Some(*started_at);
                self.record.restarts = *restarts;
            }
            Workload::Waiting { restarts, .. } | Workload::Ended { restarts, .. } => {
                self.record.restarts = *restarts
            }
            Workload::Absent => {}
        }
        if noted == (self.record.started_at, self.record.restarts) {
            self.publish();
            return Ok(());
        }
        self.commit().await
    }

    async fn take(&mut self, step: Step) -> Result<(), EngineError> {
        tracing::debug!(instance = %self.record.id, ?step, "step");
        match step {
            Step::PrepareRootfs(rootfs) => self.prepare_rootfs(rootfs).await,
            Step::ClaimPorts => self.claim_ports().await,
            Step::EnsureNetwork => self.ensure_network().await,
            Step::Stop => self.stop_workload().await,
            Step::Start => self.start_workload().await,
            Step::ApplySettings => self.apply_settings().await,
            Step::PublishPorts => self.publish_ports().await,
            Step::WithdrawPorts => self.withdraw_ports().await,
            Step::RecordExit => self.record_exit().await,
            Step::KeepOnlyRootfs(rootfs) => {
                self.keep_only_rootfs(rootfs).await;
                Ok(())
            }
            Step::RemoveData => {
                let removed = self.inner.ports.runtime.remove(self.record.id).await;
                removed.map_err(|source| self.runtime_failed("remove its data", source))
            }
        }
    }

    async fn prepare_rootfs(&self, rootfs: u32) -> Result<(), EngineError> {
        self.reporter.line("preparing the root filesystem");
        let request = RootfsRequest {
            instance: self.record.id,
            rootfs,
            image: self.record.current.image.clone(),
            uids: self.record.uids,
        };
        let prepared = self.inner.ports.runtime.prepare_rootfs(&request).await;
        prepared.map_err(|source| self.start_failed(source, None))
    }

    async fn claim_ports(&self) -> Result<(), EngineError> {
        let id = self.record.id;
        let ports = self.record.current.published();
        let new = self.inner.claims.add(id, self.record.name(), &ports)?;
        // Where the workload's ports may be published already, the host would say that they are taken.
        if self.settings.is_none() && self.workload.is_live() {
            return Ok(());
        }
        for port in &new {
            let free =
                self.inner.ports.network.check_port(port.host_address, port.host_port, port.protocol).await;
            if let Err(source) = free {
                self.inner.claims.drop_ports(id, &new);
                return Err(EngineError::Port { name: port.name.clone(), source });
            }
        }
        Ok(())
    }

    async fn ensure_network(&self) -> Result<(), EngineError> {
        let links = self.links();
        let mut attached = self.inner.attached.lock().await;
        for id in self.wanted_networks() {
            let Some(network) = self.inner.networks.get(id) else { continue };
            let on_it: Vec<_> = links.iter().filter(|link| link.network.id == id).cloned().collect();
            let ensured = self.inner.ports.network.join(&network, self.record.id, &on_it).await;
            ensured.map_err(|source| self.not_joined(&network, source))?;
            attached.entry(id).or_default().insert(self.record.id);
        }
        drop(attached);
        self.inner.restrict().await
    }

    async fn stop_workload(&mut self) -> Result<(), EngineError> {
        self.reporter.line("stopping");
        let runtime = Arc::clone(&self.inner.ports.runtime);
        let id = self.record.id;
        let pressed = *self.urgent.borrow_and_update() > 0;
        let mode = if pressed { StopMode::Kill } else { self.stop_mode };
        let stopped = tokio::select! {
            stopped = runtime.stop(id, mode) => Some(stopped),
            () = pressed_later(&mut self.urgent), if mode == StopMode::Graceful => None,
        };
        let stopped = match stopped {
            Some(stopped) => stopped,
            None => runtime.stop(id, StopMode::Kill).await,
        };
        let exit = stopped.map_err(|source| self.runtime_failed("stop it", source))?;
        self.workload = Workload::Absent;
        if self.record.desired().wanted == Wanted::Stopped {
            self.record.current.exit = exit;
            self.commit().await?;
            self.inner.bus.emit(Subject::Instance, &id, self.record.name(), Action::Stopped, "");
        }
        Ok(())
    }

    async fn start_workload(&mut self) -> Result<(), EngineError> {
        self.reporter.line("starting");
        let image = self.load_image().await?;
        let config = EffectiveConfig::new(&image.config, &self.record.current.spec)?;
        let contents = self.wanted_contents(&image).await?;
        let request = self.start_request(config, contents);
        self.health = None;
        let started = self.inner.ports.runtime.start(&request).await;
        let started = started.map_err(|source| self.start_failed(source, Some(&image)))?;
        self.workload = Workload::Running {
            revision: self.record.current.revision,
            pid: started.pid,
            started_at: started.at,
            restarts: 0,
        };
        self.record.started_at = Some(started.at);
        self.record.restarts = 0;
        self.record.failure = None;
        self.record.current.written = self.record.current.all_written();
        self.commit().await?;
        self.inner.bus.emit(Subject::Instance, &self.record.id, self.record.name(), Action::Started, "");
        Ok(())
    }

    async fn wanted_contents(&self, image: &ImageInfo) -> Result<Contents, EngineError> {
        let (writes, notify) = self.file_writes().await?;
        let interfaces = self.attachments();
        let extra_hosts = self.record.current.spec.extra_hosts.clone();
        let settled = self.record.phase == Phase::Settled && self.workload.is_live();
        let mounts = self.mounts(image).await?;
        Ok(Contents { mounts, interfaces, extra_hosts, writes, notify, settled })
    }

    fn start_request(&self, config: EffectiveConfig, contents: Contents) -> StartRequest {
        let record = &self.record;
        StartRequest {
            instance: record.id,
            name: record.current.spec.name.clone(),
            revision: record.current.revision,
            rootfs: record.current.rootfs,
            image: record.current.image.clone(),
            uids: record.uids,
            settings: self.wanted_settings(config.health.clone()),
            config,
            contents,
        }
    }

    fn wanted_settings(&self, health: Option<HealthCheck>) -> Settings {
        let spec = &self.record.current.spec;
        Settings { limits: spec.limits.clone(), restart: spec.restart, health }
    }

    pub(super) async fn apply_settings(&mut self) -> Result<(), EngineError> {
        let image = self.load_image().await?;
        let config = EffectiveConfig::new(&image.config, &self.record.current.spec)?;
        let (settings, contents) = (self.wanted_settings(config.health), self.wanted_contents(&image).await?);
        match self.inner.ports.runtime.apply(self.record.id, &settings, &contents).await {
            Ok(()) => self.note_written().await,
            // It ended in this moment: the next look at it finds out.
            Err(RuntimeError::NotRunning) => Ok(()),
            Err(RuntimeError::NeedsRestart) => self.want_restart().await,
            Err(RuntimeError::Mount(fault)) => Err(fault.into()),
            Err(RuntimeError::Interface { interface, source }) => {
                Err(NetworkFault::Interface { interface, source }.into())
            }
            Err(source) => {
                Err(self.runtime_failed("apply its limits, restart policy and health check", source))
            }
        }
    }

    /// What runs is an old one from now on: the plan after this one starts it anew.
    async fn want_restart(&mut self) -> Result<(), EngineError> {
        self.reporter.line("it cannot be changed while it runs");
        self.record.current.revision = self.record.generation;
        self.record.current.exit = None;
        self.commit().await
    }

    async fn note_written(&mut self) -> Result<(), EngineError> {
        let written = self.record.current.all_written();
        if written != self.record.current.written {
            self.record.current.written = written;
            self.commit().await?;
        }
        Ok(())
    }

    async fn publish_ports(&mut self) -> Result<(), EngineError> {
        let ports = self.record.current.published();
        let publication = Publication {
            instance: self.record.id,
            ipv4: self.record.ipv4(),
            ipv6: self.record.ipv6(),
            ports: ports.clone(),
            links: self.links(),
        };
        let published = self.inner.ports.network.publish(&publication).await;
        published.map_err(|source| self.publishing_failed(source))?;
        self.leave_networks(&self.wanted_networks()).await?;
        self.inner.claims.set(self.record.id, self.record.name(), ports);
        self.settings = Some(self.record.generation);
        Ok(())
    }

    async fn withdraw_ports(&mut self) -> Result<(), EngineError> {
        let id = self.record.id;
        let withdrawn = self.inner.ports.network.withdraw(id).await;
        withdrawn.map_err(|source| self.publishing_failed(source))?;
        self.inner.claims.clear(id);
        self.leave_networks(&BTreeSet::new()).await?;
        self.inner.restrict().await?;
        self.settings = Some(self.record.generation);
        Ok(())
    }

    /// It is on these networks and no others; one that nobody is on any more goes from the host.
    async fn leave_networks(&self, but: &BTreeSet<NetworkId>) -> Result<(), EngineError> {
        let mut attached = self.inner.attached.lock().await;
        let left: Vec<NetworkId> = attached
            .iter()
            .filter(|(id, users)| !but.contains(id) && users.contains(&self.record.id))
            .map(|(id, _)| *id)
            .collect();
        for id in left {
            let users = attached.entry(id).or_default();
            users.remove(&self.record.id);
            if !users.is_empty() {
                continue;
            }
            if let Some(network) = self.inner.networks.get(id) {
                let released = self.inner.ports.network.release(&network).await;
                released.map_err(|source| network_failed(&network, source))?;
            }
            attached.remove(&id);
        }
        Ok(())
    }

    async fn record_exit(&mut self) -> Result<(), EngineError> {
        let Workload::Ended { exit, restarts, .. } = &self.workload else { return Ok(()) };
        let message = match exit.signal {
            _ if exit.reason.is_some() => exit.reason.clone().unwrap_or_default(),
            _ if exit.oom_killed => "killed for want of memory".to_owned(),
            Some(signal) => format!("ended by signal {signal}"),
            None => format!("ended with code {}", exit.code),
        };
        self.record.current.exit = Some(exit.clone());
        self.record.restarts = *restarts;
        self.commit().await?;
        self.inner.bus.emit(Subject::Instance, &self.record.id, self.record.name(), Action::Exited, message);
        Ok(())
    }

    /// An old root filesystem that cannot be let go yet only takes space: the next agent tries again.
    async fn keep_only_rootfs(&mut self, rootfs: u32) {
        match self.inner.ports.runtime.keep_only_rootfs(self.record.id, rootfs).await {
            Ok(()) => {}
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(instance = %self.record.id, error, "an old root filesystem stays for now");
            }
        }
    }

    /// The image that is wanted, from the store.
    pub(super) async fn load_image(&mut self) -> Result<Arc<ImageInfo>, EngineError> {
        let digest = self.record.current.image.clone();
        if let Some(image) = self.image.as_ref().filter(|image| image.digest == digest) {
            return Ok(Arc::clone(image));
        }
        let found = self.inner.ports.images.get(&digest).await;
        let found = found.map_err(|source| EngineError::Image { argument: "image", source })?;
        let image = found.ok_or_else(|| self.start_failed(StartError::ImageGone { image: digest }, None))?;
        self.image = Some(Arc::clone(&image));
        Ok(image)
    }

    fn start_failed(&self, source: StartError, image: Option<&ImageInfo>) -> EngineError {
        let source = match source {
            StartError::Mount(fault) => return fault.into(),
            source => source,
        };
        let spec = &self.record.current.spec;
        let entrypoint = spec.entrypoint.as_ref().or(image.map(|image| &image.config.entrypoint));
        let program = if entrypoint.is_some_and(|list| !list.is_empty()) { "entrypoint" } else { "command" };
        EngineError::Start { name: self.record.name().to_owned(), program, source }
    }

    fn publishing_failed(&self, source: NetworkError) -> EngineError {
        let network = self.record.default_interface().and_then(|held| self.inner.networks.get(held.network));
        network_failed(&network.unwrap_or_else(|| self.inner.networks.default_one()), source)
    }

    fn not_joined(&self, network: &KnownNetwork, source: NetworkError) -> EngineError {
        let on_it = self.record.interfaces.iter().find(|(_, held)| held.network == network.id);
        match (source, on_it) {
            (source @ (NetworkError::NoParent { .. } | NetworkError::Vlan { .. }), Some((interface, _))) => {
                let (interface, network) = (interface.clone(), network.spec.name.to_string());
                NetworkFault::ParentGone { interface, network, source }.into()
            }
            (source, _) => network_failed(network, source),
        }
    }

    pub(super) fn runtime_failed(&self, operation: &'static str, source: RuntimeError) -> EngineError {
        EngineError::Runtime { name: self.record.name().to_owned(), operation, source }
    }
}

fn network_failed(network: &KnownNetwork, source: NetworkError) -> EngineError {
    EngineError::Network { name: network.spec.name.to_string(), source }
}

/// Returns when someone does not want to wait until the workload ends in its own time.
async fn pressed_later(urgent: &mut watch::Receiver<usize>) {
    if urgent.wait_for(|count| *count > 0).await.is_err() {
        std::future::pending::<()>().await;
    }
}
