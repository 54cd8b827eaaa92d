//! What is mounted in an instance beside its root file system, and may change while it runs.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountSpec {
    /// What it is told from others by.
    pub name: String,
    /// Where it is inside: absolute, and without `.` and `..`.
    pub target: PathBuf,
    /// Whether it cannot be written inside.
    #[serde(default)]
    pub read_only: bool,
    /// What it is.
    pub source: MountSource,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum MountSource {
    /// A volume: the instance sees its files with its own ids. One that was never used is filled with what the root file
    /// system has at the target.
    Volume {
        /// Its directory, as `berth_storage::volume` makes it.
        directory: PathBuf,
        /// What its root keeps when it is filled.
        #[serde(default)]
        keep: Keep,
    },
    /// A file or directory of the host's.
    Bind {
        /// As it was asked for.
        requested: PathBuf,
        /// Where that leads to: no component of it is a link.
        path: PathBuf,
        /// Whether the instance sees its files with the ids that they have on the host.
        id_mapped: bool,
    },
    /// A device node of the host's.
    Device {
        /// As it was asked for.
        requested: PathBuf,
        /// Where that leads to.
        path: PathBuf,
        /// A block device; else a character device.
        block: bool,
        /// Its number, major and minor: another one under the same path is another device.
        #[serde(default)]
        number: Option<(u32, u32)>,
        /// Who owns it, inside.
        uid: u32,
        /// Its group, inside.
        gid: u32,
        /// Its permissions.
        mode: u32,
        /// Without it, the instance goes on.
        optional: bool,
        /// Some of "rwm": reading, writing, making a node of it; absent is all.
        #[serde(default)]
        permissions: Option<String>,
    },
    /// An empty file system in memory.
    Tmpfs {
        /// Bytes; absent: half of the host's memory.
        #[serde(default)]
        size: Option<u64>,
        /// Who owns its root, inside.
        uid: u32,
        /// The group of its root, inside.
        gid: u32,
        /// The permissions of its root.
        mode: u32,
    },
}

/// What a volume's root has been given by its user, and is not the image's to say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keep {
    /// Its owner.
    pub uid: bool,
    /// Its group.
    pub gid: bool,
    /// Its permissions.
    pub mode: bool,
}
