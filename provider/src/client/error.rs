//! What can go wrong with an agent, told so that a user knows what to do.

use std::sync::Arc;
use std::time::Duration;

use berth_proto::agent::error_detail::Reason;
use berth_proto::agent::{ErrorDetail, LogEntry, log_entry};
use prost::Message;
use tonic::{Code, Status};

use super::dial::DialError;

/// A call to an agent that failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AgentError {
    /// The host did not answer at all.
    #[error("The host {host} cannot be reached")]
    Unreachable {
        /// Its key and address.
        host: String,
        /// What to do.
        advice: String,
        /// Why.
        #[source]
        source: Arc<DialError>,
    },
    /// The agent answered, with a reason.
    #[error("{}", .detail.summary)]
    Refused {
        /// What it said.
        detail: Arc<ErrorDetail>,
    },
    /// The connection broke while the call ran; the agent may have gone on.
    #[error("{call} was cut off: the connection to {host} broke")]
    Lost {
        /// The host's key and address.
        host: String,
        /// What was being done.
        call: &'static str,
        /// What the transport saw.
        #[source]
        source: Arc<Status>,
    },
    /// The agent does not know the call.
    #[error("The agent on {host} is too old for {call}")]
    Outdated {
        /// The host's key and address.
        host: String,
        /// What was to be done.
        call: &'static str,
    },
    /// A gRPC status without a reason of Berth's.
    #[error("{call} failed on {host}")]
    Failed {
        /// The host's key and address.
        host: String,
        /// What was being done.
        call: &'static str,
        /// What was answered.
        #[source]
        source: Arc<Status>,
    },
    /// The stream of events ended before the result.
    #[error("{call} was cut off: the agent on {host} gave no result")]
    Cut {
        /// The host's key and address.
        host: String,
        /// What was being done.
        call: &'static str,
    },
    /// A file that is sent to the agent could not be read to its end.
    #[error("The archive cannot be read to its end")]
    Upload {
        /// Why.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// The operation's timeout passed.
    #[error("{call} took longer than {}", crate::text::duration::format(after_ms(.after)))]
    TimedOut {
        /// What was being done.
        call: &'static str,
        /// The timeout.
        after: Duration,
    },
    /// Terraform asked for a stop.
    #[error("{call} was interrupted")]
    Interrupted {
        /// What was being done.
        call: &'static str,
    },
}

fn after_ms(after: &Duration) -> u64 {
    u64::try_from(after.as_millis()).unwrap_or(u64::MAX)
}

impl AgentError {
    /// Reads what a gRPC status says.
    pub fn from_status(host: &str, call: &'static str, status: Status) -> Self {
        if let Some(detail) = detail_of(&status) {
            return Self::Refused { detail: Arc::new(detail) };
        }
        let host = host.to_owned();
        let broken = std::error::Error::source(&status).is_some() || status.code() == Code::Unavailable;
        match status.code() {
            Code::Unimplemented => Self::Outdated { host, call },
            _ if broken => Self::Lost { host, call, source: Arc::new(status) },
            _ => Self::Failed { host, call, source: Arc::new(status) },
        }
    }

    /// The agent's reason, where it gave one.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Refused { detail } => Some(detail.reason()),
            _ => None,
        }
    }

    /// Whether the thing asked about is not there.
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::Failed { source, .. } => source.code() == Code::NotFound,
            _ => self.reason() == Some(Reason::NotFound),
        }
    }

    /// Whether it is unknown how far the agent got.
    pub fn is_open_ended(&self) -> bool {
        matches!(
            self,
            Self::Lost { .. } | Self::Cut { .. } | Self::TimedOut { .. } | Self::Interrupted { .. }
        )
    }

    /// Whether the agent went away while it was asked: it may be restarting.
    pub fn is_broken_off(&self) -> bool {
        matches!(self, Self::Lost { .. } | Self::Cut { .. })
    }

    /// Whether the host was down, rather than the agent unwilling.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Lost { .. })
    }

    /// Whether the registry was down or unwilling, rather than the image gone.
    pub fn is_registry_trouble(&self) -> bool {
        matches!(self.reason(), Some(Reason::RegistryUnreachable | Reason::Unauthorized))
    }

    /// The path of the argument at fault, as the interface writes it; empty is the whole.
    pub fn attribute(&self) -> &[String] {
        match self {
            Self::Refused { detail } => &detail.attribute,
            _ => &[],
        }
    }

    /// The id of what has the name already.
    pub fn existing_id(&self) -> Option<&str> {
        match self {
            Self::Refused { detail } => Some(detail.existing_id.as_str()).filter(|id| !id.is_empty()),
            _ => None,
        }
    }

    /// Why, what to do, and the instance's last words: at most `log_lines` of them.
    pub fn explain(&self, log_lines: usize) -> String {
        match self {
            Self::Unreachable { advice, .. } => format!("{}.\n\n{advice}", sentence(&chain(self))),
            Self::Refused { detail } => with_log(&detail.detail, &detail.log, log_lines),
            Self::Lost { .. } => format!(
                "{}.\n\nThe agent goes on with what it was asked for. The next plan shows how far it got.",
                sentence(&chain(self))
            ),
            Self::Outdated { .. } => {
                "Install the agent that belongs to this version of the provider.".to_owned()
            }
            Self::Failed { source, .. } => {
                format!("The agent answered {:?}: {}", source.code(), source.message())
            }
            Self::Cut { .. } => {
                "The agent may have been stopped. The next plan shows how far it got.".to_owned()
            }
            Self::Upload { .. } => format!("{}. Nothing of it is kept.", sentence(&chain(self))),
            Self::TimedOut { .. } => {
                "The agent goes on with what it was asked for; the next plan shows how far \
                                      it got. A longer time can be given in timeouts."
                    .to_owned()
            }
            Self::Interrupted { .. } => {
                "The agent goes on with what it was asked for; the next plan shows how far it got.".to_owned()
            }
        }
    }
}

fn detail_of(status: &Status) -> Option<ErrorDetail> {
    if status.details().is_empty() {
        return None;
    }
    ErrorDetail::decode(status.details()).ok().filter(|detail| !detail.summary.is_empty())
}

/// The causes below an error, outermost first, each once.
fn chain(error: &AgentError) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut cause = std::error::Error::source(error);
    while let Some(current) = cause {
        // A status writes all that is below it for programmers; what is below comes by itself.
        let status = current.downcast_ref::<Arc<Status>>();
        let text = status.map_or_else(|| current.to_string(), |status| status.message().to_owned());
        if !text.is_empty() && !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
        cause = current.source();
    }
    parts.join(": ")
}

fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => first.to_uppercase().chain(characters).collect(),
        None => "Nothing more is known".to_owned(),
    }
}

fn with_log(detail: &str, log: &[LogEntry], log_lines: usize) -> String {
    let shown = &log[log.len().saturating_sub(log_lines)..];
    if shown.is_empty() {
        return detail.to_owned();
    }
    let mut text = format!("{detail}\n\nThe instance's last words:");
    for entry in shown {
        let stream = if entry.stream() == log_entry::Stream::Stderr { "stderr" } else { "stdout" };
        text.push_str(&format!("\n  {stream}: {}", printable(&String::from_utf8_lossy(&entry.data))));
    }
    text
}

/// Without what would move a terminal's cursor or change its colours.
fn printable(line: &str) -> String {
    line.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(detail: &ErrorDetail) -> AgentError {
        let status = Status::with_details(Code::FailedPrecondition, "x", detail.encode_to_vec().into());
        AgentError::from_status("here", "Creating", status)
    }

    fn entry(text: &str) -> LogEntry {
        LogEntry { data: text.to_owned().into_bytes().into(), stream: 2, ..LogEntry::default() }
    }

    #[test]
    fn the_agents_reason_is_kept_with_its_log() {
        let error = refusal(&ErrorDetail {
            reason: Reason::StartFailed.into(),
            summary: "web cannot be started".to_owned(),
            detail: "It ended at once.".to_owned(),
            attribute: vec!["command".to_owned()],
            log: vec![entry("one"), entry("two"), entry("three\u{1b}[31m")],
            ..ErrorDetail::default()
        });
        assert_eq!(error.to_string(), "web cannot be started");
        assert_eq!(error.attribute(), ["command"]);
        let text = error.explain(2);
        assert!(!text.contains("one"), "{text}");
        assert!(text.ends_with("stderr: two\n  stderr: three\u{fffd}[31m"), "{text}");
        assert_eq!(error.explain(0), "It ended at once.");
    }

    #[test]
    fn statuses_without_a_reason() {
        let of = |code| AgentError::from_status("here", "Creating", Status::new(code, "why"));
        assert!(matches!(of(Code::Unimplemented), AgentError::Outdated { .. }));
        assert!(matches!(of(Code::Unavailable), AgentError::Lost { .. }));
        assert!(of(Code::NotFound).is_not_found());
        assert_eq!(of(Code::Internal).explain(5), "The agent answered Internal: why");
    }
}
