//! The arguments that are about an instance's process: health, waiting, boot, security, the kernel's settings, secrets.

pub mod convert;
pub mod model;
pub mod schema;
pub mod validate;
pub mod wait;
