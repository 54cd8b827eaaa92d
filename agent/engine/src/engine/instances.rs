//! Instances. Operations on one instance take turns, those on different ones do not wait for each other, and none
//! is cut short when its caller goes away.

use berth_domain::{InstanceDraft, InstanceId};

use super::Engine;
use crate::error::EngineError;
use crate::ports::runtime::StopMode;
use crate::report::Reporter;
use crate::view::{By, InstanceView};

impl Engine {
    /// Makes an instance, and starts it where it is wanted running. What cannot be started is undone whole.
    ///
    /// # Errors
    /// The draft is invalid, the name taken, the image not to be had, or it cannot be started.
    pub async fn create_instance(
        &self,
        _draft: InstanceDraft,
        _reporter: Reporter,
    ) -> Result<InstanceView, EngineError> {
        Err(EngineError::Closing)
    }

    /// One instance, as the ledger has it.
    ///
    /// # Errors
    /// There is none.
    pub async fn get_instance(&self, _by: By<InstanceId>) -> Result<InstanceView, EngineError> {
        Err(EngineError::Closing)
    }

    /// All instances, by name.
    ///
    /// # Errors
    /// The ledger failed.
    pub async fn list_instances(&self) -> Result<Vec<InstanceView>, EngineError> {
        Err(EngineError::Closing)
    }

    /// Replaces the whole spec, with the mildest effect that makes it so. What cannot be brought up goes back to
    /// what ran before.
    ///
    /// # Errors
    /// The draft is invalid, the name taken, the image not to be had, or it cannot be brought up.
    pub async fn update_instance(
        &self,
        _id: InstanceId,
        _draft: InstanceDraft,
        _reporter: Reporter,
    ) -> Result<InstanceView, EngineError> {
        Err(EngineError::Closing)
    }

    /// Stops and removes an instance, with its root filesystem and its logs. What was asked for stays asked for
    /// when it fails: the agent goes on trying.
    ///
    /// # Errors
    /// There is none, or a step failed.
    pub async fn delete_instance(
        &self,
        _id: InstanceId,
        _mode: StopMode,
        _reporter: Reporter,
    ) -> Result<(), EngineError> {
        Err(EngineError::Closing)
    }

    /// Starts an instance, and sets `running`. Nothing happens where it runs.
    ///
    /// # Errors
    /// There is none, or it cannot be started; it is wanted running all the same.
    pub async fn start_instance(
        &self,
        _id: InstanceId,
        _reporter: Reporter,
    ) -> Result<InstanceView, EngineError> {
        Err(EngineError::Closing)
    }

    /// Stops an instance, and clears `running`: nothing starts it again but a user.
    ///
    /// # Errors
    /// There is none, or it cannot be stopped.
    pub async fn stop_instance(
        &self,
        _id: InstanceId,
        _mode: StopMode,
        _reporter: Reporter,
    ) -> Result<InstanceView, EngineError> {
        Err(EngineError::Closing)
    }

    /// Stops and starts an instance, and sets `running`.
    ///
    /// # Errors
    /// There is none, or it cannot be stopped or started.
    pub async fn restart_instance(
        &self,
        _id: InstanceId,
        _mode: StopMode,
        _reporter: Reporter,
    ) -> Result<InstanceView, EngineError> {
        Err(EngineError::Closing)
    }
}
