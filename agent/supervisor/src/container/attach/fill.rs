//! Filling a volume with what an image has at its mount point, once, as Docker does.
//!
//! ```text
//! unused --begin--> filling --end--> filled, or unused where the image had nothing
//!                      \--the supervisor dies--> filled up by the next
//! ```

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use berth_runtime::mount::Keep;
use rustix::fs::{
    AtFlags, Dir, FileType, FlockOperation, Gid, Mode, OFlags, RenameFlags, ResolveFlags, Stat, Timespec,
    Timestamps, Uid, XattrFlags, chownat, fchmod, fchown, fgetxattr, flistxattr, flock, fsetxattr, fstat,
    mkdirat, mknodat, openat, openat2, readlinkat, renameat_with, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

/// A volume that is being filled; others that would fill it wait.
pub(super) struct Filling {
    directory: PathBuf,
    _lock: File,
}

impl Filling {
    /// `None` where the volume was used before.
    pub(super) fn begin(directory: &Path) -> io::Result<Option<Self>> {
        if directory.join("filled").exists() {
            return Ok(None);
        }
        let mut options = File::options();
        options.create(true).truncate(false).write(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let lock = options.open(directory.join("lock"))?;
        flock(&lock, FlockOperation::LockExclusive)?;
        let filling = Self { directory: directory.to_owned(), _lock: lock };
        let mark = directory.join("filling");
        if directory.join("filled").exists() {
            return Ok(None);
        }
        // Whoever filled it may not have come to an end. What is there stays: by now it may be an instance's own.
        if !mark.exists() && !filling.is_empty()? {
            File::create(directory.join("filled"))?;
            return Ok(None);
        }
        File::create(mark)?;
        Ok(Some(filling))
    }

    /// What was to be copied is there.
    pub(super) fn end(self) -> io::Result<()> {
        if !self.is_empty()? {
            File::create(self.directory.join("filled"))?;
        }
        fs::remove_file(self.directory.join("filling"))
    }

    fn is_empty(&self) -> io::Result<bool> {
        berth_storage::volume::is_empty(&self.directory)
    }
}

/// Copies what is in `from` into `to`, with owners, permissions, times and extended attributes; `to` itself becomes like
/// `from`, but for what it keeps. What is there already stays. Devices and sockets are left out: a container has its own.
pub(super) fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>, keep: Keep) -> io::Result<()> {
    // Directories are done when all in them are, so the deepest are done first.
    let mut directories = vec![PathBuf::from(".")];
    let mut next = 0;
    while let Some(path) = directories.get(next).cloned() {
        let (source, destination) = (open_directory(from, &path)?, open_directory(to, &path)?);
        for name in names(&source)? {
            if entry(source.as_fd(), destination.as_fd(), &name)? {
                directories.push(path.join(&name));
            }
        }
        next += 1;
    }
    for path in directories.iter().skip(1).rev() {
        let (source, destination) = (open_directory(from, path)?, open_directory(to, path)?);
        become_like(&source, &destination, Keep::default())?;
    }
    become_like(&open_directory(from, Path::new("."))?, &open_directory(to, Path::new("."))?, keep)
}

fn open_directory(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat2(root, path, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)?)
}

fn names(directory: &OwnedFd) -> io::Result<Vec<PathBuf>> {
    use std::os::unix::ffi::OsStrExt;
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = std::ffi::OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            names.push(name.into());
        }
    }
    Ok(names)
}

/// Copies one; says whether it is a directory, which is made empty.
fn entry(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &Path) -> io::Result<bool> {
    let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let (uid, gid) = owner(&stat);
    let there = || statat(to, name, AtFlags::SYMLINK_NOFOLLOW);
    match FileType::from_raw_mode(stat.st_mode) {
        kind if !kind.is_dir() && there().is_ok() => {}
        FileType::Directory => {
            return match mkdirat(to, name, Mode::from_raw_mode(0o700)) {
                Ok(()) => Ok(true),
                Err(Errno::EXIST) => Ok(FileType::from_raw_mode(there()?.st_mode).is_dir()),
                Err(error) => Err(error.into()),
            };
        }
        FileType::RegularFile => file(from, to, name)?,
        FileType::Symlink => {
            symlinkat(readlinkat(from, name, Vec::new())?, to, name)?;
            chownat(to, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
            utimensat(to, name, &times(&stat), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        FileType::Fifo => {
            mknodat(to, name, FileType::Fifo, Mode::from_raw_mode(stat.st_mode & 0o7777), 0)?;
            chownat(to, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        _ => {}
    }
    Ok(false)
}

fn file(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &Path) -> io::Result<()> {
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut source = File::from(openat(from, name, flags | OFlags::RDONLY, Mode::empty())?);
    // Under its own name only when it is whole: a copy that is cut off is begun anew.
    let new = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY;
    let mut destination = File::from(openat(to, PARTIAL, flags | new, Mode::from_raw_mode(0o600))?);
    io::copy(&mut source, &mut destination)?;
    become_like(&source.into(), &destination.into(), Keep::default())?;
    match renameat_with(to, PARTIAL, to, name, RenameFlags::NOREPLACE) {
        // An instance was faster.
        Err(Errno::EXIST) => Ok(unlinkat(to, PARTIAL, AtFlags::empty())?),
        renamed => Ok(renamed?),
    }
}

/// What a file is called while it is copied.
const PARTIAL: &str = ".berth-partial";

fn become_like(source: &OwnedFd, destination: &OwnedFd, keep: Keep) -> io::Result<()> {
    let stat = fstat(source)?;
    let (uid, gid) = owner(&stat);
    fchown(destination, uid.filter(|_| !keep.uid), gid.filter(|_| !keep.gid))?;
    attributes(source, destination)?;
    if !keep.mode {
        // After the owner, whose change takes set-id bits away.
        fchmod(destination, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    }
    rustix::fs::futimens(destination, &times(&stat))?;
    Ok(())
}

/// Extended attributes, but for those that this file system or a container may not have.
fn attributes(source: &OwnedFd, destination: &OwnedFd) -> io::Result<()> {
    let mut list = vec![0; 64 * 1024];
    let length = match flistxattr(source, &mut list[..]) {
        Err(Errno::NOTSUP) => return Ok(()),
        length => length?,
    };
    for name in list[..length].split(|byte| *byte == 0) {
        if !name.starts_with(b"user.") && name != b"security.capability" {
            continue;
        }
        let mut value = vec![0; 64 * 1024];
        let length = fgetxattr(source, name, &mut value[..])?;
        match fsetxattr(destination, name, &value[..length], XattrFlags::empty()) {
            Ok(()) | Err(Errno::NOTSUP | Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn owner(stat: &Stat) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))
}

fn times(stat: &Stat) -> Timestamps {
    let time = |seconds, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or_default(),
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

    use super::*;

    #[test]
    fn everything_is_copied_as_it_is_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("sub/deep")).unwrap();
        fs::create_dir(&to).unwrap();
        fs::write(from.join("sub/deep/file"), vec![7; 300_000]).unwrap();
        fs::set_permissions(from.join("sub/deep/file"), fs::Permissions::from_mode(0o4750)).unwrap();
        chown(from.join("sub"), Some(70), Some(71)).unwrap();
        fs::set_permissions(from.join("sub"), fs::Permissions::from_mode(0o500)).unwrap();
        symlink("/etc/passwd", from.join("link")).unwrap();
        fs::set_permissions(&from, fs::Permissions::from_mode(0o711)).unwrap();
        chown(&from, Some(33), Some(34)).unwrap();
        let open = |path: &Path| File::open(path).unwrap();
        let keep = Keep { gid: true, ..Keep::default() };
        copy(open(&from).as_fd(), open(&to).as_fd(), keep).unwrap();
        let mode = |path: &Path| fs::symlink_metadata(path).unwrap().mode() & 0o7777;
        assert_eq!(fs::read(to.join("sub/deep/file")).unwrap().len(), 300_000);
        assert_eq!(
            (mode(&to.join("sub/deep/file")), mode(&to.join("sub")), mode(&to)),
            (0o4750, 0o500, 0o711)
        );
        let owner = |path: &Path| (fs::metadata(path).unwrap().uid(), fs::metadata(path).unwrap().gid());
        assert_eq!((owner(&to.join("sub")), owner(&to)), ((70, 71), (33, 0)));
        assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("/etc/passwd"));
        let times = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
        assert_eq!(times(&to.join("sub")), times(&from.join("sub")));
    }

    #[test]
    fn a_copy_that_was_cut_off_is_completed_and_what_is_there_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        for place in [&from, &to] {
            fs::create_dir_all(place.join("sub")).unwrap();
        }
        for name in ["one", "sub/two", "sub/three"] {
            fs::write(from.join(name), "image's").unwrap();
        }
        fs::write(to.join("sub/two"), "user's").unwrap();
        fs::write(to.join("sub").join(PARTIAL), "image's and much more that was before").unwrap();
        let open = |path: &Path| File::open(path).unwrap();
        copy(open(&from).as_fd(), open(&to).as_fd(), Keep::default()).unwrap();
        let said = ["one", "sub/two", "sub/three"].map(|name| fs::read_to_string(to.join(name)).unwrap());
        assert_eq!(said, ["image's", "user's", "image's"]);
        assert_eq!(fs::read_dir(to.join("sub")).unwrap().count(), 2, "a partial file is left");
    }

    #[test]
    fn a_volume_is_filled_once_and_anew_where_that_was_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        fs::create_dir(&data).unwrap();
        let begun = Filling::begin(dir.path()).unwrap().unwrap();
        fs::write(data.join("half"), "").unwrap();
        drop(begun);
        drop(Filling::begin(dir.path()).unwrap().expect("it was cut off"));
        fs::remove_file(data.join("half")).unwrap();
        Filling::begin(dir.path()).unwrap().expect("it was cut off again").end().unwrap();
        let empty = Filling::begin(dir.path()).unwrap().expect("the image had nothing");
        fs::write(data.join("file"), "image's").unwrap();
        empty.end().unwrap();
        fs::remove_file(data.join("file")).unwrap();
        assert!(Filling::begin(dir.path()).unwrap().is_none(), "it was filled, and emptied by its user");

        let other = tempfile::tempdir().unwrap();
        fs::create_dir(other.path().join("data")).unwrap();
        fs::write(other.path().join("data/file"), "user's").unwrap();
        for _ in 0..2 {
            assert!(Filling::begin(other.path()).unwrap().is_none());
            fs::remove_file(other.path().join("data/file")).unwrap_or_default();
        }
    }
}
