//! What every data source begins with: a host, and a time in which it has to answer.

use std::sync::Arc;
use std::time::Duration;

use tfplugin::timeouts::{self, ReadTimeouts};
use tfplugin::{Attr, Attribute, Context, Reason};

use crate::client::hosts::{Connection, HostError, Patience};
use crate::client::{AgentError, Answer};
use crate::config::Berth;
use crate::report::{self, Diagnostics, Kind};

pub(super) const DEFAULT_TIMEOUT: &str = "1m";
pub(super) const DEFAULT_LIMIT: Duration = Duration::from_secs(60);

/// The argument `host`.
pub fn host() -> Attribute {
    Attribute::string(
        "The host: a key of the provider's `hosts`, or an address. Default: the provider's `host`.",
    )
}

/// The argument `timeouts`.
pub fn timeouts() -> Attribute {
    timeouts::read_attribute(DEFAULT_TIMEOUT)
}

/// Asks the host's agent, in its time.
pub async fn ask<T>(
    cx: &mut Context<Berth>,
    host: &Attr<String>,
    timeouts: &Attr<ReadTimeouts>,
    call: &'static str,
    question: impl AsyncFnOnce(Arc<Connection>) -> Answer<T>,
) -> Result<T, Diagnostics> {
    let berth = Arc::clone(cx.client());
    let set = timeouts.known().map(|timeouts| &timeouts.read).and_then(Attr::as_str);
    let after = set.and_then(timeouts::parse).unwrap_or(DEFAULT_LIMIT);
    let plain = |_: &str| Kind::Plain;
    let reach = berth.hosts.connect(host.as_str(), Patience::OneAttempt);
    let asking = async {
        let connection = reach.await.map_err(Failed::Host)?;
        question(connection).await.map_err(Failed::Agent)
    };
    let done = tokio::select! {
        done = tokio::time::timeout(after, asking) => done,
        () = cx.cancel().cancelled() => Ok(Err(Failed::Agent(AgentError::Interrupted { call }))),
    };
    match done {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(Failed::Host(error))) => {
            if matches!(error, HostError::Unknown(_)) {
                cx.defer(Reason::ProviderConfigUnknown);
            }
            Err(report::from_host(&error).into())
        }
        Ok(Err(Failed::Agent(error))) => Err(report::from_agent(&error, 0, plain).into()),
        Err(_) => Err(report::from_agent(&AgentError::TimedOut { call, after }, 0, plain).into()),
    }
}

enum Failed {
    Host(HostError),
    Agent(AgentError),
}
