//! The hosts a configuration names, each dialled at its first use and kept.
//!
//! Configuring does no I/O. A slot is *empty* until something is asked of its host, then *up* for the
//! life of the process (the channel dials again by itself), or *down*: reads that come within
//! [`DOWN_FOR`] get the same error without a new attempt, so that a thousand resources of a dead host
//! do not wait for a thousand timeouts.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::address::{Address, AddressError};
use super::dial::{self, DialError};
use super::grpc::GrpcAgent;
use super::listed::Listed;
use super::operations::Whole;
use super::tls::TlsText;
use super::{AgentError, Answer};

/// Where an agent is when nothing says otherwise.
pub const DEFAULT_ADDRESS: &str = "unix:///run/berth/agent.sock";

/// How long a host that was found down counts as down for reads.
const DOWN_FOR: Duration = Duration::from_secs(10);

/// A value that may be unknown until apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setting<T> {
    /// Known, or absent.
    Known(T),
    /// Known only after something else is applied.
    Unknown,
}

/// One entry of the provider's `hosts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostEntry {
    /// Its address as written.
    pub address: String,
    /// Its certificates.
    pub tls: TlsText,
    /// A read of it while it is down keeps the state and warns.
    pub warn_when_unreachable: bool,
}

/// What the provider's configuration says of hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostSettings {
    /// The default host: a key or an address.
    pub default: Setting<String>,
    /// Keys and what they stand for.
    pub entries: Setting<BTreeMap<String, Setting<HostEntry>>>,
    /// Certificates of the default host.
    pub default_tls: Setting<TlsText>,
    /// How long changes try to reach a host.
    pub wait_for_host: Option<Duration>,
}

impl Default for HostSettings {
    fn default() -> Self {
        Self {
            default: Setting::Known(DEFAULT_ADDRESS.to_owned()),
            entries: Setting::Known(BTreeMap::new()),
            default_tls: Setting::Known(TlsText::default()),
            wait_for_host: None,
        }
    }
}

/// What one resource's host comes down to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// What errors call it: its address, with its key where it has one.
    pub label: String,
    /// Where to dial.
    pub address: Address,
    /// With what certificates.
    pub tls: TlsText,
    /// A read while it is down keeps the state and warns.
    pub warn_when_unreachable: bool,
}

/// Why a host could not be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HostError {
    /// Its address is not known yet.
    #[error("The address of the host {0} is not known yet")]
    Unknown(String),
    /// Neither a key nor an address.
    #[error("There is no host \"{name}\"")]
    NoSuchHost {
        /// What was written.
        name: String,
        /// The keys there are.
        keys: Vec<String>,
    },
    /// A key whose address is malformed.
    #[error("The address of the host \"{name}\" is malformed")]
    Address {
        /// The key, or the address.
        name: String,
        /// What is wrong with it.
        #[source]
        source: Arc<AddressError>,
    },
    /// It could not be dialled, or its agent did not answer.
    #[error(transparent)]
    Agent(#[from] AgentError),
}

impl HostError {
    /// Why, and what to do.
    pub fn explain(&self) -> String {
        match self {
            Self::Unknown(_) => {
                "It depends on something that is made in the same apply. Apply that first, with -target."
                    .to_owned()
            }
            Self::NoSuchHost { keys, .. } if keys.is_empty() => {
                "The provider's hosts has no entries. Write an \
                                                                 address, or add an entry."
                    .to_owned()
            }
            Self::NoSuchHost { keys, .. } => {
                format!("The keys of the provider's hosts are: {}.", keys.join(", "))
            }
            Self::Address { source, .. } => format!("{source}. {}", source.advice()),
            Self::Agent(error) => error.explain(0),
        }
    }
}

impl HostSettings {
    /// What a resource's `host` argument comes down to.
    pub fn target(&self, host: Option<&str>) -> Result<Target, HostError> {
        let name = match (host, &self.default) {
            (Some(name), _) => name,
            (None, Setting::Known(name)) => name.as_str(),
            (None, Setting::Unknown) => return Err(HostError::Unknown("by default".to_owned())),
        };
        let unknown = || HostError::Unknown(format!("\"{name}\""));
        let is_default = matches!(&self.default, Setting::Known(default) if default == name);
        let entries = match &self.entries {
            Setting::Known(entries) => entries,
            Setting::Unknown if name.contains("://") => &BTreeMap::new(),
            Setting::Unknown => return Err(unknown()),
        };
        let mut target = match entries.get(name) {
            Some(Setting::Unknown) => return Err(unknown()),
            Some(Setting::Known(entry)) => Target {
                label: format!("{name} ({})", entry.address),
                address: Address::parse(&entry.address).map_err(|source| HostError::Address {
                    name: name.to_owned(),
                    source: Arc::new(source),
                })?,
                tls: entry.tls.clone(),
                warn_when_unreachable: entry.warn_when_unreachable,
            },
            None if name.contains("://") => Target {
                label: name.to_owned(),
                address: Address::parse(name).map_err(|source| HostError::Address {
                    name: name.to_owned(),
                    source: Arc::new(source),
                })?,
                tls: TlsText::default(),
                warn_when_unreachable: false,
            },
            None => {
                let keys = entries.keys().cloned().collect();
                return Err(HostError::NoSuchHost { name: name.to_owned(), keys });
            }
        };
        if is_default {
            let Setting::Known(tls) = &self.default_tls else { return Err(unknown()) };
            fill(&mut target.tls, tls);
        }
        Ok(target)
    }
}

/// The default host's own certificates, where its entry has none.
fn fill(tls: &mut TlsText, default: &TlsText) {
    tls.ca_certificate = tls.ca_certificate.take().or_else(|| default.ca_certificate.clone());
    tls.client_certificate = tls.client_certificate.take().or_else(|| default.client_certificate.clone());
    tls.client_key = tls.client_key.take().or_else(|| default.client_key.clone());
}

/// A host that answered.
pub struct Connection {
    /// Its agent.
    pub agent: Arc<dyn Whole>,
    /// The agent's own id: tells one agent from another under the same key.
    pub agent_id: String,
    /// What errors call the host.
    pub label: String,
    /// What there was on it.
    pub(super) listed: Listed,
}

/// Whether to try again while a host does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Reads make one attempt.
    OneAttempt,
    /// Changes wait as long as `wait_for_host` says.
    WaitForHost,
}

enum Slot {
    Empty,
    Up(Arc<Connection>),
    Down { since: Instant, error: AgentError },
}

type SharedSlot = Arc<tokio::sync::Mutex<Slot>>;

/// All hosts of one configured provider.
pub struct Hosts {
    settings: HostSettings,
    slots: Mutex<HashMap<String, SharedSlot>>,
}

impl Hosts {
    /// Nothing is dialled yet.
    pub fn new(settings: HostSettings) -> Self {
        Self { settings, slots: Mutex::new(HashMap::new()) }
    }

    /// What the configuration says.
    pub fn settings(&self) -> &HostSettings {
        &self.settings
    }

    /// The agent of a resource's host.
    pub async fn connect(
        &self,
        host: Option<&str>,
        patience: Patience,
    ) -> Result<Arc<Connection>, HostError> {
        let target = self.settings.target(host)?;
        let slot = self.slot(&target.label);
        let mut slot = slot.lock().await;
        match &*slot {
            Slot::Up(connection) => return Ok(Arc::clone(connection)),
            Slot::Down { since, error } if patience == Patience::OneAttempt && since.elapsed() < DOWN_FOR => {
                return Err(HostError::Agent(error.clone()));
            }
            Slot::Down { .. } | Slot::Empty => {}
        }
        let wait = match patience {
            Patience::OneAttempt => Duration::ZERO,
            Patience::WaitForHost => self.settings.wait_for_host.unwrap_or(Duration::ZERO),
        };
        match reach(&target, wait).await {
            Ok(connection) => {
                let connection = Arc::new(connection);
                *slot = Slot::Up(Arc::clone(&connection));
                Ok(connection)
            }
            Err(error) => {
                *slot = Slot::Down { since: Instant::now(), error: error.clone() };
                Err(HostError::Agent(error))
            }
        }
    }

    fn slot(&self, label: &str) -> SharedSlot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let empty = || Arc::new(tokio::sync::Mutex::new(Slot::Empty));
        Arc::clone(slots.entry(label.to_owned()).or_insert_with(empty))
    }
}

impl Connection {
    /// Waits until the agent answers again; `false` where it does not in time, or another one does.
    pub async fn is_back(&self, within: Duration) -> bool {
        let host = until_answered(&self.label, within, || self.agent.host(), AgentError::is_broken_off).await;
        host.is_ok_and(|host| host.agent_id == self.agent_id)
    }
}

/// Dials until the host answers or the wait is over. What no waiting mends is returned at once.
async fn reach(target: &Target, wait: Duration) -> Result<Connection, AgentError> {
    let mends = |error: &AgentError| matches!(error, AgentError::Unreachable { source, .. } if source.argument().is_none());
    until_answered(&target.label, wait, || attempt(target), mends).await
}

/// Asks until there is an answer, an error that no waiting mends, or the wait is over.
async fn until_answered<T, F: Future<Output = Answer<T>>>(
    host: &str,
    wait: Duration,
    ask: impl Fn() -> F,
    mends: impl Fn(&AgentError) -> bool,
) -> Answer<T> {
    let started = Instant::now();
    let mut pause = Duration::from_millis(200);
    loop {
        let error = match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        if !mends(&error) || started.elapsed() + pause > wait {
            return Err(error);
        }
        tracing::info!(host, error = %error, "waiting for the host");
        // Backoff between attempts: nothing tells when a machine will be up.
        #[allow(clippy::disallowed_methods)]
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(3));
    }
}

async fn attempt(target: &Target) -> Result<Connection, AgentError> {
    let unreachable = |error: DialError| AgentError::Unreachable {
        host: target.label.clone(),
        advice: error.advice(&target.address),
        source: Arc::new(error),
    };
    let dialled = dial::dial(&target.address, &target.tls).await.map_err(unreachable)?;
    let agent = GrpcAgent::new(target.label.clone(), dialled.channel.clone());
    let answer = dialled.first_answer(agent.first_call()).await.map_err(unreachable)?;
    let host = answer.map_err(|status| agent.failed("Reading the host", status))?;
    Ok(Connection {
        agent: Arc::new(agent),
        agent_id: host.agent_id,
        label: target.label.clone(),
        listed: Listed::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(address: &str) -> Setting<HostEntry> {
        Setting::Known(HostEntry {
            address: address.to_owned(),
            tls: TlsText::default(),
            warn_when_unreachable: false,
        })
    }

    fn settings(entries: Vec<(&str, Setting<HostEntry>)>) -> HostSettings {
        let entries = entries.into_iter().map(|(key, entry)| (key.to_owned(), entry)).collect();
        HostSettings { entries: Setting::Known(entries), ..HostSettings::default() }
    }

    #[test]
    fn a_host_is_a_key_or_an_address() {
        let settings = settings(vec![("node1", entry("ssh://node1")), ("bad", entry("node1"))]);
        assert_eq!(settings.target(Some("node1")).unwrap().label, "node1 (ssh://node1)");
        assert_eq!(settings.target(None).unwrap().label, DEFAULT_ADDRESS);
        assert_eq!(settings.target(Some("ssh://b")).unwrap().label, "ssh://b");
        assert!(matches!(settings.target(Some("bad")), Err(HostError::Address { .. })));
        let error = settings.target(Some("node2")).unwrap_err();
        assert_eq!(error.to_string(), "There is no host \"node2\"");
        assert_eq!(error.explain(), "The keys of the provider's hosts are: bad, node1.");
    }

    #[test]
    fn what_is_unknown_is_told_apart() {
        let one = settings(vec![("later", Setting::Unknown), ("now", entry("ssh://now"))]);
        assert!(matches!(one.target(Some("later")), Err(HostError::Unknown(_))));
        assert!(one.target(Some("now")).is_ok());
        let all = HostSettings { entries: Setting::Unknown, ..HostSettings::default() };
        assert!(matches!(all.target(Some("now")), Err(HostError::Unknown(_))));
        assert!(all.target(Some("ssh://now")).is_ok());
        let default = HostSettings { default: Setting::Unknown, ..settings(vec![]) };
        assert!(matches!(default.target(None), Err(HostError::Unknown(_))));
    }

    #[test]
    fn only_the_default_host_takes_the_providers_certificates() {
        let tls = TlsText { ca_certificate: Some("ca".to_owned()), ..TlsText::default() };
        let settings = HostSettings {
            default: Setting::Known("a".to_owned()),
            default_tls: Setting::Known(tls),
            ..settings(vec![("a", entry("https://a:1")), ("b", entry("https://b:1"))])
        };
        assert_eq!(settings.target(None).unwrap().tls.ca_certificate.as_deref(), Some("ca"));
        assert_eq!(settings.target(Some("b")).unwrap().tls.ca_certificate, None);
    }
}
