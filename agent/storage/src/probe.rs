//! Finds out what the host can mount, by mounting it: a tiny image in both forms, under an overlay, ID-mapped.
//!
//! To be called in a mount namespace of the caller's own.

use std::fs;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::rootfs::{Lower, RootfsError, RootfsSpec, mount};

/// Where the image lies and what its one file is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeSpec {
    /// Holds `image.erofs`, `objects` and `plain`; the probe writes below it.
    pub dir: PathBuf,
    /// The file's name.
    pub file: String,
    /// Its bytes.
    pub size: u64,
    /// Whose it is inside.
    pub owner: u32,
    /// The host's id of the instance's root.
    pub host_base: u32,
}

/// What cannot be done, and why; nothing where it can.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probed {
    /// EROFS from a file under an overlay with a data-only layer.
    pub erofs: Option<String>,
    /// A plain directory under an overlay.
    pub directory: Option<String>,
}

/// Why a form cannot be used.
#[derive(Debug, thiserror::Error)]
enum ProbeError {
    #[error("{0}: {source}", source = .0.source)]
    Mount(RootfsError),
    #[error("cannot {operation} {}: {source}", path.display())]
    File { operation: &'static str, path: PathBuf, source: io::Error },
    #[error("{} has {what}", path.display())]
    Wrong { path: PathBuf, what: String },
}

/// Tries both.
pub fn probe(spec: &ProbeSpec, user_namespace: Option<BorrowedFd<'_>>) -> Probed {
    let erofs = Lower::Erofs { image: spec.dir.join("image.erofs"), objects: spec.dir.join("objects") };
    let directory = Lower::Directory { path: spec.dir.join("plain") };
    let why = |name, lower| try_one(spec, name, lower, user_namespace).err().map(|error| error.to_string());
    Probed { erofs: why("erofs", erofs), directory: why("directory", directory) }
}

fn try_one(
    spec: &ProbeSpec,
    name: &str,
    lower: Lower,
    user_namespace: Option<BorrowedFd<'_>>,
) -> Result<(), ProbeError> {
    let place = spec.dir.join(name);
    let target = place.join("root");
    fs::create_dir_all(&target).map_err(at("make", &target))?;
    let rootfs = RootfsSpec { lower, upper: place.join("upper"), work: place.join("work") };
    mount(&rootfs, user_namespace, spec.host_base, &target).map_err(ProbeError::Mount)?;
    let file = target.join(&spec.file);
    let metadata = fs::metadata(&file).map_err(at("look at", &file))?;
    let mapped = spec.host_base + spec.owner;
    if metadata.uid() != mapped {
        let what = format!("the owner {} and not {mapped}", metadata.uid());
        return Err(ProbeError::Wrong { path: file, what });
    }
    let read = fs::read(&file).map_err(at("read", &file))?;
    if read.len() as u64 != spec.size {
        return Err(ProbeError::Wrong { path: file, what: format!("{} bytes", read.len()) });
    }
    // A change goes up: what an instance does first.
    let options = fs::File::options().append(true).open(&file).map_err(at("change", &file))?;
    io::Write::write_all(&mut &options, b"changed").map_err(at("change", &file))?;
    fs::remove_file(&file).map_err(at("remove", &file))
}

fn at(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ProbeError {
    let path = path.to_owned();
    move |source| ProbeError::File { operation, path, source }
}
