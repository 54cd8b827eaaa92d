//! What every operation on a host begins with: the agent, the right one, and in time.

use std::sync::Arc;
use std::time::Duration;

use tfplugin::timeouts::{self, Timeouts};
use tfplugin::{Attr, Context, Reason};

use crate::client::hosts::{Connection, HostError, Patience, Setting};
use crate::client::{AgentError, Answer};
use crate::config::Berth;
use crate::report::{self, Diagnostic, Diagnostics, Path};
use crate::resources::instance::convert::Labels;

/// How long a change may take when nothing is said, as the documentation writes it.
pub const DEFAULT_TIMEOUT: &str = "20m";
const DEFAULT_LIMIT: Duration = Duration::from_secs(20 * 60);

/// How long a read's calls may take: it asks for what the agent knows and waits for nothing.
const READ_LIMIT: Duration = Duration::from_secs(60);

/// How long an agent may take to be back where `wait_for_host` does not say more: its service starts it again after a second.
const BACK_WITHIN: Duration = Duration::from_secs(10);

/// How often it may go away during one change.
const MOST_BREAKS: usize = 3;

/// Where the agent's own id is kept, to tell one agent from another under the same key.
const AGENT_ID: &str = "agent_id";

/// What a read finds before it has read anything.
pub enum Reach {
    /// The agent that made the thing.
    Agent(Arc<Connection>),
    /// Nobody can be asked: the state stays as it is.
    KeepState,
    /// The agent there is another one: the thing is not on it.
    Missing,
}

/// The agent a read asks, in one attempt.
pub async fn reach_for_read(cx: &mut Context<Berth>, host: &Attr<String>) -> Result<Reach, Diagnostics> {
    let berth = Arc::clone(cx.client());
    match berth.hosts.connect(host.as_str(), Patience::OneAttempt).await {
        Ok(connection) if is_another(cx, &connection) => {
            cx.warn(report::warning(
                Path::root(),
                format!("Another agent answers at {}", connection.label),
                "The agent that made this is no longer the one that answers there, so this is treated as missing and \
                 will be made anew. If that is wrong, correct the host's address before you apply.",
            ));
            Ok(Reach::Missing)
        }
        Ok(connection) => Ok(Reach::Agent(connection)),
        Err(HostError::Unknown(_)) => {
            // A Terraform that can wait reads it once the host is known; another plans with what the state says.
            cx.defer(Reason::ProviderConfigUnknown);
            Ok(Reach::KeepState)
        }
        Err(error) => match forgiven(&berth, host, &error) {
            Some(warning) => {
                cx.warn(warning);
                Ok(Reach::KeepState)
            }
            None => Err(report::from_host(&error).into()),
        },
    }
}

/// The warning for a host that may be down.
fn forgiven(berth: &Berth, host: &Attr<String>, error: &HostError) -> Option<Diagnostic> {
    let HostError::Agent(problem) = error else { return None };
    let target = berth.hosts.settings().target(host.as_str()).ok()?;
    (target.warn_when_unreachable && problem.is_unreachable()).then(|| {
        let detail = format!("{}\n\nWhat the state says of its resources is kept as it is.", error.explain());
        report::warning(Path::root(), error.to_string(), detail)
    })
}

/// What a failed call of a read means: a host that went down in between may be forgiven.
pub fn read_failed(
    cx: &mut Context<Berth>,
    host: &Attr<String>,
    problem: AgentError,
    kind: impl Fn(&str) -> report::Kind,
) -> Result<(), Diagnostics> {
    let berth = Arc::clone(cx.client());
    let error = HostError::Agent(problem);
    match (forgiven(&berth, host, &error), &error) {
        (Some(warning), _) => {
            cx.warn(warning);
            Ok(())
        }
        (None, HostError::Agent(problem)) => {
            Err(report::from_agent(problem, berth.error_log_lines, kind).into())
        }
        (None, _) => Err(report::from_host(&error).into()),
    }
}

/// The agent a change asks, waited for as the provider's configuration says.
pub async fn reach_for_change(
    cx: &Context<Berth>,
    host: &Attr<String>,
) -> Result<Arc<Connection>, Diagnostics> {
    let berth = Arc::clone(cx.client());
    let connect = berth.hosts.connect(host.as_str(), Patience::WaitForHost);
    let connection = tokio::select! {
        connection = connect => connection.map_err(|error| report::from_host(&error))?,
        () = cx.cancel().cancelled() => {
            let error = AgentError::Interrupted { call: "Reaching the host" };
            return Err(report::from_agent(&error, 0, |_| report::Kind::Plain).into());
        }
    };
    connection.changes();
    Ok(connection)
}

/// The agent an import asks.
pub async fn reach_for_import(
    cx: &Context<Berth>,
    host: &Attr<String>,
) -> Result<Arc<Connection>, Diagnostics> {
    let berth = Arc::clone(cx.client());
    let connection = berth.hosts.connect(host.as_str(), Patience::OneAttempt).await;
    connection.map_err(|error| report::from_host(&error).into())
}

/// An import of something that is not there.
pub fn nothing_to_import(what: &str, name: &str, connection: &Connection, list: &str) -> Diagnostic {
    let summary = format!("There is no {what} {name} on {}", connection.label);
    let detail = format!(
        "An import names what is on a host already: [HOSTKEY,]NAME, or [HOSTKEY,]REFERENCE for an image. \"{list}\" \
         shows what there is."
    );
    report::error(Path::root(), summary, detail)
}

/// Whether the agent that answers is not the one that made the thing.
pub fn is_another(cx: &Context<Berth>, connection: &Connection) -> bool {
    let known: Option<String> = cx.private.get(AGENT_ID);
    known.is_some_and(|known| known != connection.agent_id)
}

/// Refuses to change on one agent what another made.
pub fn refuse_another(cx: &Context<Berth>, connection: &Connection) -> Result<(), Diagnostics> {
    if !is_another(cx, connection) {
        return Ok(());
    }
    let detail =
        "Plan again: what is on that host will be made anew. If that is wrong, correct the host's address.";
    let summary = format!("Another agent answers at {}", connection.label);
    Err(report::error(Path::root(), summary, detail).into())
}

/// Remembers which agent made the thing.
pub fn remember(cx: &mut Context<Berth>, connection: &Connection) {
    cx.private.set(AGENT_ID, &connection.agent_id);
}

/// The limit for one kind of change.
pub fn limit(timeouts: &Attr<Timeouts>, which: fn(&Timeouts) -> &Attr<String>) -> Duration {
    let text = timeouts.known().map(which).and_then(Attr::as_str);
    text.and_then(timeouts::parse).unwrap_or(DEFAULT_LIMIT)
}

/// A change's call, in its time, and until the user asks for a stop.
pub async fn timed<T>(
    cx: &Context<Berth>,
    limit: Duration,
    call: &'static str,
    work: impl Future<Output = Answer<T>>,
) -> Answer<T> {
    tokio::select! {
        done = tokio::time::timeout(limit, work) => {
            done.unwrap_or(Err(AgentError::TimedOut { call, after: limit }))
        }
        () = cx.cancel().cancelled() => Err(AgentError::Interrupted { call }),
    }
}

/// As [`timed`], for what may be asked for twice. Where the connection breaks the agent may be restarting, as it does when it
/// is updated: once it is back it is asked again, and goes on with what it was asked for.
pub async fn insisted<T, F: Future<Output = Answer<T>>>(
    cx: &Context<Berth>,
    connection: &Connection,
    limit: Duration,
    call: &'static str,
    ask: impl Fn() -> F,
) -> Answer<T> {
    let within = cx.client().hosts.settings().wait_for_host.unwrap_or_default().max(BACK_WITHIN);
    let work = async {
        let mut breaks = 0;
        loop {
            match ask().await {
                // What breaks again and again may be what ends the agent.
                Err(error)
                    if error.is_broken_off() && breaks < MOST_BREAKS && connection.is_back(within).await =>
                {
                    breaks += 1;
                }
                answer => return answer,
            }
        }
    };
    timed(cx, limit, call, work).await
}

/// A read's call.
pub async fn read_in_time<T>(call: &'static str, work: impl Future<Output = Answer<T>>) -> Answer<T> {
    let late = Err(AgentError::TimedOut { call, after: READ_LIMIT });
    tokio::time::timeout(READ_LIMIT, work).await.unwrap_or(late)
}

/// The provider's labels, which are known by the time anything is applied.
pub fn default_labels(berth: &Berth) -> Labels {
    match &berth.default_labels {
        Setting::Known(labels) => labels.clone(),
        Setting::Unknown => Labels::new(),
    }
}

/// Whether two `host` arguments name one host.
pub fn same_host(berth: &Berth, one: Option<&str>, other: Option<&str>) -> bool {
    let address = |host| berth.hosts.settings().target(host).ok().map(|target| target.address);
    one == other || matches!((address(one), address(other)), (Some(one), Some(other)) if one == other)
}

/// What an import names: a host, where it says one, and the thing on it.
pub fn import_id(id: &str) -> (Attr<String>, &str) {
    match id.split_once(',') {
        Some((host, name)) => (Attr::from(host), name),
        None => (Attr::Null, id),
    }
}

/// The text that imports a thing, for an error about a name that is taken.
pub fn import_block(resource: &str, host: &Attr<String>, name: &str) -> String {
    let label: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
    let id = host.as_str().map_or_else(|| name.to_owned(), |host| format!("{host},{name}"));
    format!(
        "To manage the one that is there, import it (with this resource's own address as \"to\"):\n\n  import {{\n    \
         to = {resource}.{label}\n    id = {id:?}\n  }}"
    )
}

/// Stops here if there is an error among what was found.
pub fn refuse(found: Vec<Diagnostic>) -> Result<(), Diagnostics> {
    Diagnostics::from(found).into_result().map(|_| ())
}

/// The `host` argument of a resource or a data source.
pub fn host_attribute() -> tfplugin::Attribute {
    tfplugin::Attribute::string(
        "The host it is on: a key of the provider's `hosts`, or an address. Another host replaces it. Default: the \
         provider's `host`.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_name_a_host_before_a_comma() {
        assert_eq!(import_id("web"), (Attr::Null, "web"));
        assert_eq!(import_id("node1,docker.io/web:1"), (Attr::from("node1"), "docker.io/web:1"));
    }

    #[test]
    fn the_import_block_is_ready_to_paste() {
        let block = import_block("berth_remote", &Attr::from("node1"), "my.hub");
        assert!(block.contains("to = berth_remote.my_hub\n    id = \"node1,my.hub\"\n"), "{block}");
    }
}
