//! Where something is mounted: found, or made, inside the container.
//!
//! Every path is resolved with the container's root as root, and no magic link is followed, so that a link of the image's or
//! of the workload's leads nowhere but into the container. What the runtime relies on (`/`, `/proc`, `/sys`, `/dev` itself)
//! cannot be covered, however a path leads there.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use berth_sys::mount::mount_id;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, StatxFlags, mkdirat, openat, openat2, statx,
};
use rustix::io::Errno;

/// The place of a mount.
pub(super) struct Target {
    /// Of a directory, or of a file.
    pub(super) fd: OwnedFd,
    /// It is a directory of the root file system's own, and was there before.
    pub(super) is_of_image: bool,
}

/// File systems of the kernel's own: linux/magic.h.
const KERNEL: [i64; 4] =
    [libc::PROC_SUPER_MAGIC, libc::SYSFS_MAGIC, libc::CGROUP_SUPER_MAGIC, libc::CGROUP2_SUPER_MAGIC];

/// What may not be covered.
const RESERVED: [&str; 6] = ["/", "/dev", "/dev/pts", "/dev/mqueue", "/proc", "/sys"];

/// Finds the directory or file, or makes it.
pub(super) fn open(path: &Path, directory: bool) -> io::Result<Target> {
    let root = openat(CWD, "/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let parts = parts(path)?;
    let (fd, found) = match within(root.as_fd(), &parts.iter().collect::<PathBuf>()) {
        Ok(fd) => (fd, true),
        Err(Errno::NOENT) => (make(root.as_fd(), &parts, directory)?, false),
        Err(error) => return Err(error.into()),
    };
    let is_directory = kind(fd.as_fd())?.is_dir();
    if is_directory != directory {
        let errno = if directory { Errno::NOTDIR } else { Errno::ISDIR };
        return Err(errno.into());
    }
    allowed(fd.as_fd())?;
    let on_root = mount_id(fd.as_fd())? == mount_id(root.as_fd())?;
    Ok(Target { fd, is_of_image: found && directory && on_root })
}

/// Finds a directory that files are written in, or makes it.
pub(in crate::container) fn directory(path: &Path) -> io::Result<OwnedFd> {
    let root = openat(CWD, "/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    if path == Path::new("/") {
        return Ok(root);
    }
    let fd = make(root.as_fd(), &parts(path)?, true)?;
    if !kind(fd.as_fd())?.is_dir() {
        return Err(Errno::NOTDIR.into());
    }
    if KERNEL.contains(&rustix::fs::fstatfs(&fd)?.f_type) {
        return Err(Errno::PERM.into());
    }
    Ok(fd)
}

/// Opens a file to be read, whatever names lead to it: one that holds something, for a pipe or a device may hold up who reads it.
pub(in crate::container) fn file(path: &Path) -> io::Result<OwnedFd> {
    let root = openat(CWD, "/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let path: PathBuf = parts(path)?.iter().collect();
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let fd = openat2(&root, &path, flags, Mode::empty(), resolve)?;
    match kind(fd.as_fd())? {
        FileType::Directory => return Err(Errno::ISDIR.into()),
        FileType::RegularFile => {}
        _ => return Err(Errno::INVAL.into()),
    }
    if KERNEL.contains(&rustix::fs::fstatfs(&fd)?.f_type) {
        return Err(Errno::PERM.into());
    }
    Ok(fd)
}

/// The names in a path; there is none without one.
fn parts(path: &Path) -> io::Result<Vec<&std::ffi::OsStr>> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir => {}
            Component::Normal(part) => parts.push(part),
            _ => return Err(Errno::INVAL.into()),
        }
    }
    if parts.is_empty() || !path.is_absolute() { Err(Errno::INVAL.into()) } else { Ok(parts) }
}

pub(super) fn within(root: BorrowedFd<'_>, path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
}

fn make(root: BorrowedFd<'_>, parts: &[&std::ffi::OsStr], directory: bool) -> io::Result<OwnedFd> {
    let mut parent = root.try_clone_to_owned()?;
    let mut path = PathBuf::new();
    for (index, part) in parts.iter().enumerate() {
        path.push(part);
        parent = match within(root, &path) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => {
                if directory || index + 1 < parts.len() {
                    mkdirat(&parent, *part, Mode::from_raw_mode(0o755))?;
                } else {
                    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW;
                    openat(&parent, *part, flags | OFlags::CLOEXEC, Mode::from_raw_mode(0o644))?;
                }
                within(root, &path)?
            }
            Err(error) => return Err(error.into()),
        };
    }
    Ok(parent)
}

fn kind(fd: BorrowedFd<'_>) -> io::Result<FileType> {
    let stat = statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::TYPE)?;
    Ok(FileType::from_raw_mode(stat.stx_mode.into()))
}

fn allowed(fd: BorrowedFd<'_>) -> io::Result<()> {
    let place = place(fd)?;
    if KERNEL.contains(&rustix::fs::fstatfs(fd)?.f_type) {
        return Err(Errno::PERM.into());
    }
    for path in RESERVED {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
            Ok(reserved) if self::place(reserved.as_fd())? == place => return Err(Errno::PERM.into()),
            // A machine's guest makes its own.
            Ok(_) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Which file, seen through which mount.
fn place(fd: BorrowedFd<'_>) -> io::Result<(u64, u64)> {
    let stat = statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::INO | StatxFlags::MNT_ID)?;
    Ok((stat.stx_mnt_id, stat.stx_ino))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_names_from_the_root_on() {
        assert_eq!(parts(Path::new("/a//b/")).unwrap(), ["a", "b"]);
        for bad in ["/", "", "a/b", "/a/../b", "/.."] {
            assert!(parts(Path::new(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_path_that_is_missing_is_made_inside_its_root_whatever_links_say() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("real")).unwrap();
        std::os::unix::fs::symlink("/real", dir.path().join("link")).unwrap();
        std::os::unix::fs::symlink("../../../../tmp/berth-nowhere", dir.path().join("gone")).unwrap();
        std::os::unix::fs::symlink("/proc/self/cwd", dir.path().join("magic")).unwrap();
        let root = openat(CWD, dir.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let made = |path: &str, directory| make(root.as_fd(), &parts(Path::new(path)).unwrap(), directory);
        made("/link/a/b", true).unwrap();
        made("/link/file", false).unwrap();
        assert!(dir.path().join("real/a/b").is_dir() && dir.path().join("real/file").is_file());
        assert!(made("/gone/x", true).is_err(), "it was made where a dangling link leads");
        assert!(!Path::new("/tmp/berth-nowhere").exists());
        assert!(made("/real/file/x", true).is_err());
    }
}
