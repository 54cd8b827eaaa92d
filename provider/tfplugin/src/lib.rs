//! A typed framework for providers of Terraform's plugin protocol 6; knows nothing of Berth.
//!
//! A provider's author writes a [`Provider`], and for each kind of thing a [`Resource`], a [`DataSource`], an [`Ephemeral`], an
//! [`Action`], a [`List`] or a [`Function`]: a [`Schema`] and a struct made with [`model!`] that is its [`Model`]. `run(provider)` does the rest:
//!
//! - `value`: values told apart as known, null and unknown, and their forms on the wire
//! - `schema`: attributes, what documents and validates them, and how each is planned
//! - `plan`: from configuration and prior state to a plan, by Terraform's rules; pure
//! - `server`: the protocol, a file a call
//! - `handshake`: how Terraform starts a plugin and is sure of it: environment, mutual TLS, the line on stdout

mod action;
mod cancel;
mod context;
mod data_source;
mod deferral;
mod diagnostics;
mod ephemeral;
mod erased;
mod function;
mod handshake;
mod identity;
mod list;
mod plan;
mod private;
mod provider;
mod resource;
pub mod schema;
mod server;
pub mod timeouts;
pub mod value;

pub use action::{Action, Progress};
pub use cancel::Cancel;
pub use context::{Context, Plan};
pub use data_source::DataSource;
pub use deferral::Reason;
pub use diagnostics::{Diagnostic, Diagnostics, Severity};
pub use ephemeral::{Ephemeral, Opened};
pub use function::{Function, FunctionError, Parameter, Rest, Signature};
pub use handshake::run;
pub use identity::IdentitySchema;
pub use list::{Found, List};
pub use private::Private;
pub use provider::{Configure, Kinds, Provider};
pub use resource::{Create, MoveSource, Resource, Update};
pub use schema::{Attribute, Schema, SchemaError};
pub use value::{Attr, Model, Path, Type, Value};
