//! Volumes: a directory each, `volumes/<id>`, in the agent's data directory, which only root can enter.
//!
//! `data` in it is the volume's root. Its files have the ids that instances see: each instance mounts it mapped to its own
//! range. Beside it lie two marks: `filling` while an image's content is copied in, and `filled` when that was done, or was
//! not to be done, so that it is done once. Those of a volume with a size are in a file system of its own: see [`sized`].

pub mod sized;

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use berth_sys::mount::clone_tree_of;
use rustix::fs::{CWD, Dir, Gid, Mode, OFlags, ResolveFlags, Uid, fchmod, fchown, openat, openat2};

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

/// Makes a volume if it is missing, and gives its root what is asked for. What is in it stays. One that has a size and is
/// smaller than this grows; whether it has one is said when it is made.
///
/// # Errors
/// What was tried, on what, and what the kernel said.
pub fn ensure(directory: &Path, root: Root, size: Option<u64>) -> Result<(), VolumeError> {
    let make = |path: &Path, mode| fs::DirBuilder::new().recursive(true).mode(mode).create(path);
    make(directory, 0o700).map_err(failed("make", directory))?;
    if let Some(size) = size {
        let image = sized::image(directory);
        sized::ensure(directory, size).map_err(failed("give its size to", &image))?;
    } else {
        ensure_data(&data(directory))?;
    }
    if root == Root::default() {
        return Ok(());
    }
    let data = data(directory);
    let mount = mount(directory).map_err(failed("use", &data))?;
    let opened = open_root(&mount).map_err(failed("use", &data))?;
    if root.uid.is_some() || root.gid.is_some() {
        let (uid, gid) = (root.uid.map(Uid::from_raw), root.gid.map(Gid::from_raw));
        let changed = fchown(&opened, uid, gid);
        changed.map_err(|error| failed("change the owner of", &data)(error.into()))?;
    }
    // After the owner: a change of that takes set-id bits away.
    let changed = root.mode.map_or(Ok(()), |mode| fchmod(&opened, Mode::from_raw_mode(mode)));
    changed.map_err(|error| failed("change the mode of", &data)(error.into()))
}

/// A detached mount of a volume.
///
/// # Errors
/// There is none, it is no directory of the agent's, or the kernel does not mount it.
pub fn mount(directory: &Path) -> io::Result<OwnedFd> {
    if sized::is_sized(directory) {
        return sized::mount(directory);
    }
    // No component is a link.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let source = openat2(CWD, data(directory), flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)?;
    clone_tree_of(source.as_fd(), false)
}

/// Whether nothing is in a volume.
///
/// # Errors
/// As [`mount`]; or it cannot be read.
pub fn is_empty(directory: &Path) -> io::Result<bool> {
    let root = open_root(&mount(directory)?)?;
    for entry in Dir::read_from(&root)? {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

fn open_root(mount: &OwnedFd) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(mount, ".", flags, Mode::empty())?)
}

fn ensure_data(data: &Path) -> Result<(), VolumeError> {
    match fs::symlink_metadata(data) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return Err(failed("use", data)(io::ErrorKind::NotADirectory.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::DirBuilder::new().mode(0o755).create(data).map_err(failed("make", data))?;
            // Whatever the agent's umask is.
            set_mode(data, 0o755)?;
        }
        Err(error) => return Err(failed("look at", data)(error)),
    }
    Ok(())
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
        ensure(&volume, Root::default(), None).unwrap();
        assert_eq!(facts(&volume), (0, 0, 0o755));
        assert_eq!(fs::metadata(&volume).unwrap().mode() & 0o7777, 0o700);
        fs::write(data(&volume).join("file"), "kept").unwrap();
        ensure(&volume, Root { uid: Some(70), gid: None, mode: Some(0o2750) }, None).unwrap();
        assert_eq!(facts(&volume), (70, 0, 0o2750));
        ensure(&volume, Root { gid: Some(71), ..Root::default() }, None).unwrap();
        assert_eq!((facts(&volume).0, facts(&volume).1), (70, 71));
        assert_eq!(fs::read(data(&volume).join("file")).unwrap(), b"kept");
    }

    #[test]
    fn what_a_volume_s_links_lead_to_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (volume, other) = (dir.path().join("one"), dir.path().join("other"));
        fs::create_dir(&other).unwrap();
        fs::write(other.join("file"), "kept").unwrap();
        ensure(&volume, Root::default(), None).unwrap();
        symlink(&other, data(&volume).join("link")).unwrap();
        for _ in 0..2 {
            remove(&volume).unwrap();
        }
        assert!(!volume.exists() && other.join("file").exists());
        fs::create_dir(&volume).unwrap();
        symlink(&other, data(&volume)).unwrap();
        let error = ensure(&volume, Root { uid: Some(7), ..Root::default() }, None).unwrap_err();
        assert_eq!((error.operation, fs::metadata(&other).unwrap().uid()), ("use", 0));
    }
}
