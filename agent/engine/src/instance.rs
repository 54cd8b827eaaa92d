//! Instances: a task each, and what all of them share.

pub(crate) mod actor;
pub(crate) mod claims;
mod converge;
pub(crate) mod directory;
pub(crate) mod files;
pub(crate) mod interfaces;
pub(crate) mod mounts;
mod operations;
mod retry;
mod status;
pub(crate) mod update;
