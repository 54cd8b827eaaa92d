//! What the programs that run a machine see of the host: their own code, read-only, and what they are given. Nothing else
//! is there, so that a guest that broke out of its emulator finds no file of the host's, the agent's or another's.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use berth_runtime::launch::{LaunchError, Stage};
use berth_sys::mount::{
    FsOption, add_flags, attach, clone_tree, enter_root, make_all_private, new_filesystem,
};
use rustix::mount::MountAttrFlags;

use crate::container::device;
use crate::failure::launch_error;

/// Where hosts keep programs and libraries; those that are links are links here too.
const CODE: [&str; 8] = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/opt", "/nix", "/etc/ld.so.cache"];

const DEVICES: [(&str, u32, u32); 2] = [("null", 1, 3), ("urandom", 1, 9)];

/// Opened by the supervisor, who sees all of the host; entered by a process of the instance's.
pub struct View {
    trees: Vec<Place>,
    links: Vec<(PathBuf, PathBuf)>,
}

/// Something at a path.
pub struct Place {
    /// Where.
    pub path: PathBuf,
    /// It, detached.
    pub tree: OwnedFd,
    /// Or a file.
    pub is_directory: bool,
}

impl View {
    /// The code of the host.
    pub fn open() -> Result<Self, LaunchError> {
        let mut view = Self { trees: Vec::new(), links: Vec::new() };
        for path in CODE.map(Path::new) {
            let Ok(found) = fs::symlink_metadata(path) else { continue };
            if found.is_symlink() {
                let target = fs::read_link(path).map_err(launch_error(Stage::Mount, path))?;
                view.links.push((path.to_owned(), target));
            } else {
                view.trees.push(read_only(path, path)?);
            }
        }
        for (name, major, minor) in DEVICES {
            let (path, tree) = (Path::new("/dev").join(name), device(name, major, minor)?);
            view.trees.push(Place { path, tree, is_directory: false });
        }
        Ok(view)
    }

    /// Makes it the root of the calling process, which has a mount namespace of its own.
    pub fn enter(&self, more: &[&Place]) -> Result<(), LaunchError> {
        let at = |path: &Path| launch_error(Stage::Mount, path.to_owned());
        make_all_private().map_err(at(Path::new("/")))?;
        let options = [FsOption::Text("mode", Path::new("755")), FsOption::Text("size", Path::new("64k"))];
        let flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
        let base = new_filesystem("tmpfs", &options, flags).map_err(at(Path::new("/")))?;
        enter_root(base.as_fd()).map_err(at(Path::new("/")))?;
        for (path, target) in &self.links {
            symlink(target, path).map_err(at(path))?;
        }
        for place in self.trees.iter().chain(more.iter().copied()) {
            place.put().map_err(at(&place.path))?;
        }
        add_flags(base.as_fd(), MountAttrFlags::MOUNT_ATTR_RDONLY.bits().into(), false)
            .map_err(at(Path::new("/")))
    }
}

impl Place {
    fn put(&self) -> io::Result<()> {
        if self.is_directory {
            fs::create_dir_all(&self.path)?;
        } else {
            fs::create_dir_all(self.path.parent().unwrap_or(Path::new("/")))?;
            fs::File::create(&self.path)?;
        }
        attach(self.tree.as_fd(), &self.path)
    }
}

/// Something of the host's, to be looked at alone.
pub fn read_only(source: &Path, path: &Path) -> Result<Place, LaunchError> {
    let open = || {
        let is_directory = fs::metadata(source)?.is_dir();
        let tree = clone_tree(source, is_directory)?;
        let flags = MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_RDONLY;
        add_flags(tree.as_fd(), flags.bits().into(), is_directory)?;
        Ok(Place { path: path.to_owned(), tree, is_directory })
    };
    open().map_err(launch_error(Stage::Mount, source))
}
