//! Volumes, from `berth-storage`: `volumes/<id>` in the data directory.

use std::io;
use std::path::PathBuf;

use async_trait::async_trait;
use berth_domain::{VolumeId, VolumeSpec};
use berth_engine::ports::volumes::{VolumeError, Volumes};
use berth_storage::volume::{self, Root};

use super::Place;

/// Where they are.
pub(super) struct Directories {
    root: PathBuf,
}

impl Directories {
    pub(super) fn new(place: &Place) -> Self {
        Self { root: root(place) }
    }
}

fn root(place: &Place) -> PathBuf {
    place.data.join("volumes")
}

/// Where a volume is.
pub(super) fn directory(place: &Place, id: VolumeId) -> PathBuf {
    root(place).join(id.to_string())
}

/// Runs work on files on a blocking thread.
async fn blocking<T, E>(
    operation: &str,
    argument: Option<&'static str>,
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, VolumeError>
where
    T: Send + 'static,
    E: std::error::Error + Send + Sync + 'static,
{
    let failed = |source| VolumeError { operation: operation.to_owned(), argument, source };
    let done = tokio::task::spawn_blocking(work).await.map_err(|error| failed(error.into()))?;
    done.map_err(|error| failed(error.into()))
}

#[async_trait]
impl Volumes for Directories {
    async fn ensure(&self, id: VolumeId, spec: &VolumeSpec) -> Result<(), VolumeError> {
        let directory = self.root.join(id.to_string());
        let root = Root { uid: spec.uid, gid: spec.gid, mode: spec.mode };
        let size = spec.size;
        let (operation, argument) = match size {
            None => ("make the volume's directory", None),
            Some(_) => ("give the volume its size", Some("size")),
        };
        blocking(operation, argument, move || volume::ensure(&directory, root, size)).await
    }

    async fn remove(&self, id: VolumeId) -> Result<(), VolumeError> {
        let directory = self.root.join(id.to_string());
        blocking("remove the volume", None, move || volume::remove(&directory)).await
    }

    async fn list(&self) -> Result<Vec<VolumeId>, VolumeError> {
        let root = self.root.clone();
        let names = move || -> io::Result<Vec<VolumeId>> {
            let entries = match std::fs::read_dir(&root) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                entries => entries?,
            };
            let mut ids = Vec::new();
            for entry in entries {
                ids.extend(entry?.file_name().to_string_lossy().parse::<VolumeId>());
            }
            Ok(ids)
        };
        blocking("list the volumes", None, names).await
    }
}
