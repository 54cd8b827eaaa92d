//! Remotes and networks.

use berth_domain::{NetworkId, PasswordChange, RemoteDraft, RemoteId};

use super::Engine;
use crate::error::EngineError;
use crate::view::{By, NetworkView, RemoteView};

impl Engine {
    /// Makes a remote.
    ///
    /// # Errors
    /// The draft is invalid or the name taken.
    pub async fn create_remote(
        &self,
        _draft: &RemoteDraft,
        _password: Option<berth_domain::Password>,
    ) -> Result<RemoteView, EngineError> {
        Err(EngineError::Closing)
    }

    /// One remote.
    ///
    /// # Errors
    /// There is none.
    pub async fn get_remote(&self, _by: By<RemoteId>) -> Result<RemoteView, EngineError> {
        Err(EngineError::Closing)
    }

    /// All remotes, by name.
    ///
    /// # Errors
    /// The ledger failed.
    pub async fn list_remotes(&self) -> Result<Vec<RemoteView>, EngineError> {
        Err(EngineError::Closing)
    }

    /// Changes a remote.
    ///
    /// # Errors
    /// The draft is invalid, the name taken, or there is none.
    pub async fn update_remote(
        &self,
        _id: RemoteId,
        _draft: &RemoteDraft,
        _password: PasswordChange,
    ) -> Result<RemoteView, EngineError> {
        Err(EngineError::Closing)
    }

    /// Forgets a remote. What was pulled from it stays.
    ///
    /// # Errors
    /// There is none.
    pub async fn delete_remote(&self, _id: RemoteId) -> Result<(), EngineError> {
        Err(EngineError::Closing)
    }

    /// One network.
    ///
    /// # Errors
    /// There is none.
    pub async fn get_network(&self, _by: By<NetworkId>) -> Result<NetworkView, EngineError> {
        Err(EngineError::Closing)
    }

    /// All networks, by name.
    ///
    /// # Errors
    /// The ledger failed.
    pub async fn list_networks(&self) -> Result<Vec<NetworkView>, EngineError> {
        Err(EngineError::Closing)
    }
}
