//! The data sources.

pub mod host;
pub mod instance;
pub mod logs;
pub mod volume;
