//! The socket, of which nothing is left however the process ends.
//!
//! ```text
//! directory of mode 0700 -> bound in it -> held open as a path -> both unlinked -> /proc/PID/fd/N is told to Terraform
//! ```
//!
//! A plugin that is killed cannot tidy up after itself. So its socket has a name in the file system only until it is bound:
//! from then on it is reached through the descriptor that holds it, which ends with the process, and which the kernel
//! shows to nobody but the process's own user. Where there is no `/proc` the directory stays until the process's end.

use std::{
    fs, io,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::fs::{DirBuilderExt as _, FileTypeExt as _},
    },
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags, open};
use tokio::net::UnixListener;

use super::{RunError, environment::Environment};

/// A bound socket.
pub(super) struct Socket {
    pub listener: UnixListener,
    /// Where Terraform finds it.
    pub path: PathBuf,
    /// Ends with the process, or when dropped.
    pub _kept: Kept,
}

/// What keeps the path good.
pub(super) enum Kept {
    Descriptor { _held: OwnedFd },
    Directory { _held: Directory },
}

/// A directory, removed with what is in it.
pub(super) struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        // It is temporary: what cannot be removed is left to the host.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Socket {
    pub(super) fn bind(environment: &Environment) -> Result<Self, RunError> {
        let directory = make_directory(environment)?;
        let path = directory.0.join("plugin.sock");
        let listener =
            UnixListener::bind(&path).map_err(|source| RunError::Listen { path: path.clone(), source })?;
        match hold(&path) {
            // The directory is dropped here, and the socket's name with it.
            Some((held, path)) => Ok(Self { listener, path, _kept: Kept::Descriptor { _held: held } }),
            None => Ok(Self { listener, path, _kept: Kept::Directory { _held: directory } }),
        }
    }
}

/// The socket's file as a descriptor, and the path that leads through it.
fn hold(path: &Path) -> Option<(OwnedFd, PathBuf)> {
    let held = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let through = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), held.as_raw_fd()));
    fs::metadata(&through).is_ok_and(|found| found.file_type().is_socket()).then_some((held, through))
}

fn make_directory(environment: &Environment) -> Result<Directory, RunError> {
    let parent = environment.socket_directory.clone().unwrap_or_else(std::env::temp_dir);
    let path = parent.join(format!("plugin-{}-{:08x}", std::process::id(), random()?));
    match fs::DirBuilder::new().mode(0o700).create(&path) {
        Ok(()) => Ok(Directory(path)),
        Err(source) => Err(RunError::Listen { path, source }),
    }
}

fn random() -> Result<u32, RunError> {
    let mut bytes = [0; 4];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes)
        .map_err(|_| RunError::Process("get random bytes", io::ErrorKind::Other.into()))?;
    Ok(u32::from_ne_bytes(bytes))
}
