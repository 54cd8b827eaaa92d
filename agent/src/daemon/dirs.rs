//! The directories of an agent.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::config::Config;
use super::error::StartError;

/// The directories, by their canonical paths.
#[derive(Debug, Clone)]
pub(super) struct Dirs {
    /// For the agent alone.
    pub(super) data: PathBuf,
    /// Open to those who may use the socket in it.
    pub(super) run: PathBuf,
}

impl Dirs {
    /// Makes what is missing.
    pub(super) fn make(config: &Config) -> Result<Self, StartError> {
        Ok(Self { data: make(&config.data_dir, 0o700)?, run: make(&config.run_dir, 0o755)? })
    }
}

fn make(path: &Path, mode: u32) -> Result<PathBuf, StartError> {
    let failed = |source: io::Error| StartError::Directory { path: path.to_owned(), source };
    DirBuilder::new().recursive(true).mode(mode).create(path).map_err(failed)?;
    // Images hold setuid files, and instances secrets: nobody else may look into the data directory.
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed)?;
    path.canonicalize().map_err(failed)
}
