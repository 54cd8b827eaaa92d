//! Ledger, reconciler, ports and events; knows neither tonic nor Linux.
//!
//! [`Engine`] is the one door. It commits what is asked for to the ledger, and then follows the reconciler, which
//! compares the ledger with the host, plans, and takes steps through the [`ports`]. A killed agent, a rebooted
//! host and a lost connection are one case: what was committed is made so by whoever comes next.
//!
//! Tasks: one an instance (`instance::actor`), which alone writes its record and takes its steps; one that hands the
//! runtime's events to them; and one for each call under way, so that a caller that goes away cuts nothing short.

pub mod engine;
pub mod error;
pub mod event;
mod image_error;
mod instance;
mod keeper;
pub mod ledger;
pub mod mount_error;
pub mod network_error;
mod networks;
pub mod ports;
pub mod report;
mod restrictions;
mod start_error;
pub mod testing;
#[cfg(test)]
mod tests;
pub mod view;
pub mod volume_error;
pub mod wait;

pub use engine::{Config, Engine};
pub use error::{EngineError, Reason, Report};
pub use event::{Action, Event, Subject};
pub use ports::Ports;
pub use report::{Progress, Reporter};
