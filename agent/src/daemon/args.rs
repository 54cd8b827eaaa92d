//! The command line of `berthd`.

use std::path::PathBuf;

use clap::Parser;

/// Berth's agent: pulls OCI images and runs them as containers on this host.
#[derive(Debug, Clone, Parser)]
#[command(name = "berthd", version)]
pub struct Args {
    /// Where the ledger, images and instances are kept [default: /var/lib/berth]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where sockets and what lasts until the next boot are kept [default: /run/berth]
    #[arg(long, value_name = "DIR")]
    pub run_dir: Option<PathBuf>,
    /// Where to answer: unix:///PATH, or https://ADDRESS:PORT with the certificates of the configuration file; may be
    /// given more than once [default: unix:///run/berth/agent.sock]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Vec<String>,
    /// The configuration file [default: /etc/berth/agent.toml, where there is one]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}
