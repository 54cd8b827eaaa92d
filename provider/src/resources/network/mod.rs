//! `berth_network`: what instances are connected by.

pub mod convert;
pub mod crud;
pub mod dhcp;
pub mod model;
pub mod plan;
pub mod schema;

pub use crud::Network;

#[cfg(test)]
mod tests;
