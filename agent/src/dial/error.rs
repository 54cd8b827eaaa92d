//! Why an agent cannot be dialled, and what to do.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::address::Address;
use super::tls::TlsError;

/// Why an agent cannot be dialled.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The unix socket.
    #[error("The socket {} cannot be connected to", path.display())]
    Socket {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// TCP.
    #[error("{host} cannot be reached on port {port}")]
    Connect {
        /// A name or an address.
        host: String,
        /// The port.
        port: u16,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The caller's certificates.
    #[error("The connection cannot be secured")]
    Tls(#[from] TlsError),
    /// One side refused the other.
    #[error("The TLS handshake failed")]
    Handshake(#[source] io::Error),
    /// ssh.
    #[error("ssh cannot be started")]
    Ssh(#[source] io::Error),
    /// What answers is no agent, or it closed the connection.
    #[error("What answers there is no Berth agent, or refuses this client")]
    NoAgent(#[source] tonic::transport::Error),
    /// The agent closed the connection when it had seen the caller's certificate.
    #[error("The agent refuses this client")]
    Refused(#[source] Box<tonic::Status>),
    /// Nothing happened for too long.
    #[error("Nothing answered within {} seconds", after.as_secs())]
    TimedOut {
        /// How long was waited.
        after: Duration,
    },
}

impl DialError {
    /// What to do.
    #[must_use]
    pub fn advice(&self, address: &Address) -> String {
        match (self, address) {
            (Self::Socket { source, .. }, _) if source.kind() == io::ErrorKind::PermissionDenied => {
                "Run it as root or as a member of the group berth".to_owned()
            }
            (_, Address::Unix(_)) => {
                "Start berthd, or say with --host or BERTH_HOST where an agent answers".to_owned()
            }
            (Self::Connect { .. } | Self::TimedOut { .. }, Address::Https { .. }) => {
                "Check that berthd listens there and that no firewall is in between".to_owned()
            }
            (_, Address::Https { .. }) => "Check BERTH_CA_CERTIFICATE, BERTH_CLIENT_CERTIFICATE and \
                 BERTH_CLIENT_KEY against the agent's own configuration"
                .to_owned(),
            (_, Address::Ssh { user, host, .. }) => {
                let user = user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
                format!("Check that \"ssh {user}{host} berth check\" works")
            }
        }
    }
}
