//! Images from archives, and into them.

use std::fs::File;

use berth_domain::{PinId, Platform};
use tokio::sync::mpsc;

use super::images::PinTarget;
use super::{Engine, Inner};
use crate::error::EngineError;
use crate::event::{Action, Subject};
use crate::keeper::Hold;
use crate::ledger::Pin;
use crate::ports::images::{ArchivePiece, ExportRequest, ImageError, ImportRequest, Resolution, Scratch};
use crate::report::Reporter;
use crate::view::PinView;

const ARGUMENT: &str = "archive";

/// An import.
#[derive(Debug)]
pub struct ImportQuery {
    /// What the image is called from now on; `None`: its digest.
    pub reference: Option<String>,
    /// `None`: the host's.
    pub platform: Option<Platform>,
    /// Which pin keeps it.
    pub pin: PinTarget,
    /// The content outlives the pin's first removal.
    pub keep_on_destroy: bool,
}

fn failed(source: ImageError) -> EngineError {
    let argument = match &source {
        ImageError::BadReference { .. } | ImageError::UnknownRemote { .. } => "reference",
        _ => ARGUMENT,
    };
    EngineError::Image { argument, source }
}

impl Inner {
    async fn import(
        &self,
        archive: File,
        query: ImportQuery,
        reporter: Reporter,
    ) -> Result<PinView, EngineError> {
        let before = match query.pin {
            PinTarget::Move(id) => Some(self.pin(id).await?),
            PinTarget::New | PinTarget::Reuse => None,
        };
        let (hold, resolution) = self.take(archive, &query, &reporter).await?;
        let info = self.stored(hold.digest()).await?;
        let before = match (&query.pin, before) {
            (PinTarget::Reuse, None) => self.find(&resolution.reference, Some(&resolution.platform)).await?,
            (_, before) => before,
        };
        let kept = before.as_ref().is_some_and(|pin| pin.keep_on_destroy);
        let pin = Pin {
            id: before.as_ref().map_or_else(PinId::random, |pin| pin.id),
            reference: resolution.reference,
            platform: resolution.platform,
            reference_resolved: resolution.reference_resolved,
            index_digest: resolution.index_digest,
            image_digest: resolution.image_digest,
            keep_on_destroy: query.keep_on_destroy || (query.pin == PinTarget::Reuse && kept),
        };
        self.ledger.save_pin(pin.clone()).await?;
        drop(hold);
        self.bus.emit(Subject::Image, &pin.image_digest, &pin.reference, Action::Pulled, "");
        if let Some(before) = before.filter(|before| before.image_digest != pin.image_digest) {
            self.collect(&before.image_digest).await;
        }
        self.pin_view(pin, info).await
    }

    /// The image is known only when it is there: it is held then, and looked for again, in case it was let go between.
    async fn take(
        &self,
        archive: File,
        query: &ImportQuery,
        reporter: &Reporter,
    ) -> Result<(Hold, Resolution), EngineError> {
        let request = ImportRequest {
            reference: query.reference.clone(),
            platform: query.platform.clone(),
            remotes: self.remotes().await?,
        };
        loop {
            let again = archive.try_clone().map_err(|source| {
                let operation = "read the archive".to_owned();
                failed(ImageError::Store { operation, source: source.into() })
            })?;
            let (resolution, _) = tokio::select! {
                () = self.closing.cancelled() => return Err(EngineError::Closing),
                imported = self.ports.images.import(again, &request, reporter) => imported.map_err(failed)?,
            };
            let hold = self.keeper.hold(&resolution.image_digest).await;
            if self.ports.images.get(&resolution.image_digest).await.map_err(failed)?.is_some() {
                return Ok((hold, resolution));
            }
        }
    }
}

impl Engine {
    /// Somewhere to put an archive while it is being received.
    ///
    /// # Errors
    /// The store has no room for it.
    pub async fn scratch(&self) -> Result<Scratch, EngineError> {
        self.inner.ports.images.scratch().await.map_err(failed)
    }

    /// Takes an image from an archive that was received whole, and pins it. Goes on when the caller goes away.
    ///
    /// # Errors
    /// The archive gives no image; a pin that was to move stays where it was.
    pub async fn import_image(
        &self,
        archive: File,
        query: ImportQuery,
        reporter: Reporter,
    ) -> Result<PinView, EngineError> {
        self.run(|inner| async move { inner.import(archive, query, reporter).await }).await
    }

    /// Puts an image, by its id, a prefix of it or a pinned reference, into an archive.
    ///
    /// # Errors
    /// There is none, or its registry is needed and not known.
    pub async fn export_image(
        &self,
        id: &str,
        refetch: bool,
    ) -> Result<mpsc::Receiver<ArchivePiece>, EngineError> {
        let pins = self.inner.ledger.pins().await?;
        let image = self.inner.digest_of(id, &pins).await?;
        let hold = self.inner.keeper.hold(&image).await;
        let named = pins.iter().find(|pin| pin.image_digest == image && pin.reference == id);
        let named = named.or_else(|| pins.iter().find(|pin| pin.image_digest == image));
        let request = ExportRequest {
            image,
            reference: named.map(|pin| pin.reference.clone()),
            refetch,
            remotes: self.inner.remotes().await?,
        };
        let mut pieces = self
            .inner
            .ports
            .images
            .export(&request)
            .await
            .map_err(|source| EngineError::Image { argument: "image", source })?;
        // The image stays for as long as somebody reads.
        let (sender, receiver) = mpsc::channel(1);
        self.inner.tasks.spawn(async move {
            let _hold = hold;
            while let Some(piece) = pieces.recv().await {
                if sender.send(piece).await.is_err() {
                    return;
                }
            }
        });
        Ok(receiver)
    }
}
