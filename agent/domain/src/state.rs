//! What is on the host, and what is told of it.
//!
//! ```text
//!            start              exit, policy says again
//!  Absent ----------> Running <-------------------------> Waiting
//!    ^                   |  exit for good, or a stop         |
//!    |      collected    v                                   |
//!    +---------------- Ended <-------------------------------+
//! ```

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A moment: milliseconds since 1970, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The present, as the host's clock has it.
    #[must_use]
    pub fn now() -> Self {
        SystemTime::now().into()
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        UNIX_EPOCH + Duration::from_millis(time.0)
    }
}

/// How a workload ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// The exit code; 128 + n where signal n ended it.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<u8>,
    /// It was killed because its memory limit was reached.
    pub oom_killed: bool,
    /// When.
    pub at: Timestamp,
    /// Why, where it was not its program that ended: a machine that was lost, a start that could not be repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// An instance's own ids on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UidRange {
    /// What the instance's root is on the host.
    pub base: u32,
    /// How many.
    pub count: u32,
}

/// What the host has of an instance's workload. Probed, never trusted from disk.
///
/// `revision` tells which start it came from: see [`crate::plan::Desired::revision`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Workload {
    /// No supervisor, and no record of how it ended.
    Absent,
    /// Its first process runs.
    Running {
        /// Of the start.
        revision: u64,
        /// On the host, of the workload's first process.
        pid: u32,
        /// Of this run of it.
        started_at: Timestamp,
        /// How often it was started again.
        restarts: u32,
    },
    /// Its supervisor waits to start it again.
    Waiting {
        /// Of the start.
        revision: u64,
        /// How often it was started again.
        restarts: u32,
        /// How it ended last.
        exit: ExitRecord,
    },
    /// It ended for good.
    Ended {
        /// Of the start.
        revision: u64,
        /// How often it had been started again.
        restarts: u32,
        /// How it ended.
        exit: ExitRecord,
    },
}

impl Workload {
    /// Whether a supervisor is there.
    #[must_use]
    pub fn is_live(&self) -> bool {
        matches!(self, Self::Running { .. } | Self::Waiting { .. })
    }

    /// Which start it came from.
    #[must_use]
    pub fn revision(&self) -> Option<u64> {
        match self {
            Self::Absent => None,
            Self::Running { revision, .. }
            | Self::Waiting { revision, .. }
            | Self::Ended { revision, .. } => Some(*revision),
        }
    }

    /// On the host, of the workload's first process.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        match self {
            Self::Running { pid, .. } => Some(*pid),
            _ => None,
        }
    }
}

/// What is told of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Asked for, and not there yet.
    Creating,
    /// Its workload runs.
    Running,
    /// Stopped because it was asked for.
    Stopped,
    /// Ended by itself.
    Exited,
    /// Will be started again.
    Restarting,
    /// Could not be brought up.
    Failed {
        /// Why.
        detail: String,
    },
    /// On its way out.
    Deleting,
}
