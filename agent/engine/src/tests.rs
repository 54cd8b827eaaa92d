//! The engine on a host in memory: what users see, and that nothing is lost when it dies at any point.

mod basics;
mod contracts;
mod faults;
mod files;
mod interfaces;
mod mounts;
mod networks;
mod process;
mod restrictions;
mod support;
mod volumes;
