//! Opening what is on the host.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use berth_runtime::launch::{LaunchError, Stage};
use berth_runtime::mount::Keep;
use berth_sys::mount::{add_flags, clone_tree_of, map_tree_ids};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, StatxFlags, openat2, statx};
use rustix::mount::MountAttrFlags;

use super::fill::Filling;
use super::{Tree, opened};
use crate::failure::launch_error;

/// Opens a path none of whose components is a link: what it leads to was found out, and allowed, before.
fn open(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    Ok(openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)?)
}

fn is_directory(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let stat = statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::TYPE)?;
    Ok(FileType::from_raw_mode(stat.stx_mode.into()).is_dir())
}

/// A volume, mapped to the instance's ids. Writable yet: it may have to be filled.
pub(super) fn volume(
    directory: &Path,
    fill: Option<(Keep, Filling)>,
    user_namespace: Option<BorrowedFd<'_>>,
) -> Result<Tree, LaunchError> {
    let data = berth_storage::volume::data(directory);
    let find = |error| launch_error(Stage::MountSource, &data)(error);
    let mount = berth_storage::volume::mount(directory).map_err(find)?;
    if let Some(user_namespace) = user_namespace {
        map_tree_ids(mount.as_fd(), user_namespace, false).map_err(launch_error(Stage::MountIds, &data))?;
    }
    add_flags(mount.as_fd(), MountAttrFlags::MOUNT_ATTR_NODEV.bits().into(), false).map_err(find)?;
    opened(mount, true, fill).map_err(find)
}

/// A file or directory, with all that is mounted below it.
pub(super) fn bind(
    path: &Path,
    user_namespace: Option<BorrowedFd<'_>>,
    read_only: bool,
) -> Result<Tree, LaunchError> {
    let find = |error| launch_error(Stage::MountSource, path)(error);
    let source = open(path).map_err(find)?;
    let directory = is_directory(source.as_fd()).map_err(find)?;
    let mount = clone_tree_of(source.as_fd(), directory).map_err(find)?;
    if let Some(user_namespace) = user_namespace {
        map_tree_ids(mount.as_fd(), user_namespace, true).map_err(launch_error(Stage::MountIds, path))?;
    }
    let mut flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    if read_only {
        flags |= MountAttrFlags::MOUNT_ATTR_RDONLY;
    }
    add_flags(mount.as_fd(), flags.bits().into(), true).map_err(find)?;
    opened(mount, directory, None).map_err(find)
}
