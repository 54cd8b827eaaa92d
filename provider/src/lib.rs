//! The Terraform provider for Berth: typed resources on top of `tfplugin`, and a client of the agent.

pub mod attr;
pub mod client;
pub mod config;
pub mod data_sources;
pub mod provider;
pub mod report;
pub mod resources;
pub mod text;

#[cfg(test)]
mod schema_tests;
