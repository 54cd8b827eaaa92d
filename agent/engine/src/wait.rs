//! Waiting until an instance is what its user needs it to be.

use std::time::Duration;

use berth_domain::{Health, HealthState, InstanceId, Status};
use ipnet::IpNet;
use thiserror::Error;

use crate::engine::Engine;
use crate::error::{EngineError, Kind, Reason};
use crate::instance::actor::Snapshot;
use crate::view::InstanceView;

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Its program runs.
    Started,
    /// Its health check succeeds.
    Healthy,
    /// It has an address on this interface; `None`: on any.
    Address {
        /// Its name inside.
        interface: Option<String>,
        /// `Some(true)`: of version 6, `Some(false)`: of version 4.
        ipv6: Option<bool>,
    },
    /// A connection to this port of it comes about.
    Port(u16),
    /// It ends by itself for good, with one of these codes.
    Exited {
        /// Which mean success.
        codes: Vec<i32>,
    },
}

/// Why it did not come to that.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WaitError {
    /// It is not asked to run.
    #[error("is stopped, and was waited for")]
    Stopped,
    /// It ended by itself.
    #[error("ended with code {code}{}, before it {what}", if *oom_killed { ", killed for want of memory" } else { "" })]
    Ended {
        /// Its code.
        code: i32,
        /// Whether the kernel killed it for want of memory.
        oom_killed: bool,
        /// "was healthy" and the like.
        what: &'static str,
    },
    /// It could not be brought up.
    #[error("could not be brought up: {detail}")]
    Failed {
        /// Why.
        detail: String,
    },
    /// It has no health check.
    #[error("has no health check, and its health was waited for")]
    NoCheck,
    /// Its health check failed too often.
    #[error("is unhealthy: {output}")]
    Unhealthy {
        /// What the last try said.
        output: String,
    },
    /// It ended with a code that does not mean success.
    #[error("ended with code {code}{}", if *oom_killed { ", killed for want of memory" } else { "" })]
    Code {
        /// The code.
        code: i32,
        /// Whether the kernel killed it for want of memory.
        oom_killed: bool,
    },
    /// There was no more time.
    #[error("did not come to the point within {} s: {state}", waited.as_secs())]
    Late {
        /// How long was waited.
        waited: Duration,
        /// How it was then.
        state: String,
    },
}

impl WaitError {
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::NoCheck | Self::Stopped => Reason::InvalidArgument,
            _ => Reason::StartFailed,
        }
    }

    pub(crate) fn advice(&self) -> &'static str {
        match self {
            Self::Stopped => "Start it, or do not wait for it",
            Self::NoCheck => "Give health_check, or wait for something else",
            Self::Late { .. } => "Allow more time (timeouts), or see why it is slow: berth instance logs",
            _ => "See why with berth instance logs, mend it, and apply again",
        }
    }
}

/// How often a port is tried: that somebody listens on it is no event that can be awaited.
const PORT_AGAIN: Duration = Duration::from_millis(100);

/// Lines of the log that an error carries.
const LAST_WORDS: u32 = 100;

impl Engine {
    /// Waits until the condition holds.
    ///
    /// # Errors
    /// There is no such instance, or the condition cannot come about any more, or not in time; with the instance's
    /// last words.
    pub async fn wait(
        &self,
        id: InstanceId,
        condition: &Condition,
        limit: Duration,
    ) -> Result<InstanceView, EngineError> {
        let handle =
            self.inner().directory.get(id).ok_or_else(|| EngineError::not_found(Kind::Instance, id))?;
        let mut seen = handle.watch();
        let comes = async {
            loop {
                let snapshot = seen.borrow_and_update().clone();
                match self.holds(&snapshot, condition).await {
                    Ok(true) => return Ok(snapshot.view()),
                    Ok(false) => {}
                    Err(source) => return Err(source),
                }
                let changed = async {
                    // Its task is gone when the instance was deleted, or the agent ends.
                    seen.changed().await.map_err(|_gone| WaitError::Stopped)
                };
                match condition {
                    Condition::Port(_) => match tokio::time::timeout(PORT_AGAIN, changed).await {
                        Ok(changed) => changed?,
                        Err(_elapsed) => {}
                    },
                    _ => changed.await?,
                }
            }
        };
        let ended = tokio::time::timeout(limit, comes).await;
        let source = match ended {
            Ok(Ok(view)) => return Ok(view),
            Ok(Err(source)) => source,
            Err(_elapsed) => {
                let snapshot = handle.snapshot();
                WaitError::Late { waited: limit, state: state(&snapshot) + &missing(&snapshot, condition) }
            }
        };
        let name = handle.snapshot().record.name().to_owned();
        Err(self.inner().with_last_words(id, EngineError::Wait { name, source }).await)
    }

    async fn holds(&self, snapshot: &Snapshot, condition: &Condition) -> Result<bool, WaitError> {
        let what = match condition {
            Condition::Started => "was seen to run",
            Condition::Healthy => "was healthy",
            Condition::Address { .. } => "had its address",
            Condition::Port(_) => "answered on its port",
            Condition::Exited { codes } => return exited(snapshot, codes),
        };
        match snapshot.status() {
            Status::Running => {}
            Status::Creating | Status::Restarting => return Ok(false),
            Status::Stopped | Status::Deleting => return Err(WaitError::Stopped),
            Status::Failed { detail } => return Err(WaitError::Failed { detail }),
            Status::Exited => {
                let (code, oom_killed) = how(snapshot);
                return Err(WaitError::Ended { code, oom_killed, what });
            }
        }
        match condition {
            Condition::Started | Condition::Exited { .. } => Ok(true),
            Condition::Healthy => healthy(snapshot),
            Condition::Address { interface, ipv6 } => Ok(has_address(snapshot, interface.as_deref(), *ipv6)),
            Condition::Port(port) => {
                if snapshot.ipv4().is_none() && !snapshot.record.current.spec.security.host_network {
                    return Ok(false);
                }
                // An address that the agent did not give is perhaps none that the host reaches.
                let address = snapshot.record.ipv4();
                Ok(self.inner().ports.runtime.answers(snapshot.record.id, address, *port).await)
            }
        }
    }
}

fn exited(snapshot: &Snapshot, codes: &[i32]) -> Result<bool, WaitError> {
    match snapshot.status() {
        Status::Exited => {
            let (code, oom_killed) = how(snapshot);
            if codes.contains(&code) { Ok(true) } else { Err(WaitError::Code { code, oom_killed }) }
        }
        Status::Failed { detail } => Err(WaitError::Failed { detail }),
        Status::Stopped | Status::Deleting => Err(WaitError::Stopped),
        Status::Creating | Status::Running | Status::Restarting => Ok(false),
    }
}

fn how(snapshot: &Snapshot) -> (i32, bool) {
    let exit = snapshot.record.current.exit.as_ref();
    (exit.map_or(255, |exit| exit.code), exit.is_some_and(|exit| exit.oom_killed))
}

fn healthy(snapshot: &Snapshot) -> Result<bool, WaitError> {
    match &snapshot.health {
        Some(Health { state: HealthState::Healthy, .. }) => Ok(true),
        Some(Health { state: HealthState::Starting, .. }) => Ok(false),
        Some(Health { state: HealthState::Unhealthy, output, .. }) => {
            Err(WaitError::Unhealthy { output: output.trim().to_owned() })
        }
        None if snapshot.has_check() => Ok(false),
        None => Err(WaitError::NoCheck),
    }
}

fn has_address(snapshot: &Snapshot, interface: Option<&str>, ipv6: Option<bool>) -> bool {
    let addresses = snapshot.view().addresses;
    let of = addresses.iter().filter(|(name, _)| interface.is_none_or(|wanted| wanted == name.as_str()));
    let mut found = of.flat_map(|(_, addresses)| addresses.iter().map(IpNet::addr));
    found.any(|address| ipv6.is_none_or(|ipv6| address.is_ipv6() == ipv6))
}

/// Which addresses are waited for in vain, and why.
fn missing(snapshot: &Snapshot, condition: &Condition) -> String {
    let only = match condition {
        Condition::Address { interface, .. } => interface.as_deref(),
        Condition::Port(_) => None,
        _ => return String::new(),
    };
    let of = snapshot.addresses.iter().filter(|(name, _)| only.is_none_or(|only| only == name.as_str()));
    let without = of.filter(|(_, addresses)| addresses.is_empty()).map(|(name, _)| {
        let state = snapshot.interfaces.get(name);
        match state.and_then(|state| state.trouble.as_deref()) {
            Some(trouble) => format!(", and its interface {name} has no address: {trouble}"),
            None => format!(", and its interface {name} has no address"),
        }
    });
    without.collect()
}

/// In a few words for a person.
fn state(snapshot: &Snapshot) -> String {
    let health = snapshot.health.as_ref().map(|health| {
        let output = health.output.trim();
        let said = if output.is_empty() { String::new() } else { format!(", and its check says: {output}") };
        format!("it runs, its health is {}{said}", health.state.as_str())
    });
    match snapshot.status() {
        Status::Running => health.unwrap_or_else(|| "it runs".to_owned()),
        Status::Restarting => {
            let (code, _) = snapshot.exit_now().unwrap_or((255, false));
            format!("it ended with code {code} and waits to be started again")
        }
        Status::Creating => "it is being made".to_owned(),
        Status::Stopped => "it is stopped".to_owned(),
        Status::Exited => "it ended".to_owned(),
        Status::Failed { detail } => detail,
        Status::Deleting => "it is being deleted".to_owned(),
    }
}

impl crate::engine::Inner {
    /// The error with the last words of the instance that it is about, where there are any.
    pub(crate) async fn with_last_words(&self, id: InstanceId, error: EngineError) -> EngineError {
        use crate::ports::runtime::LogRequest;
        let request = LogRequest { tail: Some(LAST_WORDS), ..LogRequest::default() };
        let Ok(mut lines) = self.ports.runtime.logs(id, &request).await else { return error };
        let mut log = Vec::new();
        while let Some(Ok(line)) = lines.recv().await {
            log.push(line);
        }
        if log.is_empty() { error } else { EngineError::Logged { error: Box::new(error), log } }
    }
}
