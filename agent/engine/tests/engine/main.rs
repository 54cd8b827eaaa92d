//! The engine on a host in memory: what users see, and that nothing is lost when it dies at any point.

mod basics;
mod faults;
mod support;
