//! The mount calls that Berth needs, on file descriptors wherever the kernel has such a form.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatxFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags, fsconfig_create, fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
    mount_change, move_mount, open_tree, unmount,
};

/// One option of a file system that is being configured.
#[derive(Debug)]
pub enum FsOption<'a> {
    /// A flag such as `ro`.
    Flag(&'a str),
    /// `key=value`; the value may be a path.
    Text(&'a str, &'a Path),
    /// A key whose value is a file descriptor, such as overlay's `lowerdir+`.
    Fd(&'a str, BorrowedFd<'a>),
}

/// Makes a detached mount of a new file system; it is gone when the descriptor is closed, unless attached.
///
/// # Errors
/// What `fsopen`, `fsconfig` or `fsmount` says.
pub fn new_filesystem(
    kind: &str,
    options: &[FsOption<'_>],
    attributes: MountAttrFlags,
) -> io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for option in options {
        match option {
            FsOption::Flag(key) => fsconfig_set_flag(context.as_fd(), *key)?,
            FsOption::Text(key, value) => fsconfig_set_string(context.as_fd(), *key, *value)?,
            FsOption::Fd(key, fd) => fsconfig_set_fd(context.as_fd(), *key, fd)?,
        }
    }
    fsconfig_create(context.as_fd())?;
    Ok(fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// Attaches a detached mount at a path.
///
/// # Errors
/// What `move_mount` says.
pub fn attach(mount: BorrowedFd<'_>, target: &Path) -> io::Result<()> {
    Ok(move_mount(mount, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

/// Attaches a detached mount on what a descriptor names, so that no path is resolved a second time.
///
/// # Errors
/// What `move_mount` says.
pub fn attach_on(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(mount, "", target, "", flags)?)
}

/// A detached copy of the mount that holds `path`, with `path` as its root.
///
/// # Errors
/// What `open_tree` says.
pub fn clone_tree(path: &Path, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(open_tree(CWD, path, flags)?)
}

/// As [`clone_tree`], of what a descriptor names.
///
/// # Errors
/// What `open_tree` says.
pub fn clone_tree_of(root: BorrowedFd<'_>, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags |= OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(open_tree(root, "", flags)?)
}

/// What tells one mount from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MountId {
    /// As `/proc/self/mountinfo` has it; used again when the mount is gone.
    pub number: u64,
    /// Never used again, from Linux 6.8 on; before, the same number.
    pub unique: u64,
}

/// Which mount a descriptor is on.
///
/// # Errors
/// What `statx` says.
pub fn mount_id(fd: BorrowedFd<'_>) -> io::Result<MountId> {
    /// linux/stat.h: STATX_MNT_ID_UNIQUE. A kernel that does not know it ignores it.
    const UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);
    let ask = |mask| rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, mask);
    let number = ask(StatxFlags::MNT_ID)?.stx_mnt_id;
    let unique = ask(StatxFlags::MNT_ID | UNIQUE)?.stx_mnt_id;
    Ok(MountId { number, unique })
}

/// Stops mounts made here from reaching the host; the host's unmounts still reach here, so that nothing of its is kept busy.
///
/// # Errors
/// What `mount` says.
pub fn make_all_slave() -> io::Result<()> {
    Ok(mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?)
}

/// As [`make_all_slave`], but nothing arrives either.
///
/// # Errors
/// What `mount` says.
pub fn make_all_private() -> io::Result<()> {
    Ok(mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?)
}

/// What is mounted or unmounted here from now on is so in every later copy of these mounts too, and the other way round.
///
/// # Errors
/// What `mount` says.
pub fn make_all_shared() -> io::Result<()> {
    Ok(mount_change("/", MountPropagationFlags::SHARED | MountPropagationFlags::REC)?)
}

/// Unmounts a tree at once for everyone who looks, and for real when nobody uses it any more.
///
/// # Errors
/// What `umount2` says.
pub fn detach(path: &Path) -> io::Result<()> {
    Ok(unmount(path, UnmountFlags::DETACH)?)
}

/// ID-maps a detached mount that nobody has used yet.
///
/// # Errors
/// What `mount_setattr` says; EINVAL where the file system cannot.
pub fn map_ids(mount: BorrowedFd<'_>, user_namespace: BorrowedFd<'_>) -> io::Result<()> {
    map_tree_ids(mount, user_namespace, false)
}

/// As [`map_ids`], with all that is mounted below it if asked.
///
/// # Errors
/// What `mount_setattr` says; EINVAL where one of the file systems cannot.
pub fn map_tree_ids(
    mount: BorrowedFd<'_>,
    user_namespace: BorrowedFd<'_>,
    recursive: bool,
) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: u64::try_from(user_namespace.as_raw_fd()).map_err(io::Error::other)?,
    };
    set_attributes(mount, &attributes, recursive)
}

/// Sets `MOUNT_ATTR_*` flags on a mount, and on all below it if asked.
///
/// # Errors
/// What `mount_setattr` says.
pub fn add_flags(mount: BorrowedFd<'_>, flags: u64, recursive: bool) -> io::Result<()> {
    set_attributes(
        mount,
        &libc::mount_attr { attr_set: flags, attr_clr: 0, propagation: 0, userns_fd: 0 },
        recursive,
    )
}

fn set_attributes(mount: BorrowedFd<'_>, attributes: &libc::mount_attr, recursive: bool) -> io::Result<()> {
    let mut at = libc::AT_EMPTY_PATH;
    if recursive {
        at |= libc::AT_RECURSIVE;
    }
    // SAFETY: the path is a static empty C string, the structure outlives the call and its size is given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            at,
            std::ptr::from_ref(attributes),
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes a detached mount the root of the calling process's mount namespace, with nothing of the old root left in it.
///
/// # Errors
/// What `move_mount`, `pivot_root`, `fchdir` or `umount2` says.
pub fn enter_root(new_root: BorrowedFd<'_>) -> io::Result<()> {
    // It must be somewhere in the tree to become its root: every host has this directory.
    attach(new_root, Path::new("/sys"))?;
    nix::unistd::fchdir(new_root)?;
    // `pivot_root(".", ".")` stacks the old root over the new: unmounting "." then removes the old.
    // SAFETY: both paths are static C strings.
    let result = unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    unmount(".", UnmountFlags::DETACH)?;
    nix::unistd::chdir("/")?;
    Ok(())
}
