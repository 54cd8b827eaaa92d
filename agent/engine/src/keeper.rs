//! Which images stay: those that a pin pins, an instance uses, or an operation holds; and for a while those that were.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use berth_domain::{Digest, ImageInfo};

use crate::error::EngineError;
use crate::ledger::Ledger;
use crate::ports::images::{ImageError, Images};

/// What becomes of images that nothing uses any more. The default lets them go at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UnusedImages {
    /// They stay for this long after their last use…
    pub keep_for: Duration,
    /// …and only as many, the latest used first, as have this many bytes together. `None`: no bound.
    pub keep_bytes: Option<u64>,
}

/// Lets images go when nothing needs them. Taking hold and letting go take turns, so an image that an operation
/// has seen stays until its use is in the ledger.
#[derive(Default)]
pub(crate) struct Keeper {
    held: Arc<Mutex<HashMap<Digest, usize>>>,
    gate: tokio::sync::Mutex<()>,
    policy: UnusedImages,
}

/// An image that an operation needs; ends when it is dropped.
pub(crate) struct Hold {
    digest: Digest,
    held: Arc<Mutex<HashMap<Digest, usize>>>,
}

fn lock(held: &Mutex<HashMap<Digest, usize>>) -> MutexGuard<'_, HashMap<Digest, usize>> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hold {
    pub(crate) fn digest(&self) -> &Digest {
        &self.digest
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut held = lock(&self.held);
        if let Some(count) = held.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.digest);
            }
        }
    }
}

impl Keeper {
    pub(crate) fn new(policy: UnusedImages) -> Self {
        Self { policy, ..Self::default() }
    }

    /// Keeps an image from being let go, whether it is there yet or not.
    pub(crate) async fn hold(&self, digest: &Digest) -> Hold {
        let _turn = self.gate.lock().await;
        *lock(&self.held).entry(digest.clone()).or_default() += 1;
        Hold { digest: digest.clone(), held: Arc::clone(&self.held) }
    }

    /// Lets an image go if nothing needs it and the policy does not keep it; whether it went.
    pub(crate) async fn collect(
        &self,
        ledger: &Ledger,
        images: &dyn Images,
        digest: &Digest,
    ) -> Result<bool, EngineError> {
        if self.policy.keep_for.is_zero() {
            return self.remove(ledger, images, digest).await;
        }
        images.touch(digest).await.map_err(store_failed)?;
        Ok(false)
    }

    /// Lets an image go if nothing needs it; whether it went.
    pub(crate) async fn remove(
        &self,
        ledger: &Ledger,
        images: &dyn Images,
        digest: &Digest,
    ) -> Result<bool, EngineError> {
        let _turn = self.gate.lock().await;
        if lock(&self.held).contains_key(digest) || ledger.images_in_use().await?.contains(digest) {
            return Ok(false);
        }
        images.remove(digest).await.map_err(store_failed)?;
        Ok(true)
    }

    /// Images that nothing needs now, the latest used first.
    pub(crate) async fn unused(
        &self,
        ledger: &Ledger,
        images: &dyn Images,
    ) -> Result<Vec<Arc<ImageInfo>>, EngineError> {
        let mut unused = images.list().await.map_err(store_failed)?;
        let used = ledger.images_in_use().await?;
        unused.retain(|image| !used.contains(&image.digest) && !lock(&self.held).contains_key(&image.digest));
        unused.sort_by_key(|image| std::cmp::Reverse(image.used));
        Ok(unused)
    }

    /// Lets every image go that nothing needs and the policy does not keep.
    pub(crate) async fn sweep(&self, ledger: &Ledger, images: &dyn Images) -> Result<(), EngineError> {
        let now = SystemTime::now();
        let mut kept: u64 = 0;
        for image in self.unused(ledger, images).await? {
            // A clock that was put back makes nothing old.
            let age = now.duration_since(image.used).unwrap_or_default();
            kept = kept.saturating_add(image.size);
            let fits = self.policy.keep_bytes.is_none_or(|limit| kept <= limit);
            if age >= self.policy.keep_for || !fits {
                kept = kept.saturating_sub(image.size);
                self.remove(ledger, images, &image.digest).await?;
            }
        }
        Ok(())
    }
}

fn store_failed(source: ImageError) -> EngineError {
    EngineError::Image { argument: "image", source }
}
