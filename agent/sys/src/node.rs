//! Making the nodes of a tree below an open directory. No name here is ever resolved: each is one component, made new.
#![allow(unsafe_code)]

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, chownat, fchmod, fchown,
    fsetxattr, futimens, ioctl_ficlone, linkat, makedev, mkdirat, mknodat, openat, symlinkat, utimensat,
};

/// Whose a node is, and when it was changed.
#[derive(Debug, Clone, Copy)]
pub struct Owner {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Seconds and nanoseconds since the epoch.
    pub mtime: (i64, u32),
}

impl Owner {
    fn times(&self) -> Timestamps {
        let time = Timespec { tv_sec: self.mtime.0, tv_nsec: self.mtime.1.into() };
        Timestamps { last_access: time, last_modification: time }
    }

    fn ids(&self) -> (Option<Uid>, Option<Gid>) {
        (Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))
    }
}

/// What is neither a file nor a directory nor a link.
#[derive(Debug, Clone, Copy)]
pub enum Special {
    /// A character device, by its number as the kernel encodes it: 12 bits of major, 20 of minor.
    Character(u32),
    /// A block device.
    Block(u32),
    /// A named pipe.
    Fifo,
}

const NEW: OFlags = OFlags::CREATE.union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const PRIVATE: Mode = Mode::RWXU;

/// Makes a directory and opens it; [`finish`] gives it its owner when all that is in it was made.
pub fn make_dir(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    mkdirat(parent, name, PRIVATE)?;
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    Ok(openat(parent, name, flags, Mode::empty())?)
}

/// Makes an empty file, open for writing; [`finish`] gives it its owner.
pub fn make_file(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<File> {
    Ok(openat(parent, name, NEW | OFlags::WRONLY, Mode::RUSR | Mode::WUSR)?.into())
}

/// Makes a symbolic link.
pub fn make_symlink(parent: BorrowedFd<'_>, name: &OsStr, target: &OsStr, owner: &Owner) -> io::Result<()> {
    symlinkat(target, parent, name)?;
    dress(parent, name, owner)
}

/// Makes a device or a pipe.
pub fn make_special(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    special: Special,
    mode: u32,
    owner: &Owner,
) -> io::Result<()> {
    let (kind, device) = match special {
        Special::Character(device) => (FileType::CharacterDevice, device),
        Special::Block(device) => (FileType::BlockDevice, device),
        Special::Fifo => (FileType::Fifo, 0),
    };
    let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xf_ff00));
    mknodat(parent, name, kind, Mode::empty(), makedev(major, minor))?;
    let (uid, gid) = owner.ids();
    chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
    // It was made here just now: no link is followed.
    rustix::fs::chmodat(parent, name, Mode::from_raw_mode(mode), AtFlags::empty())?;
    Ok(utimensat(parent, name, &owner.times(), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Gives a file a second name.
pub fn make_link(from: BorrowedFd<'_>, old: &OsStr, parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    Ok(linkat(from, old, parent, name, AtFlags::empty())?)
}

fn dress(parent: BorrowedFd<'_>, name: &OsStr, owner: &Owner) -> io::Result<()> {
    let (uid, gid) = owner.ids();
    chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(utimensat(parent, name, &owner.times(), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Gives an open file or directory its owner, then its permissions (an owner's change would clear setuid), then its
/// attributes (file capabilities would go too), then its time.
pub fn finish(
    node: BorrowedFd<'_>,
    mode: u32,
    owner: &Owner,
    xattrs: &[(Vec<u8>, Vec<u8>)],
) -> io::Result<()> {
    let (uid, gid) = owner.ids();
    fchown(node, uid, gid)?;
    fchmod(node, Mode::from_raw_mode(mode))?;
    for (name, value) in xattrs {
        fsetxattr(node, OsStr::new(&*String::from_utf8_lossy(name)), value, XattrFlags::empty())?;
    }
    Ok(futimens(node, &owner.times())?)
}

/// Makes a file share another's blocks; says whether the file system can.
pub fn reflink(target: &File, source: &File) -> io::Result<bool> {
    use rustix::io::Errno;
    match ioctl_ficlone(target, source) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::INVAL | Errno::NOTTY | Errno::NOSYS) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// As `linux/fsverity.h` has it.
#[repr(C)]
struct EnableVerity {
    version: u32,
    hash_algorithm: u32,
    block_size: u32,
    salt_size: u32,
    salt: u64,
    signature_size: u32,
    reserved1: u32,
    signature: u64,
    reserved2: [u64; 11],
}

/// `_IOW('f', 133, struct fsverity_enable_arg)`.
const FS_IOC_ENABLE_VERITY: u64 = 0x4080_6685;

/// Switches fs-verity (SHA-256, blocks of 4096 bytes) on for a file that nobody has open for writing; says whether the file
/// system can. On already is fine.
pub fn enable_verity(file: &File) -> io::Result<bool> {
    let argument = EnableVerity {
        version: 1,
        hash_algorithm: 1,
        block_size: 4096,
        salt_size: 0,
        salt: 0,
        signature_size: 0,
        reserved1: 0,
        signature: 0,
        reserved2: [0; 11],
    };
    // SAFETY: the kernel only reads the structure, which has the layout and the size that the request's number says and
    // outlives the call; it points at no other memory.
    let result = unsafe {
        libc::ioctl(file.as_fd().as_raw_fd(), FS_IOC_ENABLE_VERITY as _, std::ptr::from_ref(&argument))
    };
    if result == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EEXIST) => Ok(true),
        Some(libc::EOPNOTSUPP | libc::ENOTTY | libc::ENOSYS | libc::EINVAL) => Ok(false),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_s_number_holds_the_structure_s_size() {
        let size = size_of::<EnableVerity>() as u64;
        assert_eq!(FS_IOC_ENABLE_VERITY, (1 << 30) | (size << 16) | (u64::from(b'f') << 8) | 133);
    }

    #[test]
    fn a_file_system_without_verity_says_so_and_the_file_is_as_before() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "content").unwrap();
        let opened = File::open(file.path()).unwrap();
        let on = enable_verity(&opened).unwrap();
        assert_eq!(std::fs::read(file.path()).unwrap(), b"content");
        // Where it is on, nobody can write any more.
        assert_eq!(File::options().write(true).open(file.path()).is_err(), on);
    }
}
