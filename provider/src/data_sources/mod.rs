//! The data sources.

pub mod facts;
pub mod host;
pub mod image;
pub mod instance;
pub mod instances;
pub mod logs;
pub mod look;
pub mod network;
pub mod registry;
pub mod volume;
