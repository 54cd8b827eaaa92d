//! `berth_image`: a pin on an image of a host.

pub mod convert;
pub mod model;
pub mod plan;

#[cfg(test)]
mod tests;
