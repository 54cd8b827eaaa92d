//! The ephemeral resources, which are in no plan and no state.

pub mod instance_exec;
