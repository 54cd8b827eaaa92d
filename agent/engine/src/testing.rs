//! For tests, of the engine and of whoever makes real ports: points to fail at, fakes of all ports, and a contract
//! suite for each port that fakes and real adapters alike must pass.

mod contract;
mod fake;
mod fake_ports;
mod faults;

pub use contract::{images, network, runtime};
pub use fake::FakeHost;
pub use faults::{Faults, Injected};
