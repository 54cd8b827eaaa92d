//! The actions (Terraform 1.14): what is done when a user or a resource's change asks for it, and changes no state.

use std::sync::Arc;
use std::time::Duration;

use tfplugin::timeouts::{self, InvokeTimeouts};
use tfplugin::{Attr, Attribute, Context};

use crate::client::Answer;
use crate::client::hosts::Connection;
use crate::config::Berth;
use crate::report::{self, Diagnostics, Kind};
use crate::resources::session;

pub mod command;
pub mod image_prune;
pub mod image_pull;
pub mod instance_exec;
pub mod instance_restart;

const DEFAULT_LIMIT: Duration = Duration::from_secs(20 * 60);

/// The argument `timeouts`.
fn timeouts() -> Attribute {
    timeouts::invoke_attribute(session::DEFAULT_TIMEOUT)
}

/// What an argument is, for paths that the agent writes.
fn kind(argument: &str) -> Kind {
    match argument {
        "environment" => Kind::Map,
        "command" => Kind::List,
        _ => Kind::Plain,
    }
}

/// Has the host's agent do it, in its time and until the user asks for a stop.
async fn on_host<T>(
    cx: &Context<Berth>,
    host: &Attr<String>,
    timeouts: &Attr<InvokeTimeouts>,
    call: &'static str,
    work: impl AsyncFnOnce(Arc<Connection>) -> Answer<T>,
) -> Result<T, Diagnostics> {
    let connection = session::reach_for_change(cx, host).await?;
    let set = timeouts.known().map(|timeouts| &timeouts.invoke).and_then(Attr::as_str);
    let limit = set.and_then(timeouts::parse).unwrap_or(DEFAULT_LIMIT);
    let done = session::timed(cx, limit, call, work(connection)).await;
    done.map_err(|error| report::from_agent(&error, cx.client().error_log_lines, kind).into())
}
