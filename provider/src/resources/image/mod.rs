//! `berth_image`: a pin on an image of a host.

pub mod archive;
pub mod convert;
pub mod crud;
pub mod model;
pub mod plan;
pub mod schema;

pub use crud::Image;

#[cfg(test)]
mod tests;
