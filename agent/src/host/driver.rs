//! How instances get their root file system: the first of two ways that this host can go, found out by trying.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use berth_image::digest::Digest;
use berth_image::store::{CheckoutError, Store};
use berth_storage::probe::{ProbeSpec, Probed};
use berth_storage::rootfs::Lower;
use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::supervisor::Finder;

/// Which way the configuration wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wanted {
    /// The first that works.
    #[default]
    Auto,
    /// Images are mounted.
    Erofs,
    /// Images are copied, or share blocks, into directories.
    Directory,
}

/// A way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Erofs,
    Directory,
}

/// What was chosen, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Driver {
    pub way: Way,
    /// What stands against each; nothing where it works. `None`: it could not be tried.
    pub probed: Option<Probed>,
    /// Said by the configuration.
    pub forced: bool,
}

impl Driver {
    /// Tries what the host can do, and chooses.
    pub(super) async fn choose(wanted: Wanted, finder: &Finder, store: &Store, uid_base: u32) -> Self {
        let probed = match try_out(finder, store, uid_base).await {
            Ok(probed) => Some(probed),
            Err(error) => {
                tracing::warn!(%error, "what this host can mount could not be tried out");
                None
            }
        };
        let way = match (wanted, &probed) {
            (Wanted::Erofs, _) => Way::Erofs,
            (Wanted::Directory, _) => Way::Directory,
            (Wanted::Auto, Some(Probed { erofs: Some(why), directory: None })) => {
                tracing::warn!(why, "images cannot be mounted here: they are copied into directories");
                Way::Directory
            }
            (Wanted::Auto, _) => Way::Erofs,
        };
        Self { way, probed, forced: wanted != Wanted::Auto }
    }

    /// What stands against the chosen way.
    pub(super) fn obstacle(&self) -> Option<&str> {
        let probed = self.probed.as_ref()?;
        match self.way {
            Way::Erofs => probed.erofs.as_deref(),
            Way::Directory => probed.directory.as_deref(),
        }
    }

    /// The lower layer of an image. Blocks, for long where files are copied.
    pub(super) fn lower(&self, store: &Store, tree: PathBuf, image: &Digest) -> Result<Lower, CheckoutError> {
        match self.way {
            Way::Erofs => Ok(Lower::Erofs { image: tree, objects: store.objects_dir().to_owned() }),
            Way::Directory => store.checkout(image).map(|path| Lower::Directory { path }),
        }
    }
}

/// Why nothing could be tried out.
#[derive(Debug, thiserror::Error)]
enum TryError {
    #[error("there is no supervisor")]
    NoSupervisor,
    #[error("the probe's files cannot be made in {}", path.display())]
    Scratch { path: PathBuf, source: std::io::Error },
    #[error("the probe's image cannot be written")]
    Image(#[from] berth_image::probe::ProbeError),
    #[error("{} cannot be run", path.display())]
    Run { path: PathBuf, source: std::io::Error },
    #[error("the probe's answer cannot be read")]
    Answer(#[from] serde_json::Error),
}

/// On the file system that the instances' own files are on: what an overlay can do depends on it.
async fn try_out(finder: &Finder, store: &Store, uid_base: u32) -> Result<Probed, TryError> {
    let program = finder.find().ok_or(TryError::NoSupervisor)?;
    let dir = store.scratch_dir();
    let tried = match std::fs::create_dir(&dir) {
        Ok(()) => try_in(&dir, &program, uid_base).await,
        Err(source) => Err(TryError::Scratch { path: dir.clone(), source }),
    };
    // What is left goes at the next start with all else in there.
    let _left = std::fs::remove_dir_all(&dir);
    tried
}

async fn try_in(dir: &Path, program: &Path, uid_base: u32) -> Result<Probed, TryError> {
    berth_image::probe::write(dir)?;
    let spec = ProbeSpec {
        dir: dir.to_owned(),
        file: berth_image::probe::FILE.to_owned(),
        size: berth_image::probe::content().len() as u64,
        owner: berth_image::probe::OWNER,
        host_base: uid_base,
    };
    let text = serde_json::to_vec(&spec)?;
    let failed = |source| TryError::Run { path: program.to_owned(), source };
    let mut child = Command::new(program)
        .arg("probe")
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(&text).await.map_err(failed)?;
    }
    let output = child.wait_with_output().await.map_err(failed)?;
    Ok(serde_json::from_slice(&output.stdout)?)
}
