//! The fake host's volumes.

use async_trait::async_trait;
use berth_domain::{VolumeId, VolumeSpec};

use super::fake::FakeHost;
use crate::ports::volumes::{VolumeError, Volumes};

impl FakeHost {
    async fn at_volumes(&self, call: &str, when: &str) -> Result<(), VolumeError> {
        let passed = self.faults.point(format!("{call}, {when}")).await;
        passed.map_err(|source| VolumeError { operation: call.to_owned(), source: source.into() })
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
