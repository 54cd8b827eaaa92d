//! The host's device nodes, all of them: for a privileged container.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use berth_runtime::launch::{LaunchError, Stage};
use nix::sys::stat::{Mode, SFlag, mknod};

use crate::failure::{errno_at, launch_error};

/// Each has its own in a container.
const OWN: [&str; 4] = ["/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/console"];

/// A device node.
pub(super) struct Node {
    path: PathBuf,
    kind: SFlag,
    mode: u32,
    device: u64,
    owner: (u32, u32),
}

/// Those below the host's `/dev`.
pub(super) fn of_host() -> Result<Vec<Node>, LaunchError> {
    let mut nodes = Vec::new();
    find(Path::new("/dev"), &mut nodes).map_err(launch_error(Stage::MountSource, "/dev"))?;
    Ok(nodes)
}

fn find(directory: &Path, nodes: &mut Vec<Node>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if OWN.iter().any(|own| path == Path::new(own)) {
            continue;
        }
        // One that was unplugged meanwhile is not there.
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        let file_type = metadata.file_type();
        let kind = if file_type.is_dir() {
            find(&path, nodes)?;
            continue;
        } else if file_type.is_char_device() {
            SFlag::S_IFCHR
        } else if file_type.is_block_device() {
            SFlag::S_IFBLK
        } else {
            continue;
        };
        let owner = (metadata.uid(), metadata.gid());
        nodes.push(Node { path, kind, mode: metadata.mode() & 0o7777, device: metadata.rdev(), owner });
    }
    Ok(())
}

/// Makes them below a `/dev` of the container's own; those that it has already stay.
pub(super) fn make(nodes: &[Node]) -> Result<(), LaunchError> {
    for node in nodes {
        let at = |error| launch_error(Stage::Mount, &node.path)(error);
        if let Some(parent) = node.path.parent() {
            fs::create_dir_all(parent).map_err(at)?;
        }
        match mknod(&node.path, node.kind, Mode::from_bits_truncate(node.mode), node.device) {
            Ok(()) => {}
            Err(nix::errno::Errno::EEXIST) => continue,
            Err(error) => return Err(errno_at(Stage::Mount, &node.path)(error)),
        }
        let (uid, gid) = node.owner;
        std::os::unix::fs::lchown(&node.path, Some(uid), Some(gid)).map_err(at)?;
    }
    Ok(())
}
