//! `berth_remote`: a registry that a host knows by name.

pub mod convert;
pub mod crud;
pub mod model;
pub mod plan;
pub mod schema;

pub use crud::Remote;

#[cfg(test)]
mod tests;
