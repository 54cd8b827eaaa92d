//! For tests: a contract suite for each port that the engine's fakes and the real adapters alike must pass; and, for the
//! engine's own, fakes of all ports and points to fail at.

mod contract;
mod contract_volumes;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod fake_network;
#[cfg(test)]
mod fake_ports;
#[cfg(test)]
mod fake_volumes;
#[cfg(test)]
mod faults;

pub use contract::{images, network, runtime};
pub use contract_volumes::volumes;
#[cfg(test)]
pub use fake::FakeHost;
#[cfg(test)]
pub use faults::{Faults, Injected};
