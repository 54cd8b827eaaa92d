//! A file that a command writes for its user: whole, or as it was.

use std::fs::{FileType, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::{Builder, TempPath};
use tokio::fs::{File, OpenOptions};
use tokio::io::AsyncWriteExt;

use super::error::CliError;

/// What is written to it goes beside its place first, under a name of its own that goes with it where it is not finished.
pub(super) struct Saved {
    file: File,
    /// `None` where what stands there takes what is written, as a device or a pipe does.
    beside: Option<TempPath>,
    target: PathBuf,
}

impl Saved {
    /// `mode` is what it has until it is finished, less what the umask takes.
    pub(super) async fn begin(target: &Path, mode: u32) -> Result<Self, CliError> {
        // A link's own place stays a link.
        let target = target.canonicalize().unwrap_or_else(|_| target.to_owned());
        Self::open(&target, mode).await.map_err(unwritable(&target))
    }

    async fn open(target: &Path, mode: u32) -> io::Result<Self> {
        let (file, beside) = if target.metadata().is_ok_and(|it| takes_what_comes(it.file_type())) {
            (OpenOptions::new().write(true).open(target).await?, None)
        } else {
            let directory = target.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let mut builder = Builder::new();
            let builder =
                builder.prefix(".berth-").suffix(".partial").permissions(Permissions::from_mode(mode));
            let (file, beside) = builder.tempfile_in(directory)?.into_parts();
            (File::from_std(file), Some(beside))
        };
        Ok(Self { file, beside, target: target.to_owned() })
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.file.write_all(bytes).await.map_err(unwritable(&self.target))
    }

    /// Puts it in its place, with this mode if any is given.
    pub(super) async fn finish(self, mode: Option<u32>) -> Result<(), CliError> {
        let Self { mut file, beside, target } = self;
        let placed = async {
            file.flush().await?;
            let Some(beside) = beside else { return Ok(()) };
            if let Some(mode) = mode {
                file.set_permissions(Permissions::from_mode(mode)).await?;
            }
            file.sync_all().await?;
            beside.persist(&target).map_err(|error| error.error)
        };
        placed.await.map_err(unwritable(&target))
    }
}

fn takes_what_comes(kind: FileType) -> bool {
    !kind.is_file() && !kind.is_dir()
}

fn unwritable(target: &Path) -> impl FnOnce(io::Error) -> CliError + use<> {
    let shown = target.display().to_string();
    |source| CliError::Unwritable(shown, source)
}
