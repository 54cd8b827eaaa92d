//! Processes beside the workload of an instance.

use std::collections::BTreeMap;

use berth_domain::{StopSignal, UserSpec};
use thiserror::Error;
use tokio::sync::mpsc;

use super::Cause;

/// A process to run inside a running instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecRequest {
    /// Program and arguments: any bytes but NUL.
    pub argv: Vec<Vec<u8>>,
    /// Over the workload's own.
    pub environment: BTreeMap<String, Vec<u8>>,
    /// `None`: the workload's.
    pub user: Option<UserSpec>,
    /// `None`: the workload's.
    pub working_dir: Option<String>,
    /// On a terminal of this size.
    pub terminal: Option<TerminalSize>,
    /// Whether standard input will be sent; else it is empty.
    pub stdin: bool,
}

/// Of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    /// Lines.
    pub rows: u16,
    /// Characters in each.
    pub columns: u16,
}

/// To a process that runs inside an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecInput {
    /// More standard input.
    Stdin(Vec<u8>),
    /// Standard input ended.
    StdinClosed,
    /// The terminal has another size.
    Resize(TerminalSize),
    /// Send it a signal.
    Signal(StopSignal),
}

/// From a process that runs inside an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecOutput {
    /// Standard output; all of a terminal.
    Stdout(Vec<u8>),
    /// Standard error.
    Stderr(Vec<u8>),
    /// Last: the exit code, 128 + n where signal n ended it.
    Exit(i32),
}

/// A process that runs inside an instance. Who drops it without having seen the exit ends the process.
#[derive(Debug)]
pub struct ExecSession {
    /// To it.
    pub input: mpsc::Sender<ExecInput>,
    /// From it; closed after the exit. Not read, it holds the process up.
    pub output: mpsc::Receiver<ExecOutput>,
}

/// Why a process could not be run inside an instance.
#[derive(Debug, Error)]
pub enum ExecError {
    /// It does not run.
    #[error("The instance is not running")]
    NotRunning,
    /// The image's own passwd or group file does not have the name.
    #[error("The instance has no user or group \"{user}\"")]
    UserNotFound {
        /// `user[:group]`.
        user: String,
    },
    /// There is no such program.
    #[error("The instance has no program \"{program}\"")]
    ProgramNotFound {
        /// The first argument.
        program: String,
    },
    /// The program cannot be executed.
    #[error("The program \"{program}\" cannot be executed")]
    NotExecutable {
        /// The first argument.
        program: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// The working directory cannot be entered.
    #[error("The working directory \"{path}\" cannot be used")]
    WorkingDir {
        /// The directory.
        path: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// The host does not do it.
    #[error("This host cannot {operation}")]
    Host {
        /// "enter the namespaces" and the like.
        operation: String,
        /// Why.
        #[source]
        source: Cause,
    },
}
