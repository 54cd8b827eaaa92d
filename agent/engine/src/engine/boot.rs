//! Instances come up after their host was started anew: those of a higher priority first.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use berth_domain::Boot;
use futures::future::join_all;

use super::Inner;
use crate::instance::actor::{Handle, Operation};
use crate::report::Reporter;

/// Brings them up. Those of one priority come together; the next wait until all of them have come up, or could not, and for
/// the longest of their delays.
pub(super) async fn bring_up(inner: Arc<Inner>, waiting: Vec<(Boot, Handle)>) {
    let mut by_priority: BTreeMap<Reverse<i32>, Vec<(Boot, Handle)>> = BTreeMap::new();
    for (boot, handle) in waiting {
        by_priority.entry(Reverse(boot.priority)).or_default().push((boot, handle));
    }
    let mut groups = by_priority.into_values().peekable();
    while let Some(group) = groups.next() {
        let resumed = group.iter().map(|(_, handle)| handle.request(Operation::Resume, Reporter::silent()));
        // What went wrong is on their own records.
        let _outcomes = join_all(resumed).await;
        let delay = group.iter().map(|(boot, _)| boot.delay_ms).max().unwrap_or(0);
        if groups.peek().is_some() {
            // The agent's end is awaited; the delay is only how long.
            let closing = inner.closing.cancelled();
            if tokio::time::timeout(Duration::from_millis(delay), closing).await.is_ok() {
                return;
            }
        }
    }
}
