//! The Terraform provider for Berth: typed resources on top of `tfplugin`, and a client of the agent.

pub mod attr;
pub mod client;
pub mod report;
pub mod resources;
pub mod text;
