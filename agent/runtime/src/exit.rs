//! How a workload ended, as it is kept in `exit.json`.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// The end of a workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// Its exit code, 128 + n where signal n ended it.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether the kernel killed it for want of memory.
    pub oom_killed: bool,
    /// Whether it ended because a stop was asked for.
    pub stopped: bool,
    /// How often it had been started again.
    pub restarts: u32,
    /// Milliseconds since the epoch.
    pub finished_at_ms: u64,
    /// Why it could not be started again, if that is what ended it.
    #[serde(default)]
    pub error: Option<String>,
}

/// The name of the record in the instance's run directory.
pub const FILE: &str = "exit.json";

/// Reads the record of an instance; `None` where there is none, or none that can be read.
#[must_use]
pub fn read(run_dir: &Path) -> Option<ExitRecord> {
    serde_json::from_slice(&std::fs::read(run_dir.join(FILE)).ok()?).ok()
}
