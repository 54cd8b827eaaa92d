//! What the agent asks of a supervisor: the launch spec, the control protocol, spawning and adopting.
//!
//! A supervisor lives as long as its instance is wanted running:
//!
//! ```text
//! spawn --spec--> setting up --> running <--> waiting to restart
//!                     |             |              |
//!                 LaunchError       +---- Stop ----+--> exit.json, gone
//!                                   +--- final exit ---> exit.json, gone
//! ```
//!
//! Without the `client` feature this crate is only the types that both sides share, for the static supervisor.

#[cfg(feature = "client")]
pub mod client;
pub mod control;
pub mod exit;
pub mod file;
pub mod health;
pub mod launch;
pub mod lease;
pub mod logs;
pub mod mount;
pub mod spec;
pub mod text;
