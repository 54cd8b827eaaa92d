//! The functions, which Terraform calls as `provider::berth::NAME`. Pure: no host is asked.

pub mod parse_env_file;
pub mod parse_reference;
pub mod parse_size;

use tfplugin::FunctionError;

use crate::report::capital;

/// What is wrong with the only argument, and what to do.
fn wrong(error: &dyn std::error::Error, advice: &str) -> FunctionError {
    FunctionError::new(format!("{}. {advice}", capital(&error.to_string()))).at(0)
}
