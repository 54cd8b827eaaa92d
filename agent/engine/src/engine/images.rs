//! Images and the pins that keep them.

use berth_domain::{Digest, PinId, Platform};

use super::Engine;
use crate::error::EngineError;
use crate::ports::images::{Known, Resolution};
use crate::report::Reporter;
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

impl Engine {
    /// Asks the registry what a reference means now.
    ///
    /// # Errors
    /// The registry does not say.
    pub async fn resolve_image(&self, _query: ResolveQuery) -> Result<Resolution, EngineError> {
        Err(EngineError::Closing)
    }

    /// Pulls an image and pins it. Goes on when the caller goes away.
    ///
    /// # Errors
    /// The image cannot be had; a pin that was to move stays where it was.
    pub async fn pull_image(&self, _query: PullQuery, _reporter: Reporter) -> Result<PinView, EngineError> {
        Err(EngineError::Closing)
    }

    /// One pin.
    ///
    /// # Errors
    /// There is none.
    pub async fn get_pin(&self, _id: PinId) -> Result<PinView, EngineError> {
        Err(EngineError::Closing)
    }

    /// The pin of a reference, as it was written, for a platform.
    ///
    /// # Errors
    /// There is none.
    pub async fn find_pin(
        &self,
        _reference: &str,
        _platform: Option<&Platform>,
    ) -> Result<PinView, EngineError> {
        Err(EngineError::Closing)
    }

    /// All pins, by reference.
    ///
    /// # Errors
    /// The ledger or the store failed.
    pub async fn list_pins(&self) -> Result<Vec<PinView>, EngineError> {
        Err(EngineError::Closing)
    }

    /// Removes a pin, and its image if nothing else pins or uses it: then the answer is true. A pin with
    /// `keep_on_destroy` only loses that mark; its second removal removes it.
    ///
    /// # Errors
    /// There is none.
    pub async fn delete_pin(&self, _id: PinId) -> Result<bool, EngineError> {
        Err(EngineError::Closing)
    }

    /// An image by its digest, a unique prefix of it (at least 8 digits), or a pinned reference.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub async fn get_image(&self, _id: &str) -> Result<ImageView, EngineError> {
        Err(EngineError::Closing)
    }

    /// All images of the store.
    ///
    /// # Errors
    /// The ledger or the store failed.
    pub async fn list_images(&self) -> Result<Vec<ImageView>, EngineError> {
        Err(EngineError::Closing)
    }
}
