//! A tiny image, in both of the forms that a root file system is made from, to find out what a host can mount.

use std::io;
use std::path::Path;

use crate::digest::Digest;
use crate::import::verity::Verity;
use crate::merge::MergeError;
use crate::merge::tree::{Content, Kind, Metadata, ROOT, Tree};
use crate::store::objects::Objects;

/// The file of the image, below its root.
pub const FILE: &str = "file";
/// Whose it is, as an instance sees it.
pub const OWNER: u32 = 7;

/// Why the image was not written.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// A file of it.
    #[error("cannot write the probe's image")]
    Write(#[from] io::Error),
    /// Its tree.
    #[error("cannot make the probe's image")]
    Tree(#[from] MergeError),
}

/// What the file holds: more than stays in the tree itself, so that an object is needed.
pub fn content() -> Vec<u8> {
    b"berth".iter().copied().cycle().take(4096).collect()
}

/// Writes `image.erofs`, `objects/` and `plain/` into a directory.
pub fn write(dir: &Path) -> Result<(), ProbeError> {
    let bytes = content();
    let object: Digest = Verity::of(&bytes);
    let metadata =
        Metadata { mode: 0o644, uid: OWNER, gid: OWNER, mtime: 1, mtime_nanos: 0, xattrs: Vec::new() };
    let mut tree = Tree::new();
    let file = tree.add(metadata, Kind::File(Content::External(object, bytes.len() as u64)));
    tree.put(ROOT, FILE.as_bytes(), file, 1);
    std::fs::write(dir.join("image.erofs"), crate::erofs::write(&tree)?)?;
    let path = dir.join("objects").join(Objects::name(&object));
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(&path, &bytes)?;
    std::fs::create_dir(dir.join("plain"))?;
    let plain = dir.join("plain").join(FILE);
    std::fs::write(&plain, &bytes)?;
    std::os::unix::fs::chown(&plain, Some(OWNER), Some(OWNER))?;
    Ok(())
}
