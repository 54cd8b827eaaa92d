//! Ledger, reconciler, ports and events; knows neither tonic nor Linux.
//!
//! [`Engine`] is the one door. It commits what is asked for to the ledger, and then follows the reconciler, which
//! compares the ledger with the host, plans, and takes steps through the [`ports`]. A killed agent, a rebooted
//! host and a lost connection are one case: what was committed is made so by whoever comes next.

pub mod engine;
pub mod error;
pub mod event;
pub mod ledger;
pub mod ports;
pub mod report;
pub mod view;

pub use engine::{Config, Engine};
pub use error::{EngineError, Reason, Report};
pub use event::{Action, Event, Subject};
pub use ports::Ports;
pub use report::{Progress, Reporter};
