//! The order in which instances come up when their host has been started anew.

use serde::{Deserialize, Serialize};

/// When an instance comes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Boot {
    /// The highest come first.
    pub priority: i32,
    /// Milliseconds that those of lower priority wait after it.
    pub delay_ms: u64,
}
