//! Volumes. Their names are checked and written in turns; who uses one is known while none is deleted.

use berth_domain::{InstanceId, Timestamp, VolumeDraft, VolumeId};

use super::{Engine, Inner};
use crate::error::{EngineError, Kind};
use crate::event::{Action, Subject};
use crate::ledger::Volume;
use crate::view::{By, VolumeView};
use crate::volume_error::VolumeFault;

impl Inner {
    /// The instances that have a volume among their mounts, now or before the change that is under way: ids and names.
    pub(crate) fn volume_users(&self, id: VolumeId) -> Vec<(InstanceId, String)> {
        let mut users: Vec<_> = self
            .directory
            .all()
            .iter()
            .map(|handle| handle.snapshot())
            .filter(|snapshot| {
                let versions = std::iter::once(&snapshot.record.current).chain(&snapshot.record.previous);
                versions.flat_map(|version| version.volumes.values()).any(|used| *used == id)
            })
            .map(|snapshot| (snapshot.record.id, snapshot.record.name().to_owned()))
            .collect();
        users.sort_by(|a, b| a.1.cmp(&b.1));
        users
    }

    fn volume_view(&self, volume: Volume) -> VolumeView {
        let users = self.volume_users(volume.id).into_iter().map(|(id, _)| id);
        let owner = volume.owner.as_ref().map(|owner| owner.instance);
        let used_by = users.filter(|id| Some(*id) != owner).chain(owner).collect();
        let Volume { id, spec, created_at, owner, .. } = volume;
        VolumeView { id, spec, used_by, created_at, owner }
    }

    async fn volume(&self, id: VolumeId) -> Result<Volume, EngineError> {
        let found = self.ledger.volumes().await?.into_iter().find(|volume| volume.id == id);
        found.ok_or_else(|| EngineError::not_found(Kind::Volume, id))
    }

    /// The name is free, or the volume's own.
    async fn volume_name_is_free(&self, volume: &Volume) -> Result<(), EngineError> {
        let taken = |other: &&Volume| other.spec.name == volume.spec.name && other.id != volume.id;
        match self.ledger.volumes().await?.iter().find(taken) {
            None => Ok(()),
            Some(other) => Err(EngineError::NameTaken {
                kind: Kind::Volume,
                name: volume.spec.name.to_string(),
                existing: other.id.to_string(),
            }),
        }
    }

    async fn create_volume(&self, volume: Volume) -> Result<VolumeView, EngineError> {
        let _turn = self.naming.lock().await;
        self.volume_name_is_free(&volume).await?;
        self.ledger.save_volume(volume.clone()).await?;
        if let Err(source) = self.ports.volumes.ensure(volume.id, &volume.spec).await {
            // Undone whole; what cannot be undone is deleted by the next agent.
            let gone = Volume { deleting: true, ..volume.clone() };
            self.ledger.save_volume(gone.clone()).await?;
            if let Err(error) = self.vanish_volume(&gone).await {
                tracing::warn!(volume = %volume.id, %error, "what was made of a volume stays for now");
            }
            return Err(host(&volume, source));
        }
        self.bus.emit(Subject::Volume, &volume.id, volume.spec.name.as_str(), Action::Created, "");
        Ok(self.volume_view(volume))
    }

    async fn update_volume(&self, changed: VolumeDraft, id: VolumeId) -> Result<VolumeView, EngineError> {
        let spec = changed.validate()?;
        let _turn = self.naming.lock().await;
        let before = self.volume(id).await?;
        let volume = Volume { spec, ..before.clone() };
        if volume.owner.is_some() && volume.spec.name != before.spec.name {
            return Err(self.follows(&before));
        }
        resize(&before, &volume)?;
        self.volume_name_is_free(&volume).await?;
        // The host first: where that or the agent ends half-way, the ledger differs from what is asked for, and whoever asks
        // again comes to the end.
        let ensured = self.ports.volumes.ensure(id, &volume.spec).await;
        ensured.map_err(|source| host(&volume, source))?;
        self.ledger.save_volume(volume.clone()).await?;
        self.bus.emit(Subject::Volume, &id, volume.spec.name.as_str(), Action::Updated, "");
        Ok(self.volume_view(volume))
    }

    async fn delete_volume(&self, id: VolumeId) -> Result<(), EngineError> {
        let volume = {
            // Who comes to use a volume does so in the same turns.
            let _turn = self.choosing.lock().await;
            let volume = self.volume(id).await?;
            if volume.owner.is_some() {
                return Err(self.follows(&volume));
            }
            let users: Vec<_> = self.volume_users(id).into_iter().map(|(_, name)| name).collect();
            if !users.is_empty() {
                let name = volume.spec.name.to_string();
                return Err(VolumeFault::InUse { name, users }.into());
            }
            let volume = Volume { deleting: true, ..volume };
            self.ledger.save_volume(volume.clone()).await?;
            volume
        };
        self.vanish_volume(&volume).await?;
        self.bus.emit(Subject::Volume, &id, volume.spec.name.as_str(), Action::Deleted, "");
        Ok(())
    }

    /// From here on, nothing of it stays: first on the host, then in the ledger.
    pub(crate) async fn vanish_volume(&self, volume: &Volume) -> Result<(), EngineError> {
        let removed = self.ports.volumes.remove(volume.id).await;
        removed.map_err(|source| host(volume, source))?;
        Ok(self.ledger.delete_volume(volume.id).await?)
    }

    /// The volumes that an instance's image declares go with it.
    pub(crate) async fn vanish_volumes_of(&self, instance: InstanceId) -> Result<(), EngineError> {
        for volume in self.ledger.volumes().await? {
            if volume.owner.as_ref().is_some_and(|owner| owner.instance == instance) {
                self.vanish_volume(&volume).await?;
            }
        }
        Ok(())
    }

    /// Ends what an earlier agent has begun. What the ledger does not know is for a person to judge.
    pub(super) async fn sweep_volumes(&self) -> Result<(), EngineError> {
        let volumes = self.ledger.volumes().await?;
        for volume in volumes.iter().filter(|volume| volume.deleting) {
            self.vanish_volume(volume).await?;
        }
        let there = self.ports.volumes.list().await;
        for id in there.map_err(|source| VolumeFault::Host { name: "*".to_owned(), source })? {
            if !volumes.iter().any(|volume| volume.id == id) {
                tracing::warn!(volume = %id, "the host has a volume that the ledger does not know; it is left alone");
            }
        }
        Ok(())
    }

    fn follows(&self, volume: &Volume) -> EngineError {
        let holder = volume.owner.as_ref().and_then(|owner| self.directory.get(owner.instance));
        let instance = holder.map(|handle| handle.snapshot().record.name().to_owned()).unwrap_or_default();
        VolumeFault::Follows { name: volume.spec.name.to_string(), instance }.into()
    }
}

/// A volume grows, or stays as large as it is.
fn resize(before: &Volume, volume: &Volume) -> Result<(), VolumeFault> {
    let name = || before.spec.name.to_string();
    match (before.spec.size, volume.spec.size) {
        (Some(before), Some(size)) if size < before => Err(VolumeFault::Shrinks { name: name(), before }),
        (None, Some(_)) => Err(VolumeFault::Sized { name: name(), has_one: false }),
        (Some(_), None) => Err(VolumeFault::Sized { name: name(), has_one: true }),
        _ => Ok(()),
    }
}

fn host(volume: &Volume, source: crate::ports::volumes::VolumeError) -> EngineError {
    VolumeFault::Host { name: volume.spec.name.to_string(), source }.into()
}

impl Engine {
    /// Makes a volume.
    ///
    /// # Errors
    /// The draft is invalid, the name taken, or the host does not make it.
    pub async fn create_volume(&self, draft: &VolumeDraft) -> Result<VolumeView, EngineError> {
        let volume = Volume {
            id: VolumeId::random(),
            spec: draft.validate()?,
            created_at: Timestamp::now(),
            owner: None,
            deleting: false,
        };
        self.run(|inner| async move { inner.create_volume(volume).await }).await
    }

    /// One volume.
    ///
    /// # Errors
    /// There is none.
    pub async fn get_volume(&self, by: By<VolumeId>) -> Result<VolumeView, EngineError> {
        let found = self.inner.ledger.volumes().await?.into_iter().find(|volume| match &by {
            By::Id(id) => volume.id == *id,
            By::Name(name) => volume.spec.name.as_str() == name,
        });
        let volume = found.ok_or_else(|| EngineError::not_found(Kind::Volume, by))?;
        Ok(self.inner.volume_view(volume))
    }

    /// All volumes, by name.
    ///
    /// # Errors
    /// The ledger failed.
    pub async fn list_volumes(&self) -> Result<Vec<VolumeView>, EngineError> {
        let volumes = self.inner.ledger.volumes().await?;
        Ok(volumes.into_iter().map(|volume| self.inner.volume_view(volume)).collect())
    }

    /// Changes a volume; who has it mounted goes on.
    ///
    /// # Errors
    /// The draft is invalid, the name taken, or there is none.
    pub async fn update_volume(&self, id: VolumeId, draft: VolumeDraft) -> Result<VolumeView, EngineError> {
        self.run(move |inner| async move { inner.update_volume(draft, id).await }).await
    }

    /// Deletes a volume with all that is in it.
    ///
    /// # Errors
    /// There is none, or an instance uses it.
    pub async fn delete_volume(&self, id: VolumeId) -> Result<(), EngineError> {
        self.run(move |inner| async move { inner.delete_volume(id).await }).await
    }
}
