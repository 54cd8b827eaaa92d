//! What happens when a workload ends by itself.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// When a workload that ended by itself is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartMode {
    /// Never.
    No,
    /// When it ended with a code other than 0, or by a signal.
    OnFailure,
    /// Whatever its exit was.
    #[default]
    Always,
}

/// The restart policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartPolicy {
    /// When.
    pub mode: RestartMode,
    /// How often in a row at most; `None` is without end.
    pub max_retries: Option<u32>,
    /// The first delay in milliseconds; it doubles at each try, up to a minute.
    pub backoff_ms: u64,
}

impl RestartPolicy {
    /// The first delay where none is given.
    pub const DEFAULT_BACKOFF: Duration = Duration::from_millis(100);
    /// No delay grows beyond this.
    pub const MAX_BACKOFF: Duration = Duration::from_secs(60);
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self { mode: RestartMode::default(), max_retries: None, backoff_ms: 100 }
    }
}
