//! `berth_volume`: a directory on a host that outlives instances.

pub mod convert;
pub mod crud;
pub mod model;
pub mod plan;
pub mod schema;

pub use crud::Volume;

#[cfg(test)]
mod tests;
