//! Why an agent does not start, or ends.

use std::io;
use std::path::PathBuf;

use berth_engine::EngineError;
use berth_engine::ledger::LedgerError;
use thiserror::Error;

use super::config::FileError;
use crate::host::HostError;

/// Why an agent does not start, or ends.
#[derive(Debug, Error)]
pub enum StartError {
    /// It was told something wrong.
    #[error("The agent's configuration cannot be used")]
    Config(#[from] FileError),
    /// The async runtime.
    #[error("The agent cannot start its threads")]
    Runtime(#[source] io::Error),
    /// A directory.
    #[error("The directory {} cannot be made", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A certificate or key.
    #[error("{} cannot be used for {what}", path.display())]
    Pem {
        /// `tls.certificate` and the like.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Certificate and key together.
    #[error("The certificates under [tls] cannot be used together")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// An address.
    #[error("The agent cannot answer on {address}")]
    Listen {
        /// Which.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another agent answers on the socket.
    #[error("Another agent answers on {}", path.display())]
    SocketInUse {
        /// The socket.
        path: PathBuf,
    },
    /// The ledger.
    #[error("The agent's ledger cannot be opened")]
    Ledger(#[from] LedgerError),
    /// The host's side.
    #[error("The agent cannot use this host")]
    Host(#[from] HostError),
    /// The engine.
    #[error("The agent's engine cannot start")]
    Engine(#[source] Box<EngineError>),
    /// The server ended by itself.
    #[error("The agent's server failed")]
    Serve(#[source] tonic::transport::Error),
    /// A thread.
    #[error("The agent's start was interrupted")]
    Interrupted(#[from] tokio::task::JoinError),
}

impl From<EngineError> for StartError {
    fn from(error: EngineError) -> Self {
        Self::Engine(Box::new(error))
    }
}

impl StartError {
    /// What to do; empty where nothing is known.
    #[must_use]
    pub fn advice(&self) -> String {
        match self {
            Self::Ledger(error) => error.advice(),
            Self::Engine(error) => error.advice(),
            Self::Directory { .. } => "Run it as root, or give directories that it may write".to_owned(),
            Self::SocketInUse { .. } => "Give this agent another --listen or --run-dir".to_owned(),
            Self::Pem { .. } | Self::Tls(_) => {
                "Give PEM files: certificate and key belong together, client_ca vouches for the clients"
                    .to_owned()
            }
            Self::Listen { .. } => "Give an address of this host and a port that is free".to_owned(),
            Self::Host(error) => error.advice(),
            Self::Config(_) | Self::Runtime(_) | Self::Serve(_) | Self::Interrupted(_) => String::new(),
        }
    }
}
