//! What can go wrong around a test.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

/// An error of the harness itself, never of a case.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory could not be worked on.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried: "read", "make".
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A program could not be started.
    #[error("cannot run {program}")]
    Spawn {
        /// The program's name.
        program: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A program ended with an error.
    #[error("`{command}` ended with {status}\n{output}")]
    Failed {
        /// The whole command line.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// What it printed.
        output: String,
    },
    /// Something waited for did not come.
    #[error("{what} did not happen within {seconds} s\n{seen}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// For how long.
        seconds: u64,
        /// What was seen instead.
        seen: String,
    },
    /// A program printed what is no JSON.
    #[error("{program} printed what is not JSON")]
    Json {
        /// The program.
        program: String,
        /// Why it is not.
        #[source]
        source: serde_json::Error,
    },
    /// The tests' own token server cannot be made.
    #[error("the token server lacks {what}")]
    Tokens {
        /// What it needs.
        what: String,
    },
    /// A program that is needed is on this machine nowhere.
    #[error("{program} is missing: {fix}")]
    Missing {
        /// The program.
        program: &'static str,
        /// What to do.
        fix: &'static str,
    },
}

impl Error {
    /// For `map_err`: a file operation that failed.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}
