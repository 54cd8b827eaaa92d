//! Looking after the store: verifying, mending, and letting go of what nobody uses.

use std::time::Duration;

use berth_domain::Digest;

use super::{Engine, Inner};
use crate::error::EngineError;
use crate::ledger::Pin;
use crate::ports::images::{Freed, ImageError, Resolution};
use crate::report::Reporter;
use crate::view::{Damaged, Mended, Pruned, StoreCheck};

/// Between two looks at what may go by now.
const SWEEP: Duration = Duration::from_secs(600);

fn failed(source: ImageError) -> EngineError {
    EngineError::Image { argument: "image", source }
}

impl Inner {
    async fn check_images(
        &self,
        ids: Vec<String>,
        repair: bool,
        reporter: Reporter,
    ) -> Result<StoreCheck, EngineError> {
        let pins = self.ledger.pins().await?;
        let mut only = Vec::new();
        for id in &ids {
            only.push(self.digest_of(id, &pins).await?);
        }
        let only = (!only.is_empty()).then_some(only.as_slice());
        let report = self.ports.images.check(only, &reporter).await.map_err(failed)?;
        let mut damaged = Vec::new();
        for (digest, parts) in report.damaged {
            let mended = if repair { self.mend(&digest, &pins, &reporter).await } else { Mended::NotTried };
            damaged.push(Damaged { digest, parts, mended });
        }
        Ok(StoreCheck { images: report.images, bytes: report.bytes, damaged })
    }

    /// From where any of its pins says that it came.
    async fn mend(&self, digest: &Digest, pins: &[Pin], reporter: &Reporter) -> Mended {
        let mut reasons = Vec::new();
        for pin in pins.iter().filter(|pin| pin.image_digest == *digest) {
            let resolution = Resolution {
                reference: pin.reference.clone(),
                reference_resolved: pin.reference_resolved.clone(),
                index_digest: pin.index_digest.clone(),
                image_digest: digest.clone(),
                platform: pin.platform.clone(),
            };
            let remotes = match self.remotes().await {
                Ok(remotes) => remotes,
                Err(error) => return Mended::Failed(error.to_string()),
            };
            match self.ports.images.repair(&resolution, &remotes, reporter).await {
                Ok(()) => return Mended::Done,
                Err(error) => reasons.push(format!("{}: {error}", pin.reference)),
            }
        }
        if reasons.is_empty() {
            reasons.push("nothing says which registry it came from".to_owned());
        }
        Mended::Failed(reasons.join("; "))
    }

    async fn prune(&self, dry_run: bool) -> Result<Pruned, EngineError> {
        let unused = self.keeper.unused(&self.ledger, &*self.ports.images).await?;
        let digests: Vec<Digest> = unused.iter().map(|image| image.digest.clone()).collect();
        let mut freed = self.ports.images.would_remove(&digests).await.map_err(failed)?;
        let mut images = unused;
        if !dry_run {
            let mut gone = Vec::new();
            for image in images {
                // What came into use meanwhile stays.
                if self.keeper.remove(&self.ledger, &*self.ports.images, &image.digest).await? {
                    gone.push(image);
                }
            }
            images = gone;
            let Freed { objects, bytes } = self.ports.images.collect().await.map_err(failed)?;
            // What went with the images was measured before.
            freed.objects = freed.objects.max(objects);
            freed.bytes = freed.bytes.max(bytes);
        }
        Ok(Pruned { images, freed })
    }

    /// Lets go, from time to time, of what nobody has used for as long as the policy says.
    pub(super) async fn sweep_now_and_then(&self) {
        // The first look was when the engine opened.
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + SWEEP, SWEEP);
        loop {
            tokio::select! {
                () = self.closing.cancelled() => return,
                _ = ticks.tick() => {}
            }
            self.sweep_images().await;
        }
    }

    /// Lets every image go that nothing needs, and that the policy does not keep: also what an agent left behind that
    /// ended in the middle.
    pub(super) async fn sweep_images(&self) {
        if let Err(error) = self.keeper.sweep(&self.ledger, &*self.ports.images).await {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "images that nothing needs stay for now");
        }
    }
}

impl Engine {
    /// Verifies images, all or those named, and fetches again what is damaged if asked to.
    ///
    /// # Errors
    /// The store cannot be read, or there is no such image. That something is damaged is no error.
    pub async fn check_images(
        &self,
        ids: Vec<String>,
        repair: bool,
        reporter: Reporter,
    ) -> Result<StoreCheck, EngineError> {
        self.run(move |inner| async move { inner.check_images(ids, repair, reporter).await }).await
    }

    /// Removes images that nothing pins or uses, or says what would go.
    ///
    /// # Errors
    /// The ledger or the store failed.
    pub async fn prune_images(&self, dry_run: bool) -> Result<Pruned, EngineError> {
        self.run(move |inner| async move { inner.prune(dry_run).await }).await
    }
}
