//! How much is fetched at once, over all registries that a client is made for.

use std::num::{NonZeroU32, NonZeroU64};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Bounds on fetching. Cloning shares them.
#[derive(Debug, Clone)]
pub struct Downloads {
    connections: Arc<Semaphore>,
    pace: Option<Arc<Pace>>,
}

#[derive(Debug)]
struct Pace {
    bytes_per_second: NonZeroU64,
    /// When all that was let through will have taken its time.
    free: Mutex<Instant>,
}

/// Layers and parts of layers that are fetched at the same time. Each part waits in memory, so this bounds that too.
pub const CONNECTIONS: NonZeroU32 = NonZeroU32::new(8).unwrap();

impl Default for Downloads {
    fn default() -> Self {
        Self::new(CONNECTIONS, None)
    }
}

impl Downloads {
    /// At most so many connections, and so many bytes a second over all of them.
    pub fn new(connections: NonZeroU32, bytes_per_second: Option<NonZeroU64>) -> Self {
        let pace = |bytes_per_second| Pace { bytes_per_second, free: Mutex::new(Instant::now()) };
        Self {
            connections: Arc::new(Semaphore::new(connections.get() as usize)),
            pace: bytes_per_second.map(|rate| Arc::new(pace(rate))),
        }
    }

    /// Waits for a turn. Whoever has one must come to an end without another.
    pub(super) async fn connection(&self) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        Arc::clone(&self.connections).acquire_owned().await.ok()
    }

    /// A further turn, if there is one now.
    pub(super) fn another(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.connections).try_acquire_owned().ok()
    }

    /// Waits until these bytes, which came, have taken their time.
    pub(super) async fn took(&self, bytes: u64) {
        let Some(pace) = &self.pace else { return };
        let time = Duration::from_secs_f64(bytes as f64 / pace.bytes_per_second.get() as f64);
        let until = {
            let mut free = pace.free.lock().unwrap_or_else(PoisonError::into_inner);
            *free = (*free).max(Instant::now()) + time;
            *free
        };
        tokio::time::sleep_until(until).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_take_their_time_over_all_who_share_it() {
        let downloads = Downloads::new(CONNECTIONS, NonZeroU64::new(1_000_000));
        let begin = Instant::now();
        let other = downloads.clone();
        tokio::join!(downloads.took(50_000), other.took(50_000));
        assert!(begin.elapsed() >= Duration::from_millis(100), "{:?}", begin.elapsed());
    }

    #[tokio::test]
    async fn there_are_no_more_turns_than_connections() {
        let downloads = Downloads::new(NonZeroU32::new(2).unwrap(), None);
        let _first = downloads.connection().await;
        let second = downloads.another();
        assert!(second.is_some() && downloads.another().is_none());
        drop(second);
        assert!(downloads.another().is_some());
    }
}
