//! Why the ledger cannot be used.

use std::path::PathBuf;

use thiserror::Error;

/// Why the ledger cannot be used.
#[derive(Debug, Error)]
pub enum LedgerError {
    /// Another agent has the directory.
    #[error("Another agent runs on {}", directory.display())]
    Held {
        /// The data directory.
        directory: PathBuf,
    },
    /// The directory or the file cannot be made or opened.
    #[error("Cannot open {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is torn, or no ledger at all.
    #[error("The ledger {} is damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where, as SQLite says.
        what: String,
        /// The copy from the last clean start, if there is one.
        backup: Option<PathBuf>,
    },
    /// The file was written by a later agent.
    #[error("The ledger {} has format {found}, and this agent knows formats up to {known}", path.display())]
    FromLater {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The latest known.
        known: u32,
    },
    /// A row that cannot be read.
    #[error("The ledger's entry {entry} cannot be read")]
    BadEntry {
        /// Table and id.
        entry: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// SQLite failed.
    #[error("The ledger could not {operation}")]
    Sqlite {
        /// What was tried.
        operation: &'static str,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// The thread that worked on it ended.
    #[error("The ledger was interrupted while it tried to {operation}")]
    Interrupted {
        /// What was tried.
        operation: &'static str,
    },
}

impl LedgerError {
    /// What to do.
    #[must_use]
    pub fn advice(&self) -> String {
        match self {
            Self::Held { directory } => {
                format!("Stop that agent, or give this one another --data-dir than {}", directory.display())
            }
            Self::Open { path, .. } => {
                format!("Check the permissions of {} and of its directory", path.display())
            }
            Self::Damaged { path, backup: Some(backup), .. } => format!(
                "Instances that run are not touched. Move {} away together with its -wal and -shm files, copy {} to its \
                 place (it is from the agent's last clean start), and start the agent again",
                path.display(),
                backup.display()
            ),
            Self::Damaged { path, backup: None, .. } => format!(
                "Instances that run are not touched. Restore {} from a backup, or move it away to begin with none",
                path.display()
            ),
            Self::FromLater { .. } => "Use the agent's later version again".to_owned(),
            Self::BadEntry { .. } => {
                "Restore the ledger from its backup, or use the agent's version that wrote it".to_owned()
            }
            Self::Sqlite { .. } | Self::Interrupted { .. } => {
                "Check the agent's data directory: space, inodes and permissions".to_owned()
            }
        }
    }
}
