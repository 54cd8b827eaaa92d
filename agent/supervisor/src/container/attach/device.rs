//! Device nodes: made anew for a container, with its ids, on a small file system of the supervisor's own.
//!
//! The host's own node stays as it is. What the container gets is a bind of a node of the same number, so that it can be
//! given and taken while programs run, user namespaces included.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use berth_runtime::launch::{LaunchError, Stage};
use berth_sys::cgroup::{Access, Device};
use berth_sys::fs::unique_name;
use berth_sys::mount::{FsOption, attach, clone_tree_of, new_filesystem};
use rustix::fs::{
    AtFlags, CWD, Dev, FileType, Gid, Mode, OFlags, ResolveFlags, StatxAttributes, StatxFlags, Uid, chmodat,
    chownat, makedev, mknodat, openat, openat2, statx,
};
use rustix::mount::MountAttrFlags;

use super::{Ground, Tree, opened};
use crate::failure::launch_error;

/// A node that is to be made.
pub(super) struct Node<'a> {
    /// On the host; no link.
    pub(super) path: &'a Path,
    /// Of which kind it must be.
    pub(super) block: bool,
    /// Inside.
    pub(super) uid: u32,
    /// Inside.
    pub(super) gid: u32,
    pub(super) mode: u32,
    /// What may be done with it.
    pub(super) access: Access,
}

impl Node<'_> {
    /// A detached mount of such a node, and its number.
    pub(super) fn open(&self, ground: &Ground<'_>) -> Result<(Tree, Device), LaunchError> {
        let number = self.number().map_err(launch_error(Stage::MountSource, self.path))?;
        let made = self.make(ground, number).and_then(|node| {
            let mount = clone_tree_of(node.as_fd(), false)?;
            let flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
            berth_sys::mount::add_flags(mount.as_fd(), flags.bits().into(), false)?;
            opened(mount, false, None)
        });
        let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
        let device = Device { block: self.block, major, minor, access: self.access };
        Ok((made.map_err(launch_error(Stage::MountSource, self.path))?, device))
    }

    fn number(&self) -> io::Result<Dev> {
        let metadata = std::fs::symlink_metadata(self.path)?;
        let kind = metadata.file_type();
        let is_it = if self.block { kind.is_block_device() } else { kind.is_char_device() };
        if is_it { Ok(metadata.rdev()) } else { Err(io::Error::from_raw_os_error(libc::ENODEV)) }
    }

    fn make(&self, ground: &Ground<'_>, number: Dev) -> io::Result<OwnedFd> {
        let directory = file_system(&ground.run_dir.join("devices"))?;
        let name = unique_name("node-");
        let kind = if self.block { FileType::BlockDevice } else { FileType::CharacterDevice };
        let number = makedev(rustix::fs::major(number), rustix::fs::minor(number));
        mknodat(&directory, &name, kind, Mode::from_raw_mode(0o600), number)?;
        let id = |id: u32| ground.host_base.saturating_add(id);
        let (uid, gid) = (Uid::from_raw(id(self.uid)), Gid::from_raw(id(self.gid)));
        chownat(&directory, &name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        // Whatever the umask is.
        chmodat(&directory, &name, Mode::from_raw_mode(self.mode), AtFlags::empty())?;
        Ok(openat(&directory, &name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?)
    }
}

/// A file system that may hold device nodes, in the supervisor's mount namespace only: where a host keeps its run directory
/// none may be.
fn file_system(path: &Path) -> io::Result<OwnedFd> {
    match std::fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let open = || {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)
    };
    let directory = open()?;
    let facts = statx(&directory, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
    if facts.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
        return Ok(directory);
    }
    let options = [FsOption::Text("mode", Path::new("700")), FsOption::Text("size", Path::new("64k"))];
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    attach(new_filesystem("tmpfs", &options, flags)?.as_fd(), path)?;
    Ok(open()?)
}
