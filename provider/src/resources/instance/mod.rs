//! `berth_instance`: a container on a host.

pub mod convert;
pub mod model;
pub mod plan;
pub mod validate;

#[cfg(test)]
mod tests;
