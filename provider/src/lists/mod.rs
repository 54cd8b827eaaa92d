//! The lists: what there is on a host, for `terraform query` (Terraform 1.14).

use std::sync::Arc;

use tfplugin::Context;

use crate::attr::Attr;
use crate::client::Answer;
use crate::client::hosts::Connection;
use crate::config::Berth;
use crate::report::{self, Diagnostics, Kind};
use crate::resources::session;

pub mod image;
pub mod instance;
pub mod network;
pub mod remote;
pub mod volume;

/// Asks the host's agent for all it has.
async fn all<T>(
    cx: &Context<Berth>,
    host: &Attr<String>,
    call: &'static str,
    question: impl AsyncFnOnce(Arc<Connection>) -> Answer<Vec<T>>,
) -> Result<Vec<T>, Diagnostics> {
    let connection = session::reach_for_import(cx, host).await?;
    let found = session::read_in_time(call, question(connection)).await;
    found.map_err(|error| report::from_agent(&error, 0, |_| Kind::Plain).into())
}
