//! `berth_instance`: a container on a host.

pub mod contents;
pub mod convert;
pub mod crud;
pub mod model;
pub mod plan;
pub mod process;
pub mod schema;
pub mod validate;

pub use crud::Instance;

#[cfg(test)]
mod tests;
