//! The Terraform provider for Berth: typed resources on top of `tfplugin`, and a client of the agent.

pub mod client;
pub mod text;
