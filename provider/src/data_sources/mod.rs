//! The data sources.

pub mod host;
pub mod volume;
