//! Directories that outlive instances.

use async_trait::async_trait;
use berth_domain::{VolumeId, VolumeSpec};
use thiserror::Error;

use super::Cause;

/// The volumes of the host.
#[async_trait]
pub trait Volumes: Send + Sync + 'static {
    /// Makes a volume that is missing; its root gets the owner and permissions of the spec that are given. What is in
    /// it stays. One that is smaller than the spec grows.
    async fn ensure(&self, id: VolumeId, spec: &VolumeSpec) -> Result<(), VolumeError>;

    /// Removes a volume with all that is in it. Fine where there is none.
    async fn remove(&self, id: VolumeId) -> Result<(), VolumeError>;

    /// All volumes that are there.
    async fn list(&self) -> Result<Vec<VolumeId>, VolumeError>;
}

/// Why the host does not do it.
#[derive(Debug, Error)]
#[error("This host cannot {operation}")]
pub struct VolumeError {
    /// "remove the volume" and the like.
    pub operation: String,
    /// The argument that it is about, if it is about one.
    pub argument: Option<&'static str>,
    /// Why.
    #[source]
    pub source: Cause,
}
