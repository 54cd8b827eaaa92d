//! The engine on a host in memory: what users see, and that nothing is lost when it dies at any point.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod basics;
mod contracts;
mod faults;
mod support;
