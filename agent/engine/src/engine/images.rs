//! Images and the pins that keep them.

use std::sync::Arc;

use berth_domain::{Digest, ImageInfo, PinId, Platform};

use super::{Engine, Inner};
use crate::error::{EngineError, Kind};
use crate::event::{Action, Subject};
use crate::keeper::Hold;
use crate::ledger::Pin;
use crate::ports::images::{ImageError, Known, Resolution, ResolveRequest};
use crate::report::{PullPhase, PullProgress, Reporter};
use crate::view::{ImageView, PinView};

/// What a reference means now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolveQuery {
    /// As the user wrote it.
    pub reference: String,
    /// `None`: the host's.
    pub platform: Option<Platform>,
    /// Of the last resolution.
    pub known: Option<Known>,
}

/// Which pin a pull ends in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PinTarget {
    /// A new one.
    New,
    /// This one moves.
    Move(PinId),
    /// One with this reference and platform if there is one, else a new one.
    Reuse,
}

/// A pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullQuery {
    /// As the user wrote it.
    pub reference: String,
    /// `None`: the host's.
    pub platform: Option<Platform>,
    /// The platform's manifest that was planned, whatever the tag says by now.
    pub image_digest: Option<Digest>,
    /// Which pin keeps it.
    pub pin: PinTarget,
    /// The content outlives the pin's first removal.
    pub keep_on_destroy: bool,
}

impl Inner {
    pub(super) async fn resolve(
        &self,
        reference: &str,
        platform: Option<Platform>,
        known: Option<Known>,
        image_digest: Option<Digest>,
    ) -> Result<Resolution, ImageOr> {
        let remotes = self.remotes().await?;
        let known = match known {
            Some(known) => vec![known],
            None => self.known(reference).await?,
        };
        let request =
            ResolveRequest { reference: reference.to_owned(), platform, known, image_digest, remotes };
        tokio::select! {
            () = self.closing.cancelled() => Err(EngineError::Closing.into()),
            resolution = self.ports.images.resolve(&request) => Ok(resolution?),
        }
    }

    /// What the pins of this reference say.
    async fn known(&self, reference: &str) -> Result<Vec<Known>, EngineError> {
        let pins = self.ledger.pins().await?.into_iter().filter(|pin| pin.reference == reference);
        let known = pins.map(|pin| Known {
            platform: Some(pin.platform),
            index_digest: pin.index_digest,
            image_digest: pin.image_digest,
        });
        Ok(known.collect())
    }

    /// Makes a resolved image part of the store, and holds it there.
    pub(super) async fn fetch(
        &self,
        resolution: &Resolution,
        reporter: &Reporter,
    ) -> Result<(Hold, Arc<ImageInfo>), ImageOr> {
        let remotes = self.remotes().await?;
        let hold = self.keeper.hold(&resolution.image_digest).await;
        let pulled = tokio::select! {
            () = self.closing.cancelled() => Err(ImageOr::from(EngineError::Closing)),
            pulled = self.ports.images.pull(resolution, &remotes, reporter) => pulled.map_err(ImageOr::from),
        };
        match pulled {
            Ok(info) => Ok((hold, info)),
            Err(error) => {
                drop(hold);
                self.collect(&resolution.image_digest).await;
                Err(error)
            }
        }
    }

    async fn pull(&self, query: PullQuery, reporter: Reporter) -> Result<PinView, EngineError> {
        let by = |error: ImageOr| error.on("reference");
        let before = self.pin_to_move(&query).await?;
        let phase = PullPhase::Resolving;
        reporter.pull(PullProgress { phase, bytes_done: 0, bytes_total: 0, layers_done: 0, layers_total: 0 });
        let PullQuery { reference, platform, image_digest, pin, keep_on_destroy } = query;
        let resolution = self.resolve(&reference, platform, None, image_digest).await.map_err(by)?;
        let (hold, info) = self.fetch(&resolution, &reporter).await.map_err(by)?;
        // The platform is known only now.
        let before = match (&pin, before) {
            (PinTarget::Reuse, None) => self.find(&reference, Some(&resolution.platform)).await?,
            (_, before) => before,
        };
        let kept = before.as_ref().is_some_and(|pin| pin.keep_on_destroy);
        let moved = Pin {
            id: before.as_ref().map_or_else(PinId::random, |pin| pin.id),
            reference,
            platform: resolution.platform,
            reference_resolved: resolution.reference_resolved,
            index_digest: resolution.index_digest,
            image_digest: resolution.image_digest,
            keep_on_destroy: keep_on_destroy || (pin == PinTarget::Reuse && kept),
        };
        if before.as_ref() != Some(&moved) {
            self.ledger.save_pin(moved.clone()).await?;
        }
        drop(hold);
        self.bus.emit(Subject::Image, &moved.image_digest, &moved.reference, Action::Pulled, "");
        if let Some(before) = before.filter(|before| before.image_digest != moved.image_digest) {
            self.collect(&before.image_digest).await;
        }
        self.pin_view(moved, info).await
    }

    /// The pin that the pull is to move, where it is known before the pull.
    async fn pin_to_move(&self, query: &PullQuery) -> Result<Option<Pin>, EngineError> {
        match &query.pin {
            PinTarget::New => Ok(None),
            PinTarget::Move(id) => self.pin(*id).await.map(Some),
            PinTarget::Reuse if query.platform.is_some() => {
                self.find(&query.reference, query.platform.as_ref()).await
            }
            PinTarget::Reuse => Ok(None),
        }
    }

    pub(super) async fn pin(&self, id: PinId) -> Result<Pin, EngineError> {
        let pins = self.ledger.pins().await?;
        pins.into_iter().find(|pin| pin.id == id).ok_or_else(|| EngineError::not_found(Kind::Pin, id))
    }

    pub(super) async fn find(
        &self,
        reference: &str,
        platform: Option<&Platform>,
    ) -> Result<Option<Pin>, EngineError> {
        let pins = self.ledger.pins().await?;
        let fits = |pin: &Pin| pin.reference == reference && platform.is_none_or(|p| pin.platform == *p);
        Ok(pins.into_iter().find(fits))
    }

    pub(super) async fn pin_view(&self, pin: Pin, info: Arc<ImageInfo>) -> Result<PinView, EngineError> {
        Ok(PinView {
            id: pin.id,
            reference: pin.reference,
            platform: pin.platform,
            index_digest: pin.index_digest,
            reference_resolved: pin.reference_resolved,
            keep_on_destroy: pin.keep_on_destroy,
            image: self.image_view(info, &self.ledger.pins().await?),
        })
    }

    pub(super) async fn stored(&self, digest: &Digest) -> Result<Arc<ImageInfo>, EngineError> {
        let found = self.ports.images.get(digest).await.map_err(store_failed)?;
        found.ok_or_else(|| EngineError::not_found(Kind::Image, digest))
    }

    fn image_view(&self, info: Arc<ImageInfo>, pins: &[Pin]) -> ImageView {
        let pinned = pins.iter().filter(|pin| pin.image_digest == info.digest);
        let mut references: Vec<String> = pinned.map(|pin| pin.reference.clone()).collect();
        references.dedup();
        let used_by = self.directory.all().into_iter().filter_map(|handle| {
            let snapshot = handle.snapshot();
            (snapshot.record.current.image == info.digest).then_some(snapshot.record.id)
        });
        let mut used_by: Vec<_> = used_by.collect();
        used_by.sort_unstable();
        ImageView { info, references, used_by }
    }

    async fn delete_pin(&self, id: PinId) -> Result<bool, EngineError> {
        let pin = self.pin(id).await?;
        if pin.keep_on_destroy {
            self.ledger.save_pin(Pin { keep_on_destroy: false, ..pin }).await?;
            return Ok(false);
        }
        self.ledger.delete_pin(id).await?;
        self.bus.emit(Subject::Image, &pin.image_digest, &pin.reference, Action::Unpinned, "");
        Ok(self.collect(&pin.image_digest).await)
    }

    /// The one image that a digest, a prefix of one, or a pinned reference means.
    pub(super) async fn digest_of(&self, id: &str, pins: &[Pin]) -> Result<Digest, EngineError> {
        if let Ok(digest) = id.parse() {
            return Ok(digest);
        }
        let pinned = |pin: &&Pin| pin.reference == id || pin.reference_resolved == id;
        if let Some(pin) = pins.iter().find(pinned) {
            return Ok(pin.image_digest.clone());
        }
        let hex = id.strip_prefix("sha256:").unwrap_or(id);
        if hex.len() < 8 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(EngineError::not_found(Kind::Image, id));
        }
        let images = self.ports.images.list().await.map_err(store_failed)?;
        let mut fitting = images.iter().filter(|image| image.digest.hex().starts_with(hex));
        match (fitting.next(), fitting.next()) {
            (Some(image), None) => Ok(image.digest.clone()),
            (Some(_), Some(_)) => Err(EngineError::AmbiguousImage { prefix: id.to_owned() }),
            (None, _) => Err(EngineError::not_found(Kind::Image, id)),
        }
    }
}

/// An image's failure before it is known which argument holds the reference, or another failure.
#[derive(Debug)]
pub(super) enum ImageOr {
    Image(ImageError),
    Other(EngineError),
}

impl ImageOr {
    /// The failure, on the argument that holds the reference.
    pub(super) fn on(self, argument: &'static str) -> EngineError {
        match self {
            Self::Image(source) => EngineError::Image { argument, source },
            Self::Other(error) => error,
        }
    }
}

impl From<ImageError> for ImageOr {
    fn from(error: ImageError) -> Self {
        Self::Image(error)
    }
}

impl From<EngineError> for ImageOr {
    fn from(error: EngineError) -> Self {
        Self::Other(error)
    }
}

fn store_failed(source: ImageError) -> EngineError {
    EngineError::Image { argument: "image", source }
}

impl Engine {
    /// Asks the registry what a reference means now.
    ///
    /// # Errors
    /// The registry does not say.
    pub async fn resolve_image(&self, query: ResolveQuery) -> Result<Resolution, EngineError> {
        let ResolveQuery { reference, platform, known } = query;
        let resolved = self.inner.resolve(&reference, platform, known, None).await;
        resolved.map_err(|error| error.on("reference"))
    }

    /// The tags of a repository, written as a reference without a tag.
    ///
    /// # Errors
    /// The registry does not say.
    pub async fn list_tags(&self, repository: &str) -> Result<Vec<String>, EngineError> {
        let remotes = self.inner.remotes().await?;
        let tags = self.inner.ports.images.tags(repository, &remotes).await;
        tags.map_err(|source| EngineError::Image { argument: "repository", source })
    }

    /// The repositories of a remote, or of a registry by its host.
    ///
    /// # Errors
    /// The registry does not say.
    pub async fn list_repositories(&self, remote: &str) -> Result<Vec<String>, EngineError> {
        let remotes = self.inner.remotes().await?;
        let repositories = self.inner.ports.images.repositories(remote, &remotes).await;
        repositories.map_err(|source| EngineError::Image { argument: "remote", source })
    }

    /// Pulls an image and pins it. Goes on when the caller goes away.
    ///
    /// # Errors
    /// The image cannot be had; a pin that was to move stays where it was.
    pub async fn pull_image(&self, query: PullQuery, reporter: Reporter) -> Result<PinView, EngineError> {
        self.run(|inner| async move { inner.pull(query, reporter).await }).await
    }

    /// One pin.
    ///
    /// # Errors
    /// There is none, or its image is lost.
    pub async fn get_pin(&self, id: PinId) -> Result<PinView, EngineError> {
        let pin = self.inner.pin(id).await?;
        let info = self.inner.stored(&pin.image_digest).await?;
        self.inner.pin_view(pin, info).await
    }

    /// The pin of a reference, as it was written, for a platform.
    ///
    /// # Errors
    /// There is none, or its image is lost.
    pub async fn find_pin(
        &self,
        reference: &str,
        platform: Option<&Platform>,
    ) -> Result<PinView, EngineError> {
        let found = self.inner.find(reference, platform).await?;
        let pin = found.ok_or_else(|| EngineError::not_found(Kind::Pin, reference))?;
        let info = self.inner.stored(&pin.image_digest).await?;
        self.inner.pin_view(pin, info).await
    }

    /// All pins whose images are there, by reference.
    ///
    /// # Errors
    /// The ledger or the store failed.
    pub async fn list_pins(&self) -> Result<Vec<PinView>, EngineError> {
        let mut views = Vec::new();
        for pin in self.inner.ledger.pins().await? {
            if let Some(info) = self.inner.ports.images.get(&pin.image_digest).await.map_err(store_failed)? {
                views.push(self.inner.pin_view(pin, info).await?);
            }
        }
        Ok(views)
    }

    /// Removes a pin, and its image if nothing else pins or uses it: then the answer is true. A pin with
    /// `keep_on_destroy` only loses that mark; its second removal removes it.
    ///
    /// # Errors
    /// There is none.
    pub async fn delete_pin(&self, id: PinId) -> Result<bool, EngineError> {
        self.run(move |inner| async move { inner.delete_pin(id).await }).await
    }

    /// An image by its digest, a unique prefix of it (at least 8 digits), or a pinned reference.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub async fn get_image(&self, id: &str) -> Result<ImageView, EngineError> {
        let pins = self.inner.ledger.pins().await?;
        let digest = self.inner.digest_of(id, &pins).await?;
        let info = self.inner.stored(&digest).await?;
        Ok(self.inner.image_view(info, &pins))
    }

    /// All images of the store.
    ///
    /// # Errors
    /// The ledger or the store failed.
    pub async fn list_images(&self) -> Result<Vec<ImageView>, EngineError> {
        let pins = self.inner.ledger.pins().await?;
        let images = self.inner.ports.images.list().await.map_err(store_failed)?;
        Ok(images.into_iter().map(|info| self.inner.image_view(info, &pins)).collect())
    }
}
