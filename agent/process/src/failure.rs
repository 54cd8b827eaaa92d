//! From what the kernel says to what the agent is told.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use berth_runtime::launch::{LaunchError, Stage};

/// For `map_err`: an input/output error at a stage, on a path.
pub fn launch_error<P: Into<PathBuf>>(stage: Stage, path: P) -> impl FnOnce(io::Error) -> LaunchError {
    move |error| LaunchError { stage, errno: error.raw_os_error().unwrap_or(0), path: path.into() }
}

/// As [`launch_error`], for nix's errors.
pub fn errno_at<P: AsRef<Path>>(stage: Stage, path: P) -> impl FnOnce(nix::errno::Errno) -> LaunchError {
    let path = path.as_ref().to_owned();
    move |errno| LaunchError { stage, errno: errno as i32, path }
}

/// The one-way channel on which a child says why it could not go on; closed by its exec, it says that all is well.
pub struct FailurePipe {
    reader: OwnedFd,
    writer: OwnedFd,
}

impl FailurePipe {
    /// Makes the pipe, both ends closed at exec.
    pub fn new() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        Ok(Self { reader: reader.into(), writer: writer.into() })
    }

    /// In the child: say why.
    pub fn send(&self, error: &LaunchError) {
        if let Ok(text) = serde_json::to_vec(error) {
            let _ = nix::unistd::write(self.writer.as_fd(), &text);
        }
    }

    /// In the parent: wait for the child to go on, or to fail.
    pub fn wait(self, stage: Stage) -> Result<(), LaunchError> {
        drop(self.writer);
        let mut text = Vec::new();
        std::fs::File::from(self.reader).read_to_end(&mut text).map_err(launch_error(stage, ""))?;
        if text.is_empty() {
            return Ok(());
        }
        Err(serde_json::from_slice(&text).unwrap_or(LaunchError { stage, errno: 0, path: PathBuf::new() }))
    }
}
