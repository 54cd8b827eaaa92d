//! The merged tree: nodes in one table, names in directories. Two names of one node are a hard link.

use std::collections::BTreeMap;

use crate::digest::Digest;

/// Index of a node in its tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct NodeId(u32);

pub(crate) const ROOT: NodeId = NodeId(0);

/// What a file, a directory or a device is beside its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: i64,
    pub mtime_nanos: u32,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Metadata {
    /// Of a directory that no layer has an entry for.
    pub(crate) fn implicit_directory() -> Self {
        Self { mode: 0o755, uid: 0, gid: 0, mtime: 0, mtime_nanos: 0, xattrs: Vec::new() }
    }
}

/// The content of a regular file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    Inline(Box<[u8]>),
    External(Digest, u64),
}

#[derive(Debug)]
pub(crate) enum Kind {
    Directory(BTreeMap<Box<[u8]>, Name>),
    File(Content),
    Symlink(Box<[u8]>),
    Character(u32),
    Block(u32),
    Fifo,
}

/// A name in a directory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Name {
    pub node: NodeId,
    /// The last layer that put something here or below.
    pub layer: u32,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub metadata: Metadata,
    pub kind: Kind,
}

/// A tree. Nodes that lost their last name stay in the table and are never seen again.
#[derive(Debug)]
pub(crate) struct Tree {
    nodes: Vec<Node>,
}

impl Tree {
    /// An empty root.
    pub(crate) fn new() -> Self {
        let root = Node { metadata: Metadata::implicit_directory(), kind: Kind::Directory(BTreeMap::new()) };
        Self { nodes: vec![root] }
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    pub(crate) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.0 as usize]
    }

    pub(crate) fn add(&mut self, metadata: Metadata, kind: Kind) -> NodeId {
        // The limit on nodes is far below this.
        let id = NodeId(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        self.nodes.push(Node { metadata, kind });
        id
    }

    /// The names in a directory; `None` for anything else.
    pub(crate) fn names(&self, id: NodeId) -> Option<&BTreeMap<Box<[u8]>, Name>> {
        match &self.node(id).kind {
            Kind::Directory(names) => Some(names),
            _ => None,
        }
    }

    pub(crate) fn names_mut(&mut self, id: NodeId) -> Option<&mut BTreeMap<Box<[u8]>, Name>> {
        match &mut self.node_mut(id).kind {
            Kind::Directory(names) => Some(names),
            _ => None,
        }
    }

    pub(crate) fn lookup(&self, directory: NodeId, name: &[u8]) -> Option<Name> {
        self.names(directory)?.get(name).copied()
    }

    pub(crate) fn put(&mut self, directory: NodeId, name: &[u8], node: NodeId, layer: u32) {
        if let Some(names) = self.names_mut(directory) {
            names.insert(name.into(), Name { node, layer });
        }
    }
}
