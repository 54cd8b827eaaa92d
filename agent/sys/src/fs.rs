//! Files that survive a crash whole, directory locks, and operations relative to an open directory that follow no link.
//!
//! Everything here works on open directories, so that a path that is swapped meanwhile changes nothing.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{
    AtFlags, CWD, FlockOperation, Mode, OFlags, RenameFlags, ResolveFlags, flock, openat, openat2, renameat,
    renameat_with, statat, unlinkat,
};

/// What went wrong with a file, and with which.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {path}", path = path.display())]
pub struct FsError {
    /// What was tried: "create", "rename", …
    pub operation: &'static str,
    /// The file it was tried on.
    pub path: PathBuf,
    /// Why it failed.
    #[source]
    pub source: io::Error,
}

fn at(operation: &'static str, path: &Path) -> impl FnOnce(rustix::io::Errno) -> FsError {
    let path = path.to_owned();
    move |errno| FsError { operation, path, source: errno.into() }
}

fn at_io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FsError {
    let path = path.to_owned();
    move |source| FsError { operation, path, source }
}

/// Makes names unique within this process; the process id does so between processes.
static SEQUENCE: AtomicU64 = AtomicU64::new(0);

/// A name that no other call of this process, and no other living process, uses.
pub fn unique_name(prefix: &str) -> String {
    format!("{prefix}{}-{}", std::process::id(), SEQUENCE.fetch_add(1, Ordering::Relaxed))
}

/// Opens a directory without following a link in its last component.
pub fn open_dir(path: &Path) -> Result<OwnedFd, FsError> {
    openat(CWD, path, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY, Mode::empty())
        .map_err(at("open", path))
}

/// Opens what is below `dir`, never leaving it and following no link on the way.
pub fn open_beneath(dir: impl AsFd, path: &Path, flags: OFlags, mode: u32) -> Result<File, FsError> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    // The kernel refuses a mode without a creating flag.
    let mode = if flags.intersects(OFlags::CREATE | OFlags::TMPFILE) { mode } else { 0 };
    openat2(dir, path, flags | OFlags::CLOEXEC, Mode::from_raw_mode(mode), resolve)
        .map(File::from)
        .map_err(at("open", path))
}

/// Creates a file that must not be there yet.
pub fn create_new_at(dir: impl AsFd, name: &str, mode: u32) -> Result<File, FsError> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::from_raw_mode(mode)).map(File::from).map_err(at("create", Path::new(name)))
}

/// A file without a name, to be read and written: it is gone when it is closed.
pub fn unnamed_file(dir: &Path) -> Result<File, FsError> {
    let name = unique_name("u");
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir_fd = open_dir(dir)?;
    let file =
        openat(&dir_fd, &name, flags, Mode::from_raw_mode(0o600)).map_err(at("create", &dir.join(&name)))?;
    unlink_at(&dir_fd, &name)?;
    Ok(File::from(file))
}

/// The size of a regular file, or `None` where there is no such file.
pub fn size_at(dir: impl AsFd, name: &str) -> Result<Option<u64>, FsError> {
    match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(u64::try_from(stat.st_size).ok()),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(errno) => Err(at("stat", Path::new(name))(errno)),
    }
}

/// Renames; what has the new name is replaced in one step.
pub fn rename_at(old_dir: impl AsFd, old: &str, new_dir: impl AsFd, new: &str) -> Result<(), FsError> {
    renameat(old_dir, old, new_dir, new).map_err(at("rename", Path::new(new)))
}

/// Renames, unless the new name is taken. Says whether it did.
pub fn rename_new_at(old_dir: impl AsFd, old: &str, new_dir: impl AsFd, new: &str) -> Result<bool, FsError> {
    match renameat_with(old_dir, old, new_dir, new, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::EXIST) => Ok(false),
        Err(errno) => Err(at("rename to", Path::new(new))(errno)),
    }
}

/// Removes a file; says whether there was one.
pub fn unlink_at(dir: impl AsFd, name: &str) -> Result<bool, FsError> {
    match unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::NOENT) => Ok(false),
        Err(errno) => Err(at("remove", Path::new(name))(errno)),
    }
}

/// Waits until the file system that holds `dir` has everything on disk.
pub fn sync_file_system(dir: impl AsFd) -> Result<(), FsError> {
    rustix::fs::syncfs(dir).map_err(at("sync the file system of", Path::new(".")))
}

/// Replaces a file whole: whoever reads it, even after a power loss, sees the old content or the new.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FsError> {
    replace(path, bytes, mode, true)
}

/// As [`write_atomic`], but waits for no disk: after a power loss there may be nothing in the file. For what is written anew
/// before it is read then, or tells of processes that went with the power.
pub fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FsError> {
    replace(path, bytes, mode, false)
}

fn replace(path: &Path, bytes: &[u8], mode: u32, durable: bool) -> Result<(), FsError> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let name = path.file_name().ok_or_else(|| FsError {
        operation: "write",
        path: path.to_owned(),
        source: io::ErrorKind::InvalidInput.into(),
    })?;
    let dir = open_dir(parent)?;
    let temporary = temporary_name(name);
    remove_stale(parent, name, &temporary)?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(&dir, &temporary, flags, Mode::from_raw_mode(mode)).map_err(at("create", path))?;
    let written = write(File::from(file), bytes, mode, durable)
        .map_err(at_io("write", path))
        .and_then(|()| renameat(&dir, &temporary, &dir, name).map_err(at("rename to", path)));
    if written.is_err() {
        // The first error is the one to tell; a leftover temporary file is harmless.
        let _ = unlinkat(&dir, &temporary, AtFlags::empty());
        return written;
    }
    if durable { rustix::fs::fsync(&dir).map_err(at("sync", parent)) } else { Ok(()) }
}

const TEMPORARY: &str = ".tmp-";

fn temporary_name(name: &std::ffi::OsStr) -> OsString {
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(unique_name(TEMPORARY));
    temporary
}

/// Removes a file that [`write_atomic`] makes, with what a process left that was killed while it wrote it.
pub fn remove_written(path: &Path) -> Result<(), FsError> {
    if let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
        remove_stale(parent, name, name)?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at_io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Removes what a process left that was killed while it wrote this file: a file has one process that writes it. Its number
/// may be this one's, after a reboot.
fn remove_stale(parent: &Path, name: &std::ffi::OsStr, temporary: &std::ffi::OsStr) -> Result<(), FsError> {
    let mut start = OsString::from(".");
    start.push(name);
    start.push(TEMPORARY);
    let own = format!("{}-", std::process::id());
    for entry in std::fs::read_dir(parent).map_err(at_io("list", parent))? {
        let entry = entry.map_err(at_io("list", parent))?;
        let file = entry.file_name();
        let Some(writer) = file.as_encoded_bytes().strip_prefix(start.as_encoded_bytes()) else { continue };
        if file == temporary || !writer.starts_with(own.as_bytes()) {
            match std::fs::remove_file(entry.path()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(at_io("remove", &entry.path())(error));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn write(mut file: File, bytes: &[u8], mode: u32, durable: bool) -> io::Result<()> {
    // The umask must not take away what the caller asked for.
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
    file.write_all(bytes)?;
    if durable { file.sync_all() } else { Ok(()) }
}

/// An exclusive lock on a directory, held for the life of this value and let go by the kernel if the process dies.
#[derive(Debug)]
pub struct DirLock {
    _file: OwnedFd,
}

impl DirLock {
    /// Takes the lock file `name` in `dir`; `Ok(None)` if somebody else holds it.
    pub fn try_acquire(dir: &Path, name: &str) -> Result<Option<Self>, FsError> {
        let path = dir.join(name);
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(CWD, &path, flags, Mode::from_raw_mode(0o600)).map_err(at("open", &path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(at("lock", &path)(errno)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn an_atomic_write_replaces_content_and_mode_and_leaves_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        write_atomic(&path, b"one", 0o644).unwrap();
        write_whole(&path, b"whole", 0o644).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
        write_atomic(&path, b"two", 0o600).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_killed_writer_left_goes_at_the_next_write() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(".state.json.tmp-1-0"), b"half").unwrap();
        std::fs::write(dir.path().join(".state.tmp-1-0"), b"another's").unwrap();
        write_atomic(&dir.path().join("state.json"), b"whole", 0o600).unwrap();
        let mut names: Vec<_> =
            std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, [".state.tmp-1-0", "state.json"]);
        std::fs::write(dir.path().join(".state.json.tmp-1-1"), b"half").unwrap();
        remove_written(&dir.path().join("state.json")).unwrap();
        remove_written(&dir.path().join("state.json")).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_atomic_write_into_a_missing_directory_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let error = write_atomic(&dir.path().join("no/file"), b"x", 0o600).unwrap_err();
        assert!(error.to_string().contains("no"), "{error}");
    }

    #[test]
    fn a_lock_is_exclusive_until_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let first = DirLock::try_acquire(dir.path(), "lock").unwrap();
        assert!(first.is_some());
        assert!(DirLock::try_acquire(dir.path(), "lock").unwrap().is_none());
        drop(first);
        assert!(DirLock::try_acquire(dir.path(), "lock").unwrap().is_some());
    }

    #[test]
    fn opening_beneath_follows_no_link_and_does_not_leave() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("in")).unwrap();
        std::fs::write(dir.path().join("in/file"), b"x").unwrap();
        symlink("in", dir.path().join("link")).unwrap();
        let fd = open_dir(dir.path()).unwrap();
        open_beneath(&fd, Path::new("in/file"), OFlags::RDONLY, 0).unwrap();
        open_beneath(&fd, Path::new("link/file"), OFlags::RDONLY, 0).unwrap_err();
        open_beneath(&fd, Path::new("../etc/passwd"), OFlags::RDONLY, 0).unwrap_err();
        open_beneath(&fd, Path::new("/etc/passwd"), OFlags::RDONLY, 0).unwrap_err();
    }

    #[test]
    fn renaming_to_a_taken_name_keeps_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let fd = open_dir(dir.path()).unwrap();
        create_new_at(&fd, "a", 0o600).unwrap().write_all(b"a").unwrap();
        create_new_at(&fd, "b", 0o600).unwrap().write_all(b"bb").unwrap();
        assert!(!rename_new_at(&fd, "a", &fd, "b").unwrap());
        assert_eq!(size_at(&fd, "b").unwrap(), Some(2));
        assert!(unlink_at(&fd, "b").unwrap());
        assert!(rename_new_at(&fd, "a", &fd, "b").unwrap());
        assert_eq!(size_at(&fd, "a").unwrap(), None);
    }
}
