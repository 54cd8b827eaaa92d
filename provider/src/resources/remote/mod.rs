//! `berth_remote`: a registry that a host knows by name.

pub mod convert;
pub mod model;
pub mod plan;

#[cfg(test)]
mod tests;
