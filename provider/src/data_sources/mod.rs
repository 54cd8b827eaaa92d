//! The data sources.

pub mod host;
pub mod registry;
pub mod volume;
