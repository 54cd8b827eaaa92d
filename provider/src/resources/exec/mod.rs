//! `berth_exec`: a command that is run once inside an instance.

mod crud;
mod model;
mod schema;

pub use crud::Exec;
