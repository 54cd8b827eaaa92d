//! The inside of a container: its first process, and the programs that run in it.

pub mod attach;
pub mod files;
pub mod init;
mod inside;
mod mounts;
mod nodes;
mod seccomp;
pub mod session;

pub use mounts::{Prepared, arrange_share, device};
pub use seccomp::Profile;
