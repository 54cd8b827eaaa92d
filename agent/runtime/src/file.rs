//! Files that the agent writes into an instance, through whatever is mounted there.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One file to write, or to remove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileWrite {
    /// Where it is inside: absolute, and without `.` and `..`.
    pub target: PathBuf,
    /// The host's file that holds what it is to say; the supervisor removes it when it has been written. Absent: the file
    /// at the target is removed.
    #[serde(default)]
    pub source: Option<PathBuf>,
    /// Who owns it, inside.
    pub uid: u32,
    /// Its group, inside.
    pub gid: u32,
    /// Its permissions.
    pub mode: u32,
}
