//! When a failed convergence is tried again.

use std::time::Duration;

use tokio::time::Instant;

/// Doubles its delay at each failure, and forgets them at a success.
#[derive(Debug, Default)]
pub(super) struct Retry {
    failures: u32,
    deadline: Option<Instant>,
}

impl Retry {
    const FIRST: Duration = Duration::from_millis(500);
    const LONGEST: Duration = Duration::from_secs(60);

    /// It failed: later again.
    pub(super) fn later(&mut self) {
        let delay = Self::FIRST.saturating_mul(2_u32.saturating_pow(self.failures)).min(Self::LONGEST);
        self.failures = self.failures.saturating_add(1);
        self.deadline = Some(Instant::now() + delay);
    }

    /// It succeeded, or is of no use.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Waits until it is time; for ever where nothing failed. Forgets nothing when it is dropped.
    pub(super) async fn due(&self) {
        match self.deadline {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    }
}
