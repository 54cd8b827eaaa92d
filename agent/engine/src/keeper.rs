//! Which images stay: those that a pin pins, an instance uses, or an operation holds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use berth_domain::Digest;

use crate::error::EngineError;
use crate::ledger::Ledger;
use crate::ports::images::{ImageError, Images};

/// Lets images go when nothing needs them. Taking hold and letting go take turns, so an image that an operation
/// has seen stays until its use is in the ledger.
#[derive(Default)]
pub(crate) struct Keeper {
    held: Arc<Mutex<HashMap<Digest, usize>>>,
    gate: tokio::sync::Mutex<()>,
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
    /// Keeps an image from being let go, whether it is there yet or not.
    pub(crate) async fn hold(&self, digest: &Digest) -> Hold {
        let _turn = self.gate.lock().await;
        *lock(&self.held).entry(digest.clone()).or_default() += 1;
        Hold { digest: digest.clone(), held: Arc::clone(&self.held) }
    }

    /// Lets an image go if nothing needs it; whether it went.
    pub(crate) async fn collect(
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

    /// Lets every image go that nothing needs: what an agent left behind that ended in the middle.
    pub(crate) async fn sweep(&self, ledger: &Ledger, images: &dyn Images) -> Result<(), EngineError> {
        for image in images.list().await.map_err(store_failed)? {
            self.collect(ledger, images, &image.digest).await?;
        }
        Ok(())
    }
}

fn store_failed(source: ImageError) -> EngineError {
    EngineError::Image { argument: "image", source }
}
