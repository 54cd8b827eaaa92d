//! The agent's tables are put back when another program takes something out of them, as a reload of a firewall's rules
//! that begins with `flush ruleset` does.

use std::error::Error;
use std::io;
use std::sync::{Arc, PoisonError, Weak};

use berth_sys::netlink::{Removed, RulesetWatch};
use tokio::io::unix::AsyncFd;

use super::Inner;

/// Listens for as long as the networks are in use. Where that is not possible, the tables are looked at whenever an instance
/// is started, as ever.
pub(super) fn spawn(inner: &Arc<Inner>) {
    let watch = RulesetWatch::open().map_err(io::Error::other);
    // Its successor is unsafe, which this crate has none of; the socket stays open as long as the watch.
    #[allow(deprecated)]
    let watch = watch.and_then(AsyncFd::new);
    match watch {
        Ok(watch) => {
            tokio::spawn(keep(Arc::downgrade(inner), inner.place.prefix.table(), watch));
        }
        Err(error) => tracing::warn!(%error, "nobody tells when another program flushes the firewall"),
    }
}

async fn keep(inner: Weak<Inner>, table: String, mut watch: AsyncFd<RulesetWatch>) {
    loop {
        let removed = match watch.readable_mut().await {
            Ok(mut ready) => {
                let removed = ready.get_inner_mut().removed();
                ready.clear_ready();
                removed
            }
            Err(error) => Err(error),
        };
        let Some(inner) = inner.upgrade() else { return };
        let ours = |it: &Removed| matches!(it, Removed::Unknown) || *it == Removed::Of(table.clone());
        match removed {
            Ok(removed) if removed.iter().any(ours) => mend(inner).await,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "nobody tells any more when another program flushes the firewall");
                return;
            }
        }
    }
}

async fn mend(inner: Arc<Inner>) {
    let mended = tokio::task::spawn_blocking(move || {
        let mut now = inner.now.lock().unwrap_or_else(PoisonError::into_inner);
        inner.mend(&mut now)
    });
    match mended.await {
        Ok(Ok(false)) => {}
        Ok(Ok(true)) => {
            tracing::warn!("another program changed the agent's firewall tables; they are put back")
        }
        Ok(Err(error)) => {
            let error: &dyn Error = &error;
            tracing::warn!(error, "the agent's firewall tables were changed, and could not be put back");
        }
        Err(error) => tracing::warn!(%error, "the agent's firewall tables could not be looked at"),
    }
}
