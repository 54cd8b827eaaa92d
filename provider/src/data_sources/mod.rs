//! The data sources.

pub mod host;
