//! What the engine needs of the world, as traits. The agent makes them from the host crates; the tests have fakes.
//!
//! Rules for every port, which the contract suites in `testing` check on fakes and real adapters alike:
//! - a call can be made again after it succeeded, failed, or was cut off, and then ends in the same state;
//! - an error is typed, names the thing, and leaves nothing half done that the next call does not mend;
//! - a dropped future may leave its work unfinished, never broken.

use std::error::Error;
use std::sync::Arc;

pub mod access;
pub mod exec;
pub mod host;
pub mod images;
pub mod interface;
pub mod network;
pub mod runtime;
pub mod volumes;

/// Why an adapter failed, for the chain that is printed once at the edge.
pub type Cause = Box<dyn Error + Send + Sync + 'static>;

/// All ports.
#[derive(Clone)]
pub struct Ports {
    /// Registries and the store.
    pub images: Arc<dyn images::Images>,
    /// Supervisors and their data.
    pub runtime: Arc<dyn runtime::Runtime>,
    /// Bridges and published ports.
    pub network: Arc<dyn network::Network>,
    /// Volumes.
    pub volumes: Arc<dyn volumes::Volumes>,
    /// The machine.
    pub host: Arc<dyn host::Host>,
}
