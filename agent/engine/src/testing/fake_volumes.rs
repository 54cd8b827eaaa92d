//! The fake host's volumes.

use async_trait::async_trait;
use berth_domain::mount::{MountSource, Mounted};
use berth_domain::{Mount, VolumeId, VolumeSpec};

use super::fake::FakeHost;
use crate::mount_error::MountFault;
use crate::ports::volumes::{VolumeError, Volumes};

/// The one path that the fake host has not.
const MISSING: &str = "/missing";

/// What a host says of mounts.
pub(super) fn check(mounts: &[Mount]) -> Result<(), MountFault> {
    for mount in mounts {
        if let Mounted::Other(MountSource::Bind { path, .. }) = &mount.source
            && path == MISSING
        {
            let source = std::io::Error::from(std::io::ErrorKind::NotFound).into();
            return Err(MountFault::Source { mount: mount.name.clone(), path: path.clone(), source });
        }
    }
    Ok(())
}

impl FakeHost {
    async fn at_volumes(&self, call: &str, when: &str) -> Result<(), VolumeError> {
        let passed = self.faults.point(format!("{call}, {when}")).await;
        passed.map_err(|source| VolumeError {
            operation: call.to_owned(),
            argument: None,
            source: source.into(),
        })
    }
}

#[async_trait]
impl Volumes for FakeHost {
    async fn ensure(&self, id: VolumeId, _spec: &VolumeSpec) -> Result<(), VolumeError> {
        self.at_volumes("make volume", "before").await?;
        self.state().volumes.insert(id);
        self.at_volumes("make volume", "after").await
    }

    async fn remove(&self, id: VolumeId) -> Result<(), VolumeError> {
        self.at_volumes("remove volume", "before").await?;
        self.state().volumes.remove(&id);
        self.at_volumes("remove volume", "after").await
    }

    async fn list(&self) -> Result<Vec<VolumeId>, VolumeError> {
        Ok(self.state().volumes.iter().copied().collect())
    }
}
