//! For tests, of the engine and of whoever makes real ports: points to fail at, fakes of all ports, and a contract
//! suite for each port.

mod faults;

pub use faults::{Faults, Injected};
