//! Changing an instance, with the mildest effect that makes it so.
//!
//! The version before the change stays in the ledger until the new one was seen to run, and its root filesystem on
//! the host. What cannot be brought up goes back to it, also where the agent died in between.

use std::collections::BTreeMap;

use berth_domain::{Argument, Effect, EffectiveConfig, Health, HealthState, InstanceSpec, changes};

use super::actor::Actor;
use super::claims;
use super::files::{self, Contents};
use super::interfaces;
use super::mounts;
use crate::error::EngineError;
use crate::event::Action;
use crate::keeper::Hold;
use crate::ledger::{Phase, Version, WantedInterface};
use crate::restrictions;
use crate::wait::WaitError;

/// A change of an instance.
pub(crate) struct Change {
    /// What is wanted from now on.
    pub(crate) spec: InstanceSpec,
    /// What a changed image means; in the store, and held until it is in the ledger.
    pub(crate) image: Option<ChangedImage>,
    /// What its files say, as far as it is new.
    pub(crate) contents: Contents,
}

pub(crate) struct ChangedImage {
    pub(crate) hold: Hold,
    pub(crate) reference: String,
}

impl Actor {
    pub(super) async fn update(&mut self, mut change: Change) -> Result<(), EngineError> {
        files::resolve(&mut change.spec, Some(&self.record.current))?;
        let Some((next, effect)) = self.next_version(&change)? else { return Ok(()) };
        self.inner.check_peers(restrictions::lists(&next.spec.ingress, &next.spec.egress))?;
        self.inner.ledger.save_file_contents(self.record.id, std::mem::take(&mut change.contents)).await?;
        let before = self.record.clone();
        self.record.generation += 1;
        self.record.current = next;
        let checked = self.load_image().await.and_then(|image| {
            EffectiveConfig::new(&image.config, &self.record.current.spec)?;
            mounts::check_declared(&image, &self.record.current.spec)
        });
        let turn = self.inner.choosing.clone().lock_owned().await;
        let written = match checked {
            Ok(()) => self.write_change(before.current.clone(), effect).await,
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            self.record = before;
            self.publish();
            return Err(error);
        }
        drop(turn);
        drop(change.image);
        match self.bring_up_change().await {
            Ok(()) => Ok(()),
            Err(error) => {
                // Read before what ran before says more.
                let error = self.inner.with_last_words(self.record.id, error).await;
                self.roll_back(&error).await;
                Err(error)
            }
        }
    }

    /// The version that the change leads to, and what it does to what runs; `None` where nothing differs.
    fn next_version(&self, change: &Change) -> Result<Option<(Version, Effect)>, EngineError> {
        let current = &self.record.current;
        let differing = changes(&current.spec, &change.spec);
        let new_image = differing.iter().any(|(argument, _)| *argument == Argument::Image);
        if let Some((argument, _)) = differing.iter().find(|(_, effect)| *effect == Effect::Replace) {
            return Err(EngineError::NeedsReplace {
                name: self.record.name().to_owned(),
                argument: argument.as_str(),
            });
        }
        let (image, image_reference) = match (&change.image, new_image) {
            (Some(image), true) => (image.hold.digest().clone(), image.reference.clone()),
            (None, true) => return Err(EngineError::Conflict { name: self.record.name().to_owned() }),
            (_, false) => (current.image.clone(), current.image_reference.clone()),
        };
        // Another way to write the same image is no rebuild.
        let by_image = if image == current.image { Effect::InPlace } else { Effect::Rebuild };
        let others =
            differing.iter().filter(|(argument, _)| *argument != Argument::Image).map(|(_, effect)| *effect);
        let Some(effect) = others.chain(new_image.then_some(by_image)).max() else { return Ok(None) };
        let mut spec = change.spec.clone();
        if spec.secrets.is_none() {
            spec.secrets.clone_from(&current.spec.secrets);
        }
        let version = Version { spec, image, image_reference, ..current.clone() };
        Ok(Some((version, effect)))
    }

    /// Commits the change, with the version before it.
    async fn write_change(&mut self, before: Version, effect: Effect) -> Result<(), EngineError> {
        let generation = self.record.generation;
        let current = &self.record.current;
        let network = &*self.inner.ports.network;
        let directory = &self.inner.directory;
        let host_ports =
            claims::choose(directory, network, self.record.id, &current.spec, Some(&before)).await?;
        let volumes = mounts::bind_volumes(&self.inner, self.record.id, &current.spec, Some(&before)).await?;
        let wanted = interfaces::wanted(&self.inner, &self.record.current.spec, Some(&before)).await?;
        let current = &mut self.record.current;
        current.networks = interfaces::bound(&current.spec, &wanted);
        current.volumes = volumes;
        current.host_ports = host_ports;
        if effect == Effect::Rebuild {
            // A number never used before: what an earlier attempt left under it would be another image.
            current.rootfs = u32::try_from(generation).unwrap_or(u32::MAX);
            current.written.clear();
        }
        if effect >= Effect::Restart || (current.spec.running && !before.spec.running) {
            current.revision = generation;
            current.exit = None;
        }
        self.record.previous = Some(before);
        self.record.phase = Phase::Updating;
        self.record.failure = None;
        self.commit_with(wanted).await
    }

    /// Writes the record, and gives it these interfaces.
    async fn commit_with(&mut self, wanted: BTreeMap<String, WantedInterface>) -> Result<(), EngineError> {
        let saved = self.inner.ledger.save_with_interfaces(self.record.clone(), wanted.clone()).await?;
        self.record.interfaces = saved.map_err(|refused| self.inner.refused(&refused, &wanted))?;
        self.publish();
        self.inner.hold(&wanted).await;
        Ok(())
    }

    /// Brings up the change, and lets the version before it go.
    pub(super) async fn bring_up_change(&mut self) -> Result<(), EngineError> {
        self.load_image().await?;
        self.converge().await?;
        self.await_health_of_rebuild().await?;
        let before = self.record.previous.take();
        self.record.phase = Phase::Settled;
        if let Err(error) = self.commit().await {
            self.record.previous = before;
            self.record.phase = Phase::Updating;
            return Err(error);
        }
        if let Some(before) = before {
            self.let_go(&before).await;
        }
        self.emit(Action::Updated, "");
        Ok(())
    }

    /// A new image that is not well is as good as one that does not start.
    async fn await_health_of_rebuild(&mut self) -> Result<(), EngineError> {
        let rebuilt =
            self.record.previous.as_ref().is_some_and(|before| before.rootfs != self.record.current.rootfs);
        if !rebuilt || !self.workload.is_live() || !self.current().has_check() {
            return Ok(());
        }
        self.reporter.line("waiting until it is healthy");
        let id = self.record.id;
        let settled = self.inner.ports.runtime.settled(id).await;
        let settled = settled.map_err(|source| self.runtime_failed("wait for its health", source))?;
        let name = self.record.name().to_owned();
        let source = match settled {
            Some(Health { state: HealthState::Unhealthy, output, .. }) => {
                WaitError::Unhealthy { output: output.trim().to_owned() }
            }
            Some(_) => return self.observe().await,
            None => {
                self.observe().await?;
                let (code, oom_killed) = self.current().exit_now().unwrap_or((255, false));
                WaitError::Ended { code, oom_killed, what: "was healthy" }
            }
        };
        Err(EngineError::Wait { name, source })
    }

    /// Goes back to what was before the change. Where its workload still runs, nothing is done to it.
    pub(super) async fn roll_back(&mut self, cause: &EngineError) {
        let Some(before) = self.record.previous.take() else { return };
        tracing::info!(instance = %self.record.id, cause = cause as &dyn std::error::Error, "a change goes back");
        self.record.generation += 1;
        let failed = std::mem::replace(&mut self.record.current, before);
        self.record.current.forget_written(&failed);
        if let Err(error) = self.observe().await {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(instance = %self.record.id, error, "could not look at it before going back");
        }
        let current = &mut self.record.current;
        let still_runs = self.workload.is_live() && self.workload.revision() == Some(current.revision);
        if current.spec.running && current.exit.is_none() && !still_runs {
            // It was stopped for the change, and is to start anew, not to be taken for one that ended.
            current.revision = self.record.generation;
        }
        self.record.phase = Phase::Settled;
        self.settings = None;
        // What it had waits for it.
        let current = &self.record.current;
        let wanted = interfaces::wanted(&self.inner, &current.spec, Some(current)).await;
        let committed = match wanted {
            Ok(wanted) => self.commit_with(wanted).await,
            Err(error) => Err(error),
        };
        if let Err(error) = committed {
            // The ledger still has both versions: the next attempt, or the next agent, decides again.
            let before = std::mem::replace(&mut self.record.current, failed);
            self.record.previous = Some(before);
            self.record.phase = Phase::Updating;
            self.fail(&error).await;
            return;
        }
        // What goes wrong is on record.
        let _failed = self.converge_or_fail().await;
        self.let_go(&failed).await;
        self.emit(Action::Failed, "a change could not be brought up; it is as it was before");
    }

    /// Lets go of what only another version had: its name, its image and what its files said.
    async fn let_go(&self, other: &Version) {
        let digests = self.record.current.spec.files.values().map(|file| file.digest.clone()).collect();
        if let Err(error) = self.inner.ledger.keep_file_contents(self.record.id, digests).await {
            tracing::warn!(instance = %self.record.id, %error, "what files said before stays for now");
        }
        let name = other.spec.name.as_str();
        if name != self.record.name() {
            self.inner.directory.release(name, self.record.id);
        }
        if other.image != self.record.current.image {
            self.inner.collect(&other.image).await;
        }
    }
}
