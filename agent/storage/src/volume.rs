//! Volumes: a directory each, `volumes/<id>`, in the agent's data directory, which only root can enter.
//!
//! `data` in it is the volume's root. Its files have the ids that instances see: each instance mounts it mapped to its own
//! range. Beside it lie two marks: `filling` while an image's content is copied in, and `filled` when that was done, or was
//! not to be done, so that it is done once.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// Owner and permissions of a volume's root, as instances see them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Root {
    /// `None`: what it has, at first root.
    pub uid: Option<u32>,
    /// `None`: what it has, at first root.
    pub gid: Option<u32>,
    /// `None`: what it has, at first 0755.
    pub mode: Option<u32>,
}

/// Why a volume's directory cannot be made, changed or removed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {}", path.display())]
pub struct VolumeError {
    /// What was tried.
    pub operation: &'static str,
    /// On what.
    pub path: PathBuf,
    /// What the kernel said.
    #[source]
    pub source: io::Error,
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> VolumeError {
    let path = path.to_owned();
    move |source| VolumeError { operation, path, source }
}

/// Where a volume's files are, in its directory.
#[must_use]
pub fn data(directory: &Path) -> PathBuf {
    directory.join("data")
}

/// Makes a volume's directory if it is missing, and gives its root what is asked for. What is in it stays.
///
/// # Errors
/// What was tried, on what, and what the kernel said.
pub fn ensure(directory: &Path, root: Root) -> Result<(), VolumeError> {
    let make = |path: &Path, mode| fs::DirBuilder::new().recursive(true).mode(mode).create(path);
    make(directory, 0o700).map_err(failed("make", directory))?;
    let data = data(directory);
    match fs::symlink_metadata(&data) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return Err(failed("use", &data)(io::ErrorKind::NotADirectory.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make(&data, 0o755).map_err(failed("make", &data))?;
            // Whatever the agent's umask is.
            set_mode(&data, 0o755)?;
        }
        Err(error) => return Err(failed("look at", &data)(error)),
    }
    if root.uid.is_some() || root.gid.is_some() {
        chown(&data, root.uid, root.gid).map_err(failed("change the owner of", &data))?;
    }
    // After the owner: a change of that takes set-id bits away.
    root.mode.map_or(Ok(()), |mode| set_mode(&data, mode))
}

fn set_mode(path: &Path, mode: u32) -> Result<(), VolumeError> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed("change the mode of", path))
}

/// Removes a volume with all that is in it. Fine where there is none.
///
/// # Errors
/// What the kernel said; what is left is removed by the next call.
pub fn remove(directory: &Path) -> Result<(), VolumeError> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", directory)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    fn facts(directory: &Path) -> (u32, u32, u32) {
        let metadata = fs::symlink_metadata(data(directory)).unwrap();
        (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777)
    }

    #[test]
    fn a_root_gets_what_is_asked_for_and_keeps_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let volume = dir.path().join("volumes/one");
        ensure(&volume, Root::default()).unwrap();
        assert_eq!(facts(&volume), (0, 0, 0o755));
        assert_eq!(fs::metadata(&volume).unwrap().mode() & 0o7777, 0o700);
        fs::write(data(&volume).join("file"), "kept").unwrap();
        ensure(&volume, Root { uid: Some(70), gid: None, mode: Some(0o2750) }).unwrap();
        assert_eq!(facts(&volume), (70, 0, 0o2750));
        ensure(&volume, Root { gid: Some(71), ..Root::default() }).unwrap();
        assert_eq!((facts(&volume).0, facts(&volume).1), (70, 71));
        assert_eq!(fs::read(data(&volume).join("file")).unwrap(), b"kept");
    }

    #[test]
    fn what_a_volume_s_links_lead_to_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (volume, other) = (dir.path().join("one"), dir.path().join("other"));
        fs::create_dir(&other).unwrap();
        fs::write(other.join("file"), "kept").unwrap();
        ensure(&volume, Root::default()).unwrap();
        symlink(&other, data(&volume).join("link")).unwrap();
        for _ in 0..2 {
            remove(&volume).unwrap();
        }
        assert!(!volume.exists() && other.join("file").exists());
        fs::create_dir(&volume).unwrap();
        symlink(&other, data(&volume)).unwrap();
        let error = ensure(&volume, Root { uid: Some(7), ..Root::default() }).unwrap_err();
        assert_eq!((error.operation, fs::metadata(&other).unwrap().uid()), ("use", 0));
    }
}
