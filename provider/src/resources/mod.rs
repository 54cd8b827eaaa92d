//! The resources: of each, its schema, its model, its pure plan, and its calls to the agent.

pub mod access;
pub mod docker;
pub mod exec;
pub mod identity;
pub mod image;
pub mod instance;
pub mod labels;
pub mod network;
pub mod remote;
pub mod session;
pub mod volume;
