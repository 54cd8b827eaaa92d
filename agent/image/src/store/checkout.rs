//! An image as a plain directory, for hosts that cannot mount it: the second driver.
//!
//! Files share the objects' blocks where the file system can (reflinks) and are copies where it cannot. Hard links to the
//! objects are not used: a link shares its owner and permissions with every other, and images differ in those.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use berth_sys::fs::{open_dir, unique_name};
use berth_sys::node::{self, Owner, Special};

use super::objects::{Objects, Working};
use super::record::Record;
use super::{Inner, Store, StoreError};
use crate::digest::Digest;
use crate::merge::tree::{Content, Kind, Metadata, NodeId, ROOT, Tree};
use crate::merge::{MergeError, merge};

/// Why an image was not checked out.
#[derive(Debug, thiserror::Error)]
pub enum CheckoutError {
    /// There is no such image.
    #[error("there is no image {0}")]
    NotThere(Digest),
    /// The store.
    #[error("the image cannot be read")]
    Store(#[from] StoreError),
    /// The layers of the store do not make an image any more.
    #[error("the image's layers are damaged: berth image check says more")]
    Merge(#[from] MergeError),
    /// A file could not be made.
    #[error("cannot make {path} of the image", path = path.display())]
    Make {
        /// Inside the image.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Store {
    /// The image as a directory whose ids are the container's; made where it is missing. Blocks.
    pub fn checkout(&self, digest: &Digest) -> Result<PathBuf, CheckoutError> {
        let inner = &self.inner;
        let target = inner.paths.checkout(digest);
        let record = Record::read(&inner.paths.image(digest))?.ok_or(CheckoutError::NotThere(*digest))?;
        if target.is_dir() {
            return Ok(target);
        }
        let _working: Working = inner.objects.work();
        inner.objects.pin(digest);
        let streams: Vec<_> = record.layers.iter().map(|layer| inner.paths.layer(&layer.diff_id)).collect();
        let tree = merge(&streams, &inner.limits)?;
        let scratch = inner.paths.temporary.join(unique_name("checkout-"));
        let made = inner.write_tree(&tree, &scratch);
        let placed = made.and_then(|()| match std::fs::rename(&scratch, &target) {
            // Somebody else was faster.
            Err(_) if target.is_dir() => Ok(()),
            renamed => Ok(renamed.map_err(StoreError::io("rename to", &target))?),
        });
        if scratch.exists() {
            std::fs::remove_dir_all(&scratch).map_err(StoreError::io("remove", &scratch))?;
        }
        placed.map(|()| target)
    }
}

impl Inner {
    fn write_tree(&self, tree: &Tree, scratch: &Path) -> Result<(), CheckoutError> {
        std::fs::create_dir(scratch).map_err(StoreError::io("create", scratch))?;
        let root = open_dir(scratch).map_err(StoreError::from)?;
        let mut writer = Writer { tree, objects: &self.paths.objects, root, names: HashMap::new() };
        writer.all()
    }
}

struct Writer<'t> {
    tree: &'t Tree,
    objects: &'t Path,
    root: OwnedFd,
    /// The first name of each file that was made.
    names: HashMap<NodeId, PathBuf>,
}

impl Writer<'_> {
    /// Directory by directory, without recursion: a tree may be deeper than a stack or a table of descriptors. A
    /// directory's owner and time come last, the deepest first.
    fn all(&mut self) -> Result<(), CheckoutError> {
        let mut pending = vec![(PathBuf::new(), ROOT)];
        let mut made = Vec::new();
        while let Some((path, id)) = pending.pop() {
            let dir = self.open(&path).map_err(at(&path))?;
            for (name, target) in self.tree.names(id).into_iter().flatten() {
                let name = OsStr::from_bytes(name);
                let path = path.join(name);
                if self.tree.names(target.node).is_some() {
                    node::make_dir(dir.as_fd(), name).map_err(at(&path))?;
                    pending.push((path, target.node));
                } else {
                    self.leaf(dir.as_fd(), name, &path, target.node).map_err(at(&path))?;
                }
            }
            made.push((path, id));
        }
        for (path, id) in made.into_iter().rev() {
            let metadata = &self.tree.node(id).metadata;
            let dir = self.open(&path).map_err(at(&path))?;
            let finished = node::finish(dir.as_fd(), metadata.mode, &owner(metadata), &metadata.xattrs);
            finished.map_err(at(&path))?;
        }
        Ok(())
    }

    fn open(&self, path: &Path) -> io::Result<OwnedFd> {
        if path.as_os_str().is_empty() {
            return self.root.try_clone();
        }
        let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::RDONLY;
        let opened = berth_sys::fs::open_beneath(&self.root, path, flags, 0);
        opened.map(OwnedFd::from).map_err(|error| error.source)
    }

    fn leaf(&mut self, dir: BorrowedFd<'_>, name: &OsStr, path: &Path, id: NodeId) -> io::Result<()> {
        if let Some(first) = self.names.get(&id) {
            let parent = self.open(first.parent().unwrap_or(Path::new("")))?;
            let old = first.file_name().unwrap_or_default();
            return node::make_link(parent.as_fd(), old, dir, name);
        }
        let found = self.tree.node(id);
        let (metadata, owner) = (&found.metadata, owner(&found.metadata));
        match &found.kind {
            Kind::File(content) => self.file(dir, name, content, metadata)?,
            Kind::Symlink(target) => node::make_symlink(dir, name, OsStr::from_bytes(target), &owner)?,
            // Overlay would take it for a whiteout; it is shown as the other driver shows it.
            Kind::Character(0) => {
                return self.file(dir, name, &Content::Inline(Box::default()), metadata);
            }
            Kind::Character(device) => {
                node::make_special(dir, name, Special::Character(*device), metadata.mode, &owner)?;
            }
            Kind::Block(device) => {
                node::make_special(dir, name, Special::Block(*device), metadata.mode, &owner)?;
            }
            Kind::Fifo => node::make_special(dir, name, Special::Fifo, metadata.mode, &owner)?,
            Kind::Directory(_) => return Err(io::Error::other("a directory has two names")),
        }
        self.names.insert(id, path.to_owned());
        Ok(())
    }

    fn file(
        &self,
        dir: BorrowedFd<'_>,
        name: &OsStr,
        content: &Content,
        metadata: &Metadata,
    ) -> io::Result<()> {
        let mut file = node::make_file(dir, name)?;
        match content {
            Content::Inline(bytes) => file.write_all(bytes)?,
            Content::External(object, size) => {
                let mut source = File::open(self.objects.join(Objects::name(object)))?;
                if !node::reflink(&file, &source)? && io::copy(&mut source, &mut file)? != *size {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "its object is damaged"));
                }
            }
        }
        node::finish(file.as_fd(), metadata.mode, &owner(metadata), &metadata.xattrs)
    }
}

fn owner(metadata: &Metadata) -> Owner {
    Owner { uid: metadata.uid, gid: metadata.gid, mtime: (metadata.mtime, metadata.mtime_nanos) }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> CheckoutError {
    let path = path.to_owned();
    move |source| CheckoutError::Make { path, source }
}
