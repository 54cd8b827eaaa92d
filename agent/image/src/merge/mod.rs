//! The layers of an image, merged in memory into one tree by the rules of the OCI image specification.
//!
//! Layers are applied in order, entries in the order of their tar stream. A whiteout takes away what lower layers put
//! there and leaves what its own layer put there, before it or after it. A path is resolved in the tree alone: symbolic
//! links on its way are followed inside the tree, where `/` is the image's root and `..` stops at it.

mod apply;
pub(crate) mod tree;

use std::io;
use std::path::PathBuf;

use crate::digest::Digest;
use crate::import::INLINE_MAX;
use crate::import::limits::Limits;
use crate::import::split::SplitReader;
use crate::import::tar::{EntryKind, TarError, TarReader};
use crate::merge::apply::Layer;
use crate::merge::tree::{Content, Tree};

/// Why layers could not be merged. Each names the layer (counted from 1) and the path.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// A path with `..`.
    #[error("layer {layer} has the path {path:?}, which would leave its directory")]
    ParentInPath {
        /// Counted from 1.
        layer: usize,
        /// The path.
        path: String,
    },
    /// A component that no file system takes.
    #[error("layer {layer} has the path {path:?}, a component of which is longer than 255 bytes")]
    NameTooLong {
        /// Counted from 1.
        layer: usize,
        /// The path.
        path: String,
    },
    /// The root as something else than a directory (CVE-2021-29136).
    #[error("layer {layer} makes the root {path:?} something else than a directory")]
    RootNotDirectory {
        /// Counted from 1.
        layer: usize,
        /// The path.
        path: String,
    },
    /// A path below a file.
    #[error("layer {layer} has the path {path:?}, but {parent:?} on its way is not a directory")]
    NotADirectory {
        /// Counted from 1.
        layer: usize,
        /// The path.
        path: String,
        /// What is in the way.
        parent: String,
    },
    /// A hard link whose target is not in the tree.
    #[error("layer {layer} has the hard link {path:?} to {target:?}, which is not a file of the image")]
    HardlinkTarget {
        /// Counted from 1.
        layer: usize,
        /// The link.
        path: String,
        /// Its target.
        target: String,
    },
    /// A whiteout of nothing, of `.` or `..`, or used as a directory.
    #[error("layer {layer} has the malformed whiteout {path:?}")]
    Whiteout {
        /// Counted from 1.
        layer: usize,
        /// The path.
        path: String,
    },
    /// Symbolic links that go round.
    #[error("layer {layer} has the path {path:?}, which leads through too many symbolic links")]
    TooManyLinks {
        /// Counted from 1.
        layer: usize,
        /// The path.
        path: String,
    },
    /// Over one of [`Limits`].
    #[error("layer {layer} brings the image over the limit {name} of {limit} at {path:?}")]
    Limit {
        /// Counted from 1.
        layer: usize,
        /// The path.
        path: String,
        /// The limit's name.
        name: &'static str,
        /// Its value.
        limit: u64,
    },
    /// A stored layer that cannot be read as a tar stream.
    #[error("layer {layer} is refused")]
    Tar {
        /// Counted from 1.
        layer: usize,
        /// Why.
        #[source]
        source: TarError,
    },
    /// A stored layer that cannot be read.
    #[error("cannot read {path} of the image store", path = path.display())]
    Read {
        /// The header stream.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The tree cannot be written as an EROFS image.
    #[error("the image's tree cannot be written: {0}")]
    Erofs(String),
}

/// Merges the layers whose header streams these are, the lowest first.
pub(crate) fn merge(streams: &[PathBuf], limits: &Limits) -> Result<Tree, MergeError> {
    let mut tree = Tree::new();
    for (index, path) in streams.iter().enumerate() {
        let reader =
            SplitReader::open(path).map_err(|source| MergeError::Read { path: path.clone(), source })?;
        merge_layer(&mut tree, index + 1, TarReader::new(reader, limits), limits)?;
    }
    Ok(tree)
}

fn merge_layer(
    tree: &mut Tree,
    number: usize,
    mut tar: TarReader<'_, SplitReader>,
    limits: &Limits,
) -> Result<(), MergeError> {
    let refused = |source| MergeError::Tar { layer: number, source };
    let mut layer = Layer::new(tree, number, limits);
    while let Some(entry) = tar.next_entry().map_err(refused)? {
        let content = if entry.kind != EntryKind::File {
            None
        } else if entry.size <= INLINE_MAX {
            Some(Content::Inline(tar.read_body(&entry).map_err(refused)?.into()))
        } else {
            let object = tar.source_mut().external(entry.size);
            let object = object.map_err(|source| refused(TarError::Read(source)))?;
            tar.skip_padding(&entry).map_err(refused)?;
            Some(Content::External(object, entry.size))
        };
        layer.apply(entry, content)?;
    }
    Ok(())
}

/// Merges one tar stream as if it were a stored layer; its larger files are all taken for empty objects. For fuzzing: no
/// bytes may make it panic, and what it takes must be written.
pub(crate) fn merge_stream(
    tree: &mut Tree,
    number: usize,
    tar: &[u8],
    limits: &Limits,
) -> Result<(), MergeError> {
    let refused = |source| MergeError::Tar { layer: number, source };
    let mut tar = TarReader::new(tar, limits);
    let mut layer = Layer::new(tree, number, limits);
    while let Some(entry) = tar.next_entry().map_err(refused)? {
        let content = match entry.kind {
            EntryKind::File if entry.size <= INLINE_MAX => {
                Some(Content::Inline(tar.read_body(&entry).map_err(refused)?.into()))
            }
            EntryKind::File => {
                tar.skip_body(&entry).map_err(refused)?;
                Some(Content::External(Digest::from_bytes([0; 32]), entry.size))
            }
            _ => None,
        };
        layer.apply(entry, content)?;
    }
    Ok(())
}

/// Every object a tree needs, each once or more.
pub(crate) fn objects_of(stream: &std::path::Path, each: impl FnMut(Digest, u64)) -> io::Result<()> {
    SplitReader::open(stream)?.objects(each)
}
