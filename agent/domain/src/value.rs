//! The parts of a spec: each is checked when it is made.

pub mod boot;
pub mod environment;
pub mod health;
pub mod limits;
pub mod port;
pub mod restart;
pub mod secrets;
pub mod security;
pub mod signal;
pub mod text;
pub mod user;
