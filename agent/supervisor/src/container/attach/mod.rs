//! Volumes, binds and memory file systems: what users mount in an instance, at its start and while it runs.
//!
//! The supervisor opens what is on the host as detached, ID-mapped mounts ([`Detached`]). A process of the container's puts
//! them in their places, where every path is resolved with the container's root as root and without magic links: see
//! `target`. What is taken out again is found by its mount's id, wherever the container may have moved its directory.

mod change;
mod device;
mod fill;
mod host;
pub(super) mod target;

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use berth_runtime::launch::{LaunchError, Stage};
use berth_runtime::mount::{Keep, MountSource, MountSpec};
use berth_sys::cgroup::{Access, Device};
use berth_sys::fs::unique_name;
use berth_sys::mount::{FsOption, MountId, add_flags, attach_on, mount_id, new_filesystem};
use rustix::mount::MountAttrFlags;

pub use change::change;
use fill::Filling;

use crate::failure::launch_error;

/// Something that will be mounted.
pub struct Detached {
    spec: MountSpec,
    tree: Tree,
    device: Option<Device>,
}

enum Tree {
    /// Of the host's.
    Opened {
        mount: OwnedFd,
        id: MountId,
        directory: bool,
        /// It is to be filled with what is at the target.
        fill: Option<(Keep, Filling)>,
    },
    /// Made in the container, whose own it is.
    Memory { tag: String },
}

/// Where things of the host's are opened, and for whom.
#[derive(Clone, Copy)]
pub struct Ground<'a> {
    /// The instance's; `None` is the host's.
    pub user_namespace: Option<BorrowedFd<'a>>,
    /// What the instance's root is on the host.
    pub host_base: u32,
    /// The instance's own.
    pub run_dir: &'a Path,
}

/// Something that is mounted.
#[derive(Debug, Clone)]
pub struct Attached {
    /// What was asked for.
    pub spec: MountSpec,
    /// The device whose node it is.
    pub device: Option<Device>,
    identity: Identity,
}

/// How a mount is found again.
#[derive(Debug, Clone)]
enum Identity {
    Id(MountId),
    /// What `/proc/self/mountinfo` calls its source.
    Tag(String),
}

impl Detached {
    /// Opens what is on the host; those whose targets hold others' come first.
    pub fn open_all(specs: &[MountSpec], ground: Ground<'_>) -> Result<Vec<Self>, LaunchError> {
        let mut fillings = begin(specs)?;
        let mut specs: Vec<_> = specs.iter().collect();
        specs.sort_by_key(|spec| spec.target.components().count());
        let open = |spec| Self::open(spec, ground, &mut fillings).transpose();
        specs.into_iter().filter_map(open).collect()
    }

    /// `None` for a device that is missing and need not be there.
    fn open(
        spec: &MountSpec,
        ground: Ground<'_>,
        fillings: &mut BTreeMap<PathBuf, Filling>,
    ) -> Result<Option<Self>, LaunchError> {
        let mut device = None;
        let tree = match &spec.source {
            MountSource::Volume { directory, keep } => {
                let filling = fillings.remove(directory);
                host::volume(directory, filling.map(|filling| (*keep, filling)), ground.user_namespace)?
            }
            MountSource::Bind { path, id_mapped, .. } => {
                host::bind(path, ground.user_namespace.filter(|_| *id_mapped), spec.read_only)?
            }
            MountSource::Device { path, block, uid, gid, mode, optional, permissions, .. } => {
                let may =
                    |letter| permissions.as_ref().is_none_or(|permissions| permissions.contains(letter));
                let access = Access { read: may('r'), write: may('w'), make: may('m') };
                let node = device::Node { path, block: *block, uid: *uid, gid: *gid, mode: *mode, access };
                match node.open(&ground) {
                    Err(error) if *optional && error.errno == libc::ENOENT => return Ok(None),
                    made => {
                        let (tree, number) = made?;
                        device = Some(number);
                        tree
                    }
                }
            }
            MountSource::Tmpfs { .. } => Tree::Memory { tag: unique_name("berth-tmpfs-") },
        };
        Ok(Some(Self { spec: spec.clone(), tree, device }))
    }

    /// The device whose node it is.
    pub fn device(&self) -> Option<Device> {
        self.device
    }

    /// What it is once it is mounted.
    pub fn attached(&self) -> Attached {
        let identity = match &self.tree {
            Tree::Opened { id, .. } => Identity::Id(*id),
            Tree::Memory { tag } => Identity::Tag(tag.clone()),
        };
        Attached { spec: self.spec.clone(), device: self.device, identity }
    }

    /// In the container, as its root: puts it in its place.
    pub fn place(&self) -> Result<(), LaunchError> {
        let path = &self.spec.target;
        let is_directory = match &self.tree {
            Tree::Opened { directory, .. } => *directory,
            Tree::Memory { .. } => true,
        };
        let at = || launch_error(Stage::MountTarget, path);
        let target = target::open(path, is_directory).map_err(at())?;
        match &self.tree {
            Tree::Opened { mount, fill, .. } => {
                if let Some((keep, _)) = fill
                    && target.is_of_image
                {
                    fill::copy(target.fd.as_fd(), mount.as_fd(), *keep)
                        .map_err(launch_error(Stage::MountFill, path))?;
                }
                if self.spec.read_only {
                    let flag = MountAttrFlags::MOUNT_ATTR_RDONLY.bits();
                    add_flags(mount.as_fd(), flag.into(), false).map_err(at())?;
                }
                attach_on(mount.as_fd(), target.fd.as_fd()).map_err(at())
            }
            Tree::Memory { tag } => {
                let mount = memory(&self.spec, tag).map_err(at())?;
                attach_on(mount.as_fd(), target.fd.as_fd()).map_err(at())
            }
        }
    }

    /// On the host, when it is in its place: a volume was filled.
    pub fn settle(self) -> Result<Attached, LaunchError> {
        let attached = self.attached();
        if let (Tree::Opened { fill: Some((_, filling)), .. }, MountSource::Volume { directory, .. }) =
            (self.tree, &self.spec.source)
        {
            filling.end().map_err(launch_error(Stage::MountFill, directory))?;
        }
        Ok(attached)
    }
}

/// A node of a character device of the host's, for one of the instance's ids alone.
pub fn node(path: &Path, id: u32, ground: Ground<'_>) -> Result<(OwnedFd, Device), LaunchError> {
    let node = device::Node { path, block: false, uid: id, gid: id, mode: 0o600, access: Access::ALL };
    let (tree, number) = node.open(&ground)?;
    match tree {
        Tree::Opened { mount, .. } => Ok((mount, number)),
        Tree::Memory { .. } => Err(launch_error(Stage::MountSource, path)(std::io::ErrorKind::Other.into())),
    }
}

/// Volumes that were never used, each once and in an order that all supervisors have, so that none waits for another that
/// waits for it.
fn begin(specs: &[MountSpec]) -> Result<BTreeMap<PathBuf, Filling>, LaunchError> {
    let directory = |spec: &'_ MountSpec| match &spec.source {
        MountSource::Volume { directory, .. } => Some(directory.clone()),
        _ => None,
    };
    let directories: BTreeSet<PathBuf> = specs.iter().filter_map(directory).collect();
    let mut fillings = BTreeMap::new();
    for directory in &directories {
        let begun = Filling::begin(directory).map_err(launch_error(Stage::MountSource, directory))?;
        fillings.extend(begun.map(|filling| (directory.clone(), filling)));
    }
    Ok(fillings)
}

/// Puts all in their places.
pub fn place_all(mounts: &[Detached]) -> Result<(), LaunchError> {
    mounts.iter().try_for_each(Detached::place)
}

/// All are in their places.
pub fn settle_all(mounts: Vec<Detached>) -> Result<Vec<Attached>, LaunchError> {
    mounts.into_iter().map(Detached::settle).collect()
}

fn memory(spec: &MountSpec, tag: &str) -> std::io::Result<OwnedFd> {
    let MountSource::Tmpfs { size, uid, gid, mode } = &spec.source else {
        return Err(std::io::ErrorKind::InvalidInput.into());
    };
    let numbers = [
        ("uid", Some(uid.to_string())),
        ("gid", Some(gid.to_string())),
        ("mode", Some(format!("{mode:o}"))),
        ("size", size.map(|size| size.to_string())),
    ];
    let mut options = vec![FsOption::Text("source", Path::new(tag))];
    for (key, value) in &numbers {
        options.extend(value.as_ref().map(|value| FsOption::Text(key, Path::new(value))));
    }
    let mut flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    if spec.read_only {
        flags |= MountAttrFlags::MOUNT_ATTR_RDONLY;
    }
    new_filesystem("tmpfs", &options, flags)
}

fn opened(mount: OwnedFd, directory: bool, fill: Option<(Keep, Filling)>) -> std::io::Result<Tree> {
    let id = mount_id(mount.as_fd())?;
    Ok(Tree::Opened { mount, id, directory, fill })
}
