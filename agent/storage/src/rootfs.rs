//! Mounts a root file system for one instance.
//!
//! The image's tree is an EROFS file, mounted straight from the file and ID-mapped to the instance's range of ids. Over it
//! lies one overlay: the object store is its data layer, the instance's own directory its upper one. Nothing is copied and
//! nothing is changed on disk, so that two instances of an image share every page.
//!
//! To be called in a mount namespace of the caller's own: the mounts go when it goes.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::{Path, PathBuf};

use berth_sys::mount::{FsOption, attach, map_ids, new_filesystem};
use rustix::mount::MountAttrFlags;
use serde::{Deserialize, Serialize};

/// The directories that make a root file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootfsSpec {
    /// What lies below.
    pub lower: Lower,
    /// The instance's own changes.
    pub upper: PathBuf,
    /// Overlay's scratch directory, on the file system of `upper`.
    pub work: PathBuf,
}

/// The part of a root file system that instances share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Lower {
    /// An EROFS metadata image and the object store that holds the files' contents.
    Erofs {
        /// The image's file.
        image: PathBuf,
        /// The store's directory of objects.
        objects: PathBuf,
    },
    /// A plain directory whose ids are the container's.
    Directory {
        /// The directory.
        path: PathBuf,
    },
}

/// Which step of a mount failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// The upper and work directories.
    #[error("prepare the directory")]
    Directories,
    /// The image's EROFS file.
    #[error("mount the image")]
    Image,
    /// Its ID map.
    #[error("ID-map the image")]
    IdMap,
    /// The overlay.
    #[error("mount the overlay at")]
    Overlay,
    /// Putting it in its place.
    #[error("attach the root file system at")]
    Attach,
}

/// Why a root file system could not be mounted.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step} {}", path.display())]
pub struct RootfsError {
    /// What was being done.
    pub step: Step,
    /// On what.
    pub path: PathBuf,
    /// What the kernel said.
    #[source]
    pub source: io::Error,
}

/// Mounts `spec` at `target`. `root` is the host's id of the instance's root, who owns the upper directory. Without a user
/// namespace the image's ids are the host's.
///
/// # Errors
/// The step that failed, on what, and what the kernel said.
pub fn mount(
    spec: &RootfsSpec,
    user_namespace: Option<BorrowedFd<'_>>,
    root: u32,
    target: &Path,
) -> Result<(), RootfsError> {
    prepare(&spec.upper, root)?;
    prepare(&spec.work, root)?;
    let lower = mount_lower(&spec.lower, user_namespace)?;
    let overlay = mount_overlay(spec, &lower, target)?;
    attach(overlay.as_fd(), target).map_err(failed(Step::Attach, target))
}

fn prepare(directory: &Path, root: u32) -> Result<(), RootfsError> {
    match fs::DirBuilder::new().mode(0o755).create(directory) {
        Ok(()) => chown(directory, Some(root), Some(root)).map_err(failed(Step::Directories, directory)),
        // It was used before: what its owner made of it stays.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed(Step::Directories, directory)(error)),
    }
}

fn mount_lower(lower: &Lower, user_namespace: Option<BorrowedFd<'_>>) -> Result<OwnedFd, RootfsError> {
    let (path, mount) = match lower {
        Lower::Erofs { image, .. } => {
            let attributes = MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_RDONLY;
            (
                image,
                new_filesystem("erofs", &[FsOption::Flag("ro"), FsOption::Text("source", image)], attributes),
            )
        }
        Lower::Directory { path } => (path, berth_sys::mount::clone_tree(path, false)),
    };
    let mount = mount.map_err(failed(Step::Image, path))?;
    if let Some(user_namespace) = user_namespace {
        map_ids(mount.as_fd(), user_namespace).map_err(failed(Step::IdMap, path))?;
    }
    Ok(mount)
}

fn mount_overlay(spec: &RootfsSpec, lower: &OwnedFd, target: &Path) -> Result<OwnedFd, RootfsError> {
    match overlay(spec, &FsOption::Fd("lowerdir+", lower.as_fd())) {
        // Before Linux 6.15 a layer must be attached somewhere: the target serves, and the overlay then covers it.
        Err(error) if error.raw_os_error() == Some(libc_einval()) => {
            attach(lower.as_fd(), target).map_err(failed(Step::Attach, target))?;
            overlay(spec, &FsOption::Text("lowerdir+", target))
        }
        made => made,
    }
    .map_err(failed(Step::Overlay, target))
}

fn libc_einval() -> i32 {
    rustix::io::Errno::INVAL.raw_os_error()
}

fn overlay(spec: &RootfsSpec, lower: &FsOption<'_>) -> io::Result<OwnedFd> {
    let mut options = Vec::with_capacity(6);
    options.push(match lower {
        FsOption::Fd(key, fd) => FsOption::Fd(key, *fd),
        FsOption::Text(key, path) => FsOption::Text(key, path),
        FsOption::Flag(key) => FsOption::Flag(key),
    });
    if let Lower::Erofs { objects, .. } = &spec.lower {
        options.push(FsOption::Text("datadir+", objects));
        options.push(FsOption::Text("metacopy", Path::new("on")));
        options.push(FsOption::Text("redirect_dir", Path::new("on")));
    }
    options.push(FsOption::Text("upperdir", &spec.upper));
    options.push(FsOption::Text("workdir", &spec.work));
    options.push(FsOption::Text("source", Path::new("berth")));
    new_filesystem("overlay", &options, MountAttrFlags::MOUNT_ATTR_NODEV)
}

fn failed(step: Step, path: &Path) -> impl FnOnce(io::Error) -> RootfsError {
    let path = path.to_owned();
    move |source| RootfsError { step, path, source }
}
