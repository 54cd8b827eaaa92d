//! The files of an instance's log.

/// The file that is being written; `1.log` is the one before it.
pub const CURRENT: &str = "current.log";
