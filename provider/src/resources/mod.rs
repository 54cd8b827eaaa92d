//! The resources: of each, its schema, its model, its pure plan, and its calls to the agent.

pub mod instance;
