//! What an instance mounts: which volumes its spec means, and those that its image declares.

use std::collections::BTreeMap;

use berth_domain::mount::{MountSource, Mounted, declared_target};
use berth_domain::{
    DeviceSpec, ImageInfo, InstanceId, InstanceSpec, Mount, Timestamp, VolumeDraft, VolumeId, VolumeOwner,
};

use super::actor::Actor;
use crate::engine::Inner;
use crate::error::EngineError;
use crate::ledger::{Phase, Record, Version, Volume};
use crate::mount_error::MountFault;
use crate::volume_error::VolumeFault;

/// The volumes that the mounts of a spec mean. One that a version before meant already by the same words is the same,
/// whatever its name is now.
///
/// A choice takes turns with the deletion of volumes, and its turn ends when its result is in the directory.
pub(crate) async fn bind_volumes(
    inner: &Inner,
    instance: InstanceId,
    spec: &InstanceSpec,
    before: Option<&Version>,
) -> Result<BTreeMap<String, VolumeId>, EngineError> {
    let mut bound = BTreeMap::new();
    let mut volumes = None;
    for (name, mount) in &spec.mounts {
        let MountSource::Volume(wanted) = &mount.source else { continue };
        let kept = before.and_then(|version| {
            let same = version.spec.mounts.get(name).is_some_and(|old| old.source == mount.source);
            version.volumes.get(name).copied().filter(|_| same)
        });
        let id = match kept {
            Some(id) => id,
            None => {
                let all = match volumes.take() {
                    Some(all) => all,
                    None => inner.ledger.volumes().await?,
                };
                let id = find(&all, instance, name, wanted);
                volumes = Some(all);
                id?
            }
        };
        bound.insert(name.clone(), id);
    }
    Ok(bound)
}

fn find(
    volumes: &[Volume],
    instance: InstanceId,
    mount: &str,
    wanted: &str,
) -> Result<VolumeId, EngineError> {
    let id = wanted.parse::<VolumeId>().ok();
    let is_it =
        |volume: &&Volume| !volume.deleting && (Some(volume.id) == id || volume.spec.name.as_str() == wanted);
    let (mount, volume) = (mount.to_owned(), wanted.to_owned());
    match volumes.iter().find(is_it) {
        None => Err(MountFault::NoVolume { mount, volume }.into()),
        Some(found) if found.owner.as_ref().is_some_and(|owner| owner.instance != instance) => {
            Err(MountFault::Foreign { mount, volume }.into())
        }
        Some(found) => Ok(found.id),
    }
}

/// Where an image declares volumes that the spec mounts nothing at.
fn declared(image: &ImageInfo, spec: &InstanceSpec) -> Result<Vec<String>, MountFault> {
    let mut targets = Vec::new();
    for path in &image.config.volumes {
        let target = declared_target(path).map_err(|invalid| MountFault::Declared { invalid })?;
        let is_taken = spec.mounts.values().any(|mount| mount.target == target);
        if !is_taken && !targets.contains(&target) {
            targets.push(target);
        }
    }
    Ok(targets)
}

/// Fails where the image's own volumes cannot be.
pub(crate) fn check_declared(image: &ImageInfo, spec: &InstanceSpec) -> Result<(), EngineError> {
    declared(image, spec)?;
    Ok(())
}

/// Devices, as what is mounted.
fn devices(spec: &InstanceSpec) -> Vec<Mount> {
    let device = |(name, device): (&String, &DeviceSpec)| Mount {
        name: format!("device/{name}"),
        target: device.target.clone(),
        read_only: false,
        source: Mounted::Device(device.clone()),
    };
    spec.devices.iter().map(device).collect()
}

impl Actor {
    /// Everything that the instance is to mount, with every volume there. Volumes that the image declares and that were not
    /// made yet are made.
    pub(super) async fn mounts(&self, image: &ImageInfo) -> Result<Vec<Mount>, EngineError> {
        let Record { id, current, .. } = &self.record;
        let declared = declared(image, &current.spec)?;
        let mut mounts = devices(&current.spec);
        if current.spec.mounts.is_empty() && declared.is_empty() {
            return Ok(mounts);
        }
        let volumes = self.inner.ledger.volumes().await?;
        for (name, mount) in &current.spec.mounts {
            let source = match &mount.source {
                MountSource::Volume(wanted) => {
                    let bound = current.volumes.get(name);
                    let volume = volumes.iter().find(|volume| Some(&volume.id) == bound);
                    let (mount, wanted) = (name.clone(), wanted.clone());
                    let volume = volume.ok_or(MountFault::NoVolume { mount, volume: wanted })?;
                    self.ready(volume).await?
                }
                other => Mounted::Other(other.clone()),
            };
            let (name, target) = (name.clone(), mount.target.clone());
            mounts.push(Mount { name, target, read_only: mount.read_only, source });
        }
        for target in declared {
            let owner = VolumeOwner { instance: *id, target: target.clone() };
            let known = volumes.iter().find(|volume| volume.owner.as_ref() == Some(&owner));
            let volume = match known {
                Some(volume) => volume.clone(),
                None => self.make_own(owner).await?,
            };
            let source = self.ready(&volume).await?;
            mounts.push(Mount { name: target.clone(), target, read_only: false, source });
        }
        Ok(mounts)
    }

    async fn make_own(&self, owner: VolumeOwner) -> Result<Volume, EngineError> {
        let id = VolumeId::random();
        // A text that is made here is a name.
        let spec = VolumeDraft { name: id.to_string(), ..VolumeDraft::default() }.validate()?;
        let created_at = Timestamp::now();
        let volume = Volume { id, spec, created_at, owner: Some(owner), deleting: false };
        self.inner.ledger.save_volume(volume.clone()).await?;
        Ok(volume)
    }

    /// The volume is there: that it is in the ledger does not say so.
    async fn ready(&self, volume: &Volume) -> Result<Mounted, EngineError> {
        let ensured = self.inner.ports.volumes.ensure(volume.id, &volume.spec).await;
        let name = || volume.spec.name.to_string();
        ensured.map_err(|source| VolumeFault::Host { name: name(), source })?;
        Ok(Mounted::Volume { id: volume.id, spec: volume.spec.clone() })
    }

    /// Plugs in what came, and takes out what went. One that could not come up for want of a device tries again.
    pub(super) async fn replug(&mut self) -> Result<(), EngineError> {
        if self.record.current.spec.devices.is_empty() || self.record.phase != Phase::Settled {
            return Ok(());
        }
        self.observe().await?;
        if self.workload.is_live() {
            return self.apply_settings().await;
        }
        if self.record.failure.is_some() {
            self.resume().await;
        }
        Ok(())
    }
}
