//! One layer, applied to the tree of those below it.

use std::collections::VecDeque;

use super::MergeError;
use super::tree::{Content, Kind, Metadata, NodeId, ROOT, Tree};
use crate::import::limits::Limits;
use crate::import::tar::{Entry, EntryKind, display};

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// What aufs kept for itself; Docker passes it over.
const AUFS: &[u8] = b".wh..wh.";
const NAME_MAX: usize = 255;
/// As in the kernel.
const MAX_LINKS: usize = 40;

/// A layer on its way into the tree.
pub(super) struct Layer<'t> {
    tree: &'t mut Tree,
    number: usize,
    limits: &'t Limits,
}

/// A path that was resolved down to its directory: the directories from the root, and their names.
struct Location {
    directories: Vec<NodeId>,
    names: Vec<Box<[u8]>>,
}

impl Location {
    fn root() -> Self {
        Self { directories: vec![ROOT], names: Vec::new() }
    }

    fn directory(&self) -> NodeId {
        self.directories.last().copied().unwrap_or(ROOT)
    }

    fn enter(&mut self, name: &[u8], directory: NodeId) {
        self.directories.push(directory);
        self.names.push(name.into());
    }

    /// `..`, which stops at the root.
    fn leave(&mut self) {
        if self.names.pop().is_some() {
            self.directories.pop();
        }
    }
}

/// Whether directories that are not there are made on the way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Make,
    Leave,
}

impl<'t> Layer<'t> {
    pub(super) fn new(tree: &'t mut Tree, number: usize, limits: &'t Limits) -> Self {
        Self { tree, number, limits }
    }

    /// Applies one entry; `content` is a regular file's.
    pub(super) fn apply(&mut self, entry: Entry, content: Option<Content>) -> Result<(), MergeError> {
        let components = self.components(&entry.path)?;
        let Some((name, parents)) = components.split_last() else {
            return self.apply_root(&entry);
        };
        if name.starts_with(WHITEOUT) {
            return self.whiteout(&entry.path, parents, name);
        }
        let Some(parent) = self.resolve(&entry.path, parents, Missing::Make)? else {
            return Ok(());
        };
        if parent.names.len() as u64 >= self.limits.max_depth {
            return Err(self.limit(&entry.path, "max_depth", self.limits.max_depth));
        }
        if self.tree.len() as u64 >= self.limits.max_nodes {
            return Err(self.limit(&entry.path, "max_nodes", self.limits.max_nodes));
        }
        let node = self.node(&parent, name, &entry, content)?;
        self.tree.put(parent.directory(), name, node, self.stamp());
        self.touch(&parent);
        Ok(())
    }

    /// The node that the entry's name is to have: a new one, or a directory that is kept, or a hard link's target.
    fn node(
        &mut self,
        parent: &Location,
        name: &[u8],
        entry: &Entry,
        content: Option<Content>,
    ) -> Result<NodeId, MergeError> {
        if let EntryKind::Hardlink(target) = &entry.kind {
            return self.hardlink_target(&entry.path, target);
        }
        let kind = match &entry.kind {
            EntryKind::Directory => {
                let existing = self.tree.lookup(parent.directory(), name).map(|name| name.node);
                if let Some(existing) = existing.filter(|node| self.tree.names(*node).is_some()) {
                    self.tree.node_mut(existing).metadata = metadata(entry);
                    return Ok(existing);
                }
                Kind::Directory(std::collections::BTreeMap::new())
            }
            EntryKind::File | EntryKind::Hardlink(_) => {
                Kind::File(content.unwrap_or_else(|| Content::Inline(Box::default())))
            }
            EntryKind::Symlink(target) => Kind::Symlink(target.as_slice().into()),
            EntryKind::Character(device) => Kind::Character(*device),
            EntryKind::Block(device) => Kind::Block(*device),
            EntryKind::Fifo => Kind::Fifo,
        };
        Ok(self.tree.add(metadata(entry), kind))
    }

    fn apply_root(&mut self, entry: &Entry) -> Result<(), MergeError> {
        if entry.kind != EntryKind::Directory {
            return Err(MergeError::RootNotDirectory { layer: self.number, path: display(&entry.path) });
        }
        self.tree.node_mut(ROOT).metadata = metadata(entry);
        Ok(())
    }

    fn hardlink_target(&mut self, path: &[u8], target: &[u8]) -> Result<NodeId, MergeError> {
        let missing = || MergeError::HardlinkTarget {
            layer: self.number,
            path: display(path),
            target: display(target),
        };
        let components = self.components(target).map_err(|_| missing())?;
        let (name, parents) = components.split_last().ok_or_else(missing)?;
        let parent = self.resolve(path, parents, Missing::Leave)?;
        let found = parent.and_then(|parent| self.tree.lookup(parent.directory(), name));
        let found = found.filter(|name| self.tree.names(name.node).is_none());
        found.map(|name| name.node).ok_or_else(|| MergeError::HardlinkTarget {
            layer: self.number,
            path: display(path),
            target: display(target),
        })
    }

    fn whiteout(&mut self, path: &[u8], parents: &[&[u8]], name: &[u8]) -> Result<(), MergeError> {
        let victim = name.strip_prefix(WHITEOUT).unwrap_or_default();
        if name != OPAQUE && name.starts_with(AUFS) {
            return Ok(());
        }
        if matches!(victim, b"" | b"." | b"..") {
            return Err(MergeError::Whiteout { layer: self.number, path: display(path) });
        }
        // Where there is no such directory there is nothing to take away.
        let Some(parent) = self.resolve(path, parents, Missing::Leave)? else { return Ok(()) };
        let directory = parent.directory();
        if name == OPAQUE {
            self.clear_lower(directory);
            return Ok(());
        }
        match self.tree.lookup(directory, victim) {
            // This layer has put something here or below: that stays.
            Some(found) if found.layer == self.stamp() => self.clear_lower(found.node),
            Some(_) => {
                self.tree.names_mut(directory).map(|names| names.remove(victim));
            }
            None => {}
        }
        Ok(())
    }

    /// Takes away what lower layers put below a directory.
    fn clear_lower(&mut self, directory: NodeId) {
        let stamp = self.stamp();
        let mut pending = VecDeque::from([directory]);
        while let Some(directory) = pending.pop_front() {
            if let Some(names) = self.tree.names_mut(directory) {
                names.retain(|_, name| name.layer == stamp);
                pending.extend(names.values().map(|name| name.node));
            }
        }
    }

    /// Splits a path; what would leave the image is refused.
    fn components<'p>(&self, path: &'p [u8]) -> Result<Vec<&'p [u8]>, MergeError> {
        let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
        let components: Vec<_> = parts.collect();
        if components.contains(&&b".."[..]) {
            return Err(MergeError::ParentInPath { layer: self.number, path: display(path) });
        }
        if components.iter().any(|part| part.len() > NAME_MAX) {
            return Err(MergeError::NameTooLong { layer: self.number, path: display(path) });
        }
        Ok(components)
    }

    /// Walks to a directory inside the tree, through symbolic links where there are some. `None` where it is missing
    /// and is not to be made.
    fn resolve(
        &mut self,
        path: &[u8],
        parents: &[&[u8]],
        missing: Missing,
    ) -> Result<Option<Location>, MergeError> {
        let mut location = Location::root();
        let mut pending: VecDeque<Box<[u8]>> = parents.iter().map(|part| Box::from(*part)).collect();
        let mut links = 0;
        while let Some(part) = pending.pop_front() {
            match &*part {
                b"" | b"." => continue,
                b".." => {
                    location.leave();
                    continue;
                }
                _ => {}
            }
            if part.starts_with(WHITEOUT) {
                return Err(MergeError::Whiteout { layer: self.number, path: display(path) });
            }
            let Some(found) = self.tree.lookup(location.directory(), &part) else {
                if missing == Missing::Leave {
                    return Ok(None);
                }
                self.make_directory(path, &mut location, &part)?;
                continue;
            };
            match &self.tree.node(found.node).kind {
                Kind::Directory(_) => location.enter(&part, found.node),
                Kind::Symlink(target) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(MergeError::TooManyLinks { layer: self.number, path: display(path) });
                    }
                    if target.starts_with(b"/") {
                        location = Location::root();
                    }
                    for part in target.split(|byte| *byte == b'/').rev() {
                        pending.push_front(part.into());
                    }
                }
                _ if missing == Missing::Leave => return Ok(None),
                _ => {
                    return Err(MergeError::NotADirectory {
                        layer: self.number,
                        path: display(path),
                        parent: display(&part),
                    });
                }
            }
        }
        Ok(Some(location))
    }

    fn make_directory(
        &mut self,
        path: &[u8],
        location: &mut Location,
        name: &[u8],
    ) -> Result<(), MergeError> {
        if name.len() > NAME_MAX {
            return Err(MergeError::NameTooLong { layer: self.number, path: display(path) });
        }
        if location.names.len() as u64 >= self.limits.max_depth {
            return Err(self.limit(path, "max_depth", self.limits.max_depth));
        }
        let kind = Kind::Directory(std::collections::BTreeMap::new());
        let directory = self.tree.add(Metadata::implicit_directory(), kind);
        self.tree.put(location.directory(), name, directory, self.stamp());
        location.enter(name, directory);
        Ok(())
    }

    /// Marks the way to an entry as this layer's, so that a whiteout of this layer spares it.
    fn touch(&mut self, location: &Location) {
        let stamp = self.stamp();
        for (directory, name) in location.directories.iter().zip(&location.names) {
            if let Some(name) = self.tree.names_mut(*directory).and_then(|names| names.get_mut(name)) {
                name.layer = stamp;
            }
        }
    }

    fn stamp(&self) -> u32 {
        u32::try_from(self.number).unwrap_or(u32::MAX)
    }

    fn limit(&self, path: &[u8], name: &'static str, limit: u64) -> MergeError {
        MergeError::Limit { layer: self.number, path: display(path), name, limit }
    }
}

fn metadata(entry: &Entry) -> Metadata {
    let takes_user = matches!(entry.kind, EntryKind::File | EntryKind::Directory);
    let kept = entry.xattrs.iter().filter(|(name, _)| is_kept(name, takes_user));
    Metadata {
        mode: if matches!(entry.kind, EntryKind::Symlink(_)) { 0o777 } else { entry.mode },
        uid: entry.uid,
        gid: entry.gid,
        mtime: entry.mtime,
        mtime_nanos: entry.mtime_nanos,
        xattrs: kept.cloned().collect(),
    }
}

/// File capabilities and what users keep. Labels of security modules and `trusted.*` belong to a host, and overlay's
/// own would change what a mount shows.
fn is_kept(name: &[u8], takes_user: bool) -> bool {
    name == b"security.capability"
        || (takes_user && name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
}
