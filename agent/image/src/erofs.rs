//! The merged tree as one EROFS image: metadata, small files, and redirects to objects for the rest.
//!
//! The composefs crate writes it. A file's content is found by overlay through `trusted.overlay.redirect` in a data-only
//! layer that is the object directory; a whiteout device of the image itself is escaped, so that it hides nothing.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use composefs::erofs::writer::{ValidatedFileSystem, mkfs_erofs};
use composefs::fsverity::{FsVerityHashValue, Sha256HashValue};
use composefs::generic_tree::{LeafContent, LeafId, Stat};
use composefs::tree::{Directory, FileSystem, Inode, RegularFile};

use crate::merge::MergeError;
use crate::merge::tree::{Content, Kind, Metadata, NodeId, ROOT, Tree};

/// Enough for the composefs crate's recursion at the deepest tree that the merge allows.
const STACK: usize = 32 * 1024 * 1024;

/// Writes the image into memory: it holds no file of more than a few hundred bytes.
pub(crate) fn write(tree: &Tree) -> Result<Box<[u8]>, MergeError> {
    let failed = |error: &dyn std::fmt::Display| MergeError::Erofs(error.to_string());
    std::thread::scope(|scope| {
        let writer = std::thread::Builder::new().name("erofs".to_owned()).stack_size(STACK);
        let writer = writer.spawn_scoped(scope, || write_here(tree)).map_err(|error| failed(&error))?;
        writer.join().unwrap_or_else(|_| Err(failed(&"the writer refused the tree")))
    })
}

fn write_here(tree: &Tree) -> Result<Box<[u8]>, MergeError> {
    let mut writer =
        Converter { tree, files: FileSystem::new(stat(&tree.node(ROOT).metadata)), leaves: HashMap::new() };
    let root = writer.directory(ROOT)?;
    let mut files = writer.files;
    files.root = root;
    let valid = ValidatedFileSystem::new(files).map_err(|error| MergeError::Erofs(format!("{error:#}")))?;
    Ok(mkfs_erofs(&valid))
}

struct Converter<'t> {
    tree: &'t Tree,
    files: FileSystem<Sha256HashValue>,
    leaves: HashMap<NodeId, LeafId>,
}

impl Converter<'_> {
    fn directory(&mut self, id: NodeId) -> Result<Directory<Sha256HashValue>, MergeError> {
        let mut directory = Directory::new(stat(&self.tree.node(id).metadata));
        for (name, target) in self.tree.names(id).into_iter().flatten() {
            let inode = if self.tree.names(target.node).is_some() {
                Inode::Directory(Box::new(self.directory(target.node)?))
            } else {
                Inode::leaf(self.leaf(target.node)?)
            };
            directory.insert(OsStr::from_bytes(name), inode);
        }
        Ok(directory)
    }

    fn leaf(&mut self, id: NodeId) -> Result<LeafId, MergeError> {
        let node = self.tree.node(id);
        // A whiteout device cannot have two names in an overlay's lower layer: each name gets one of its own.
        let shared = !matches!(node.kind, Kind::Character(0));
        if let Some(leaf) = self.leaves.get(&id).filter(|_| shared) {
            return Ok(*leaf);
        }
        let content = match &node.kind {
            Kind::File(Content::Inline(bytes)) => LeafContent::Regular(RegularFile::Inline(bytes.clone())),
            Kind::File(Content::External(object, size)) => {
                let object = Sha256HashValue::from_hex(object.hex());
                let object = object.map_err(|error| MergeError::Erofs(error.to_string()))?;
                LeafContent::Regular(RegularFile::External(object, *size))
            }
            Kind::Symlink(target) => LeafContent::Symlink(OsStr::from_bytes(target).into()),
            Kind::Character(device) => LeafContent::CharacterDevice(u64::from(*device)),
            Kind::Block(device) => LeafContent::BlockDevice(u64::from(*device)),
            Kind::Fifo => LeafContent::Fifo,
            // The caller has looked: only leaves come here.
            Kind::Directory(_) => return Err(MergeError::Erofs("a directory has two names".to_owned())),
        };
        let leaf = self.files.push_leaf(stat(&node.metadata), content);
        self.leaves.insert(id, leaf);
        Ok(leaf)
    }
}

fn stat(metadata: &Metadata) -> Stat {
    let xattrs: BTreeMap<Box<OsStr>, Box<[u8]>> = metadata
        .xattrs
        .iter()
        .map(|(name, value)| (OsStr::from_bytes(name).into(), value.as_slice().into()))
        .collect();
    Stat {
        st_mode: metadata.mode,
        st_uid: metadata.uid,
        st_gid: metadata.gid,
        st_mtim_sec: metadata.mtime,
        st_mtim_nsec: metadata.mtime_nanos,
        xattrs,
    }
}
