//! The parts of a spec: each is checked when it is made.

pub mod environment;
pub mod limits;
pub mod port;
pub mod restart;
pub mod signal;
pub mod text;
pub mod user;
