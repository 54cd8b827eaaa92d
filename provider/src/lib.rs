//! The Terraform provider for Berth: typed resources on top of `tfplugin`, and a client of the agent.

pub mod actions;
pub mod attr;
pub mod both;
pub mod client;
pub mod config;
pub mod data_sources;
pub mod ephemeral;
pub mod functions;
pub mod lists;
pub mod provider;
pub mod report;
pub mod resources;
pub mod text;

#[cfg(test)]
mod schema_tests;
