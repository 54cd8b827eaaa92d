//! Why a command fails, and what to do.

use std::fmt;
use std::io;

use berth_proto::agent::ErrorDetail;
use prost::Message;
use tonic::{Code, Status};

use crate::dial::{Address, AddressError, DialError};

/// Why a command fails.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The async runtime.
    #[error("The command cannot start")]
    Runtime(#[source] io::Error),
    /// `--host` or `BERTH_HOST`.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A flag or argument that clap cannot check.
    #[error("{0}")]
    Usage(String),
    /// No agent.
    #[error("The agent at {address} does not answer")]
    Dial {
        /// Where.
        address: Address,
        /// Why.
        #[source]
        source: DialError,
    },
    /// The agent says no.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// The stream ended before its last message.
    #[error("The agent ended the connection before it was done")]
    CutOff,
    /// Standard output.
    #[error("The output cannot be written")]
    Output(#[from] io::Error),
    /// An archive that is to be imported, or a file that is to be put into an instance.
    #[error("{0} cannot be read")]
    Unreadable(String, #[source] io::Error),
    /// What is got out of an instance, or exported.
    #[error("{0} cannot be written")]
    Unwritable(String, #[source] io::Error),
    /// Standard input.
    #[error("The standard input cannot be read")]
    Input(#[source] io::Error),
    /// The terminal.
    #[error("The terminal cannot be used")]
    Terminal(#[source] io::Error),
}

/// What the agent said.
#[derive(Debug)]
pub struct Refusal {
    code: Code,
    summary: String,
    detail: Option<ErrorDetail>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let argument = self.detail.as_ref().map(|detail| detail.attribute.join(".")).unwrap_or_default();
        if argument.is_empty() {
            f.write_str(&self.summary)
        } else {
            write!(f, "{} ({argument})", self.summary)
        }
    }
}

impl Refusal {
    /// What the agent's answer amounts to.
    pub(super) fn found(summary: String, advice: &str) -> Self {
        let detail = ErrorDetail { detail: advice.to_owned(), ..Default::default() };
        Self { code: Code::DataLoss, summary, detail: Some(detail) }
    }

    /// What the command finds by itself.
    pub(super) fn in_use(summary: String, advice: &str) -> Self {
        let detail = ErrorDetail { detail: advice.to_owned(), ..Default::default() };
        Self { code: Code::FailedPrecondition, summary, detail: Some(detail) }
    }
}

impl From<Status> for CliError {
    fn from(status: Status) -> Self {
        let code = status.code();
        let detail =
            (!status.details().is_empty()).then(|| ErrorDetail::decode(status.details()).ok()).flatten();
        let summary = match &detail {
            Some(detail) => detail.summary.clone(),
            None if code == Code::Unimplemented => "The agent is too old for this".to_owned(),
            None => match std::error::Error::source(&status) {
                Some(source) => format!("The connection to the agent broke: {}", innermost(source)),
                None => status.message().to_owned(),
            },
        };
        Self::Refused(Box::new(Refusal { code, summary, detail }))
    }
}

fn innermost(mut error: &dyn std::error::Error) -> String {
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

impl CliError {
    /// What to do; empty where nothing is known.
    #[must_use]
    pub fn advice(&self) -> String {
        match self {
            Self::Dial { address, source } => source.advice(address),
            Self::Refused(refusal) => {
                refusal.detail.as_ref().map(|detail| detail.detail.clone()).unwrap_or_default()
            }
            Self::Usage(_) | Self::Address(_) => "See berth --help".to_owned(),
            _ => String::new(),
        }
    }

    /// Whether the command was written wrong.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Usage(_) | Self::Address(_))
    }

    /// Whether it was asked of an instance that does not run.
    #[must_use]
    pub fn is_of_what_ended(&self) -> bool {
        matches!(self, Self::Refused(refusal) if matches!(refusal.code, Code::FailedPrecondition | Code::NotFound))
    }

    /// Whether the agent has no such thing.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.code == Code::NotFound)
    }
}
