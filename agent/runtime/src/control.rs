//! The control protocol: a JSON object a line, over the unix socket `control.sock` in the instance's run directory.
//!
//! A caller sends requests and gets one [`Response`] for each, in order. After `Watch` the supervisor sends [`Event`]s on
//! that connection. An `Exec` request's standard descriptors travel with its first byte; its answer comes when the program
//! has begun, and an `ExecExited` response when it has ended.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::exit::ExitRecord;
use crate::file::FileWrite;
use crate::health::{Health, HealthSpec};
use crate::launch::LaunchError;
use crate::lease::InterfaceStatus;
use crate::mount::MountSpec;
use crate::spec::{CgroupSpec, InterfaceSpec, ProcessSpec, RestartSpec, StopSpec};

/// The socket's name in the instance's run directory.
pub const SOCKET: &str = "control.sock";

/// The longest line that either side takes, in bytes.
pub const MAX_LINE: usize = 4 << 20;

/// What a supervisor can be asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub enum Request {
    /// How things are.
    Status,
    /// Send events on this connection from now on, the present state first.
    Watch,
    /// End the workload, and then yourself.
    Stop {
        /// Kill at once.
        force: bool,
    },
    /// Change what can be changed without a restart.
    Update(Update),
    /// What the instance uses.
    Usage,
    /// Run a program beside the workload. With a terminal, one descriptor comes with the request: a socket that
    /// the terminal's master is sent over; without, three: standard input, output and error.
    Exec {
        /// The program.
        process: ProcessSpec,
        /// Whether it gets a terminal.
        terminal: bool,
    },
    /// Connect, inside a virtual machine, to a port at the addresses of its interfaces; answered by `Done` when that has come
    /// about, and by `Refused` where it has not.
    Reach {
        /// Of TCP.
        port: u16,
    },
    /// Write a file. One descriptor comes with the request: of what it is to hold, which is read from its start.
    PutFile(FileWrite),
    /// Open a file to be read. One descriptor comes with the request: a socket that the file is sent over.
    GetFile {
        /// Where it is inside: absolute, and without `.` and `..`.
        path: PathBuf,
    },
    /// Signal the program that this connection's `Exec` started.
    Signal {
        /// The signal's number.
        signal: i32,
    },
    /// The terminal of the program that this connection's `Exec` started is of another size. For virtual machines: what
    /// was sent for a master there is no terminal of this host.
    Resize {
        /// Lines.
        rows: u16,
        /// Of a line.
        columns: u16,
    },
}

/// Settings of a running instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    /// What follows an exit from now on.
    pub restart: RestartSpec,
    /// How it is stopped from now on.
    pub stop: StopSpec,
    /// Its limits from now on; the names must be what they were.
    pub cgroup: CgroupSpec,
    /// What is mounted in it from now on; absent: what was.
    #[serde(default)]
    pub mounts: Option<Vec<MountSpec>>,
    /// Its interfaces from now on; absent: what were.
    #[serde(default)]
    pub networks: Option<Vec<InterfaceSpec>>,
    /// What is written into it now; where nothing runs, before the next start.
    #[serde(default)]
    pub writes: Vec<FileWrite>,
    /// The number of the signal that tells the workload of what was written.
    #[serde(default)]
    pub notify: Option<i32>,
    /// How its health is asked for from now on; one that differs begins anew.
    #[serde(default)]
    pub health: Option<HealthSpec>,
    /// What a virtual machine is to have from now on; absent: what it has.
    #[serde(default)]
    pub machine: Option<MachineSize>,
    /// Milliseconds that its guest may take for that.
    #[serde(default)]
    pub patience_ms: u64,
}

/// What a virtual machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineSize {
    /// Processors.
    pub cpus: u32,
    /// Memory, in bytes.
    pub memory_bytes: u64,
}

/// What an instance uses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// CPU time since the start of the supervisor, in nanoseconds.
    pub cpu_ns: u64,
    /// Bytes now, without what the kernel would give back at once.
    pub memory_bytes: u64,
    /// The limit of it.
    pub memory_limit: Option<u64>,
    /// Processes and threads now.
    pub pids: u64,
    /// Read from disks, in bytes.
    pub read_bytes: u64,
    /// Written to disks, in bytes.
    pub written_bytes: u64,
    /// Received on all its interfaces, in bytes.
    pub received_bytes: u64,
    /// Sent on all its interfaces, in bytes.
    pub sent_bytes: u64,
}

/// What a supervisor says to a request, or of its workload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "response", rename_all = "kebab-case")]
pub enum Response {
    /// To `Status`.
    Status(Status),
    /// To `Watch`, `Stop`, `Update`, `PutFile`, `GetFile` and `Signal`: it is under way, or done.
    Done,
    /// It was not done.
    Refused {
        /// Why.
        reason: String,
    },
    /// To `Update`: nothing of it was done.
    UpdateFailed(LaunchError),
    /// To `Update`: the limit could not be set, and all is as it was.
    LimitRefused {
        /// As the API names it: "memory".
        limit: String,
        /// What the kernel said; EBUSY where what runs is beyond it already.
        errno: i32,
    },
    /// To `PutFile` and `GetFile`: the file is as it was, or not to be had.
    FileFailed(LaunchError),
    /// To `Usage`.
    Usage(Usage),
    /// To `Exec`: the program has begun.
    ExecStarted {
        /// On the host.
        pid: i32,
    },
    /// To `Exec`: it has not.
    ExecFailed(LaunchError),
    /// The program of this connection has ended.
    ExecExited {
        /// 128 + n where signal n ended it.
        code: i32,
    },
    /// Something happened to the workload; only after `Watch`.
    Event(Event),
}

/// What an instance is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The protocol's version that the supervisor speaks.
    pub version: u32,
    /// Of the workload.
    pub state: State,
    /// How often it was started again.
    pub restarts: u32,
    /// Where there is a health check and the workload runs.
    #[serde(default)]
    pub health: Option<Health>,
    /// What was asked for and is in force only in part, a line each.
    #[serde(default)]
    pub clamped: Vec<String>,
    /// Its interfaces as they are now.
    #[serde(default)]
    pub interfaces: Vec<InterfaceStatus>,
}

/// The states of a workload under a supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum State {
    /// It runs.
    Running {
        /// On the host.
        pid: i32,
        /// Milliseconds since the epoch.
        started_at_ms: u64,
    },
    /// It has ended and will be started again.
    Waiting {
        /// How it ended.
        exit: ExitRecord,
        /// Milliseconds from then.
        delay_ms: u64,
    },
    /// It has been asked to end.
    Stopping,
}

/// What happened to a workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// It began, for the first time or again.
    Started {
        /// On the host.
        pid: i32,
        /// Milliseconds since the epoch.
        started_at_ms: u64,
        /// How often it was started again.
        restarts: u32,
    },
    /// Its health is another.
    Health(Health),
    /// A lease of one of its interfaces is another, was renewed, or is gone.
    Addresses {
        /// All of them.
        interfaces: Vec<InterfaceStatus>,
    },
    /// It ended and will be started again.
    Restarting {
        /// How it ended.
        exit: ExitRecord,
        /// Milliseconds from now.
        delay_ms: u64,
    },
    /// It ended for good; `exit.json` says the same, and the supervisor goes.
    Gone(ExitRecord),
}
