//! What a helper has given, in a file that outlives it and the host's reboot. It writes the file; the agent reads it.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::{Path, PathBuf};

use berth_sys::fs::{FsError, create_new_at, open_beneath, open_dir, rename_at, unlink_at};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

const FILE: &str = "leases.json";
const NEW: &str = "leases.new";
/// A thousand of them are 150 KiB.
const LARGEST: u64 = 4 << 20;
/// Who writes it.
const NOBODY: u32 = 65_534;

/// All that a helper has given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leases {
    /// By their addresses; those that have ended are kept, so that their holders are given them again.
    pub leases: Vec<Lease>,
    /// Since when there was nothing left for who asked, in milliseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exhausted_ms: Option<u64>,
}

/// An address that was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// What was given.
    pub address: Ipv4Addr,
    /// To whom.
    pub mac: String,
    /// What it calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// When it ends, in milliseconds since the epoch.
    pub expires_ms: u64,
}

/// Why what was given cannot be kept, or told.
#[derive(Debug, thiserror::Error)]
pub enum LeasesError {
    /// A file or a directory.
    #[error("leases cannot be kept")]
    File(#[from] FsError),
    /// It cannot be made, read or removed.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// "make" and the like.
        operation: &'static str,
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It holds something else.
    #[error("the file {FILE} is damaged")]
    Damaged(#[source] serde_json::Error),
}

fn at(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LeasesError {
    let path = path.to_owned();
    move |source| LeasesError::Io { operation, path, source }
}

impl Leases {
    /// The directory for a helper's file, which is made where it is not there. The helper, which is nobody, may write into
    /// this one by its descriptor, and find no other.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn directory(path: &Path) -> Result<OwnedFd, LeasesError> {
        if let Some(parent) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(at("make", parent))?;
        }
        match fs::DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(at("make", path)(error));
            }
            _ => {}
        }
        chown(path, Some(NOBODY), Some(NOBODY)).map_err(at("change the owner of", path))?;
        Ok(open_dir(path)?)
    }

    /// What the file in a directory holds; nothing where there is none.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(directory: impl AsFd) -> Result<Self, LeasesError> {
        let file = match open_beneath(directory, Path::new(FILE), OFlags::RDONLY | OFlags::NONBLOCK, 0) {
            Ok(file) => file,
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error.into()),
        };
        let mut bytes = Vec::new();
        file.take(LARGEST).read_to_end(&mut bytes).map_err(at("read", Path::new(FILE)))?;
        // So a power loss may leave it.
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(Self::default());
        }
        serde_json::from_slice(&bytes).map_err(LeasesError::Damaged)
    }

    /// What the file below a path holds; nothing where there is no such directory.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read_in(path: &Path) -> Result<Self, LeasesError> {
        match open_dir(path) {
            Ok(directory) => Self::read(directory),
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error.into()),
        }
    }

    /// Replaces the file whole. No disk is waited for: a lease that a power loss takes is asked for again by its holder.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, directory: impl AsFd) -> Result<(), LeasesError> {
        let bytes = serde_json::to_vec(self).map_err(LeasesError::Damaged)?;
        unlink_at(&directory, NEW)?;
        let mut file: File = create_new_at(&directory, NEW, 0o600)?;
        file.write_all(&bytes).map_err(at("write", Path::new(NEW)))?;
        Ok(rename_at(&directory, NEW, &directory, FILE)?)
    }

    /// Forgets all.
    ///
    /// # Errors
    /// The directory cannot be removed.
    pub fn remove(path: &Path) -> Result<(), LeasesError> {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at("remove", path)(error)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_outlives_who_gave_it() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("leases/berthabcd0");
        assert_eq!(Leases::read_in(&path).unwrap(), Leases::default());
        let directory = Leases::directory(&path).unwrap();
        assert_eq!(Leases::read(&directory).unwrap(), Leases::default());
        let text = r#"{"leases":[{"address":"10.1.2.128","mac":"02:00:00:00:00:07","hostname":"guest","expires_ms":7},{"address":"10.1.2.129","mac":"02:00:00:00:00:08","expires_ms":8}],"exhausted_ms":9}"#;
        let leases: Leases = serde_json::from_str(text).unwrap();
        for _ in 0..2 {
            leases.write(&directory).unwrap();
        }
        assert_eq!(fs::read_to_string(path.join(FILE)).unwrap(), text, "the format stays");
        assert_eq!(Leases::read_in(&path).unwrap(), leases);
        // What a power loss leaves, and what is damaged.
        fs::write(path.join(FILE), [0; 99]).unwrap();
        assert_eq!(Leases::read_in(&path).unwrap(), Leases::default());
        fs::write(path.join(FILE), "{").unwrap();
        assert!(matches!(Leases::read_in(&path), Err(LeasesError::Damaged(_))));
        // Nobody is led elsewhere.
        fs::remove_file(path.join(FILE)).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", path.join(FILE)).unwrap();
        assert!(matches!(Leases::read_in(&path), Err(LeasesError::File(_))));
        Leases::remove(&path).unwrap();
        Leases::remove(&path).unwrap();
        assert_eq!(fs::read_dir(parent.path().join("leases")).unwrap().count(), 0);
    }
}
