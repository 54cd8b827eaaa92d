//! What of the host is put into an instance, and can change while it runs.

pub mod devices;
pub mod files;
pub mod mounts;
pub mod networks;
pub mod ports;
