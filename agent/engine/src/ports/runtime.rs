//! Supervisors, what they run, and what is kept for it.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use berth_domain::{
    Digest, EffectiveConfig, ExitRecord, FileContent, FilePlace, Health, HealthCheck, InstanceId, Limits,
    Mount, Name, RestartPolicy, Timestamp, UidRange, Workload,
};
use futures::stream::BoxStream;
use thiserror::Error;
use tokio::sync::mpsc;

use super::Cause;
pub use super::exec::{ExecError, ExecInput, ExecOutput, ExecRequest, ExecSession, TerminalSize};
pub use super::interface::{Attachment, InterfaceState, Lease};
use crate::mount_error::MountFault;

/// A root filesystem to make ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootfsRequest {
    /// Whose.
    pub instance: InstanceId,
    /// Which of its root filesystems: each rebuild makes the next.
    pub rootfs: u32,
    /// What it is made from.
    pub image: Digest,
    /// The ids it is mapped to.
    pub uids: UidRange,
}

/// Everything a workload is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartRequest {
    /// Whose.
    pub instance: InstanceId,
    /// Its name.
    pub name: Name,
    /// Which start it is. The adapter keeps it with the supervisor and gives it back in every [`Workload`] and
    /// [`RuntimeEvent`], also after the agent was started anew.
    pub revision: u64,
    /// Which root filesystem; made ready before.
    pub rootfs: u32,
    /// What it is made from.
    pub image: Digest,
    /// Its ids.
    pub uids: UidRange,
    /// What is run, and how.
    pub config: EffectiveConfig,
    /// What may change while it runs.
    pub settings: Settings,
    /// What is put into it, and may change likewise.
    pub contents: Contents,
}

/// What may change while a workload runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What it may use.
    pub limits: Limits,
    /// What happens when it ends by itself.
    pub restart: RestartPolicy,
    /// How its health is asked for.
    pub health: Option<HealthCheck>,
}

/// What an instance uses, and has used since its supervisor was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// CPU time in nanoseconds.
    pub cpu_ns: u64,
    /// Bytes of memory now, without what would be given back at once.
    pub memory_bytes: u64,
    /// The limit of it.
    pub memory_limit: Option<u64>,
    /// Processes and threads now.
    pub pids: u64,
    /// Bytes read from disks.
    pub read_bytes: u64,
    /// Bytes written to disks.
    pub written_bytes: u64,
    /// Bytes received over networks.
    pub received_bytes: u64,
    /// Bytes sent over networks.
    pub sent_bytes: u64,
}

/// What of the host is put into an instance, and may change while it runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Contents {
    /// What is mounted.
    pub mounts: Vec<Mount>,
    /// Its interfaces, by their names.
    pub interfaces: Vec<Attachment>,
    /// Names that it knows beside its own.
    pub extra_hosts: BTreeMap<String, IpAddr>,
    /// Files that are to be written now: before the workload begins, or while it runs.
    pub writes: Vec<FileWrite>,
    /// Tell the workload of it with SIGHUP.
    pub notify: bool,
    /// Nothing is being changed: devices that have gone meanwhile are gone, and are no reason to fail.
    pub settled: bool,
}

/// A file that is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileWrite {
    /// Where, inside.
    pub path: String,
    /// What it says; `None`: it is removed.
    pub content: Option<FileContent>,
    /// Who owns it, inside.
    pub uid: u32,
    /// Its group, inside.
    pub gid: u32,
    /// Its permissions.
    pub mode: u32,
}

/// How hard a stop is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// The stop signal, then after the timeout a kill.
    Graceful,
    /// A kill at once.
    Kill,
}

/// What the host has of one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceState {
    /// Its workload.
    pub workload: Workload,
    /// Its root filesystems that are made ready.
    pub rootfs: Vec<u32>,
    /// Of a workload that runs and has a health check.
    pub health: Option<Health>,
    /// What was asked for and is in force only in part, a line each.
    pub clamped: Vec<String>,
    /// What runs the instructions of a virtual machine that runs, with the reason.
    pub accelerator: Option<String>,
    /// The interfaces of a workload that runs, as they are now.
    pub interfaces: BTreeMap<String, InterfaceState>,
}

impl InstanceState {
    /// Of an instance that the host has nothing of.
    #[must_use]
    pub fn absent() -> Self {
        Self {
            workload: Workload::Absent,
            rootfs: Vec::new(),
            health: None,
            clamped: Vec::new(),
            accelerator: None,
            interfaces: BTreeMap::new(),
        }
    }
}

/// Something that happened to a workload by itself or at a command. For one instance they come in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeEvent {
    /// Whose.
    pub instance: InstanceId,
    /// What its workload is now. `Absent`: its supervisor vanished without a record.
    pub workload: Workload,
}

/// Which lines of an instance's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogRequest {
    /// Go on with what comes.
    pub follow: bool,
    /// The last so many; `None`: all.
    pub tail: Option<u32>,
    /// Not before this.
    pub since: Option<SystemTime>,
}

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// RFC 3339 with nanoseconds, UTC.
    pub time: String,
    /// Where it came from.
    pub stream: LogStream,
    /// Without its newline, or a part of a long one.
    pub data: Vec<u8>,
    /// More of the line follows.
    pub partial: bool,
}

/// Supervisors and what is kept for them.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// What happens from now on. Called once, before [`Runtime::observe_all`]; nothing is lost in between.
    fn events(&self) -> BoxStream<'static, RuntimeEvent>;

    /// An item for each time that devices of the host came or went, perhaps one for several.
    fn plugged(&self) -> BoxStream<'static, ()>;

    /// Everything the host has, with every supervisor adopted.
    async fn observe_all(&self) -> Result<Vec<(InstanceId, InstanceState)>, RuntimeError>;

    /// What the host has of one instance, asked of its supervisor.
    async fn observe(&self, instance: InstanceId) -> Result<InstanceState, RuntimeError>;

    /// Makes a root filesystem ready: all that can fail before the old workload must be stopped. Keeps what it
    /// holds where it is there already.
    async fn prepare_rootfs(&self, request: &RootfsRequest) -> Result<(), StartError>;

    /// Starts a workload and returns when its program runs. Where it fails, no supervisor is left.
    async fn start(&self, request: &StartRequest) -> Result<Started, StartError>;

    /// Stops a workload and returns when its supervisor is gone, with how it ended if that is known. Fine where
    /// nothing runs.
    async fn stop(&self, instance: InstanceId, mode: StopMode) -> Result<Option<ExitRecord>, RuntimeError>;

    /// Changes what may change while a workload runs: all of it or, with an error, nothing.
    async fn apply(
        &self,
        instance: InstanceId,
        settings: &Settings,
        contents: &Contents,
    ) -> Result<(), RuntimeError>;

    /// Waits until a running workload's health is known, or it ends; `None` where it ended or has no check.
    async fn settled(&self, instance: InstanceId) -> Result<Option<Health>, RuntimeError>;

    /// Whether a connection to a port of a running instance comes about now; without an address that the host reaches,
    /// whether somebody listens on it.
    async fn answers(&self, instance: InstanceId, address: Option<Ipv4Addr>, port: u16) -> bool;

    /// What a running instance uses.
    async fn usage(&self, instance: InstanceId) -> Result<Usage, RuntimeError>;

    /// Lets go of every root filesystem of it but one.
    async fn keep_only_rootfs(&self, instance: InstanceId, rootfs: u32) -> Result<(), RuntimeError>;

    /// Lets go of all that the host has of it, logs included; nothing runs. Fine where nothing is.
    async fn remove(&self, instance: InstanceId) -> Result<(), RuntimeError>;

    /// Runs a process inside a running instance.
    async fn exec(&self, instance: InstanceId, request: &ExecRequest) -> Result<ExecSession, ExecError>;

    /// Writes a file into a running instance: what `content` holds, from its start on. All of it or, with an error, nothing.
    async fn push_file(
        &self,
        instance: InstanceId,
        place: &FilePlace,
        content: File,
    ) -> Result<(), RuntimeError>;

    /// Opens a regular file of a running instance, to be read as it is meanwhile.
    async fn pull_file(&self, instance: InstanceId, path: &str) -> Result<File, RuntimeError>;

    /// Reads the log; also of an instance that does not run. Ends at the end of the log, or with `follow` when the
    /// receiver is dropped or the instance removed.
    async fn logs(
        &self,
        instance: InstanceId,
        request: &LogRequest,
    ) -> Result<mpsc::Receiver<Result<LogLine, RuntimeError>>, RuntimeError>;
}

/// A workload that was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started {
    /// On the host, of its first process.
    pub pid: u32,
    /// When.
    pub at: Timestamp,
}

/// Why a workload could not be started. Each names the argument that mends it: see `EngineError::attribute`.
#[derive(Debug, Error)]
pub enum StartError {
    /// The image's own passwd or group file does not have the name.
    #[error("The image has no user or group \"{user}\"")]
    UserNotFound {
        /// `user[:group]`.
        user: String,
    },
    /// There is no such program in the image.
    #[error("The image has no program \"{program}\"")]
    EntrypointNotFound {
        /// The first argument.
        program: String,
    },
    /// The program cannot be executed.
    #[error("The program \"{program}\" cannot be executed")]
    EntrypointNotExecutable {
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
    /// The image is not in the store.
    #[error("The image {image} is not in the store")]
    ImageGone {
        /// Its digest.
        image: Digest,
    },
    /// A file of the image belongs to an id beyond the instance's own.
    #[error("{path} in the image belongs to id {id}, beyond the 65536 ids of an instance")]
    IdOutOfRange {
        /// The file.
        path: String,
        /// Its owner or group.
        id: u64,
    },
    /// Something that cannot be mounted.
    #[error(transparent)]
    Mount(MountFault),
    /// An interface that cannot be made.
    #[error("The interface \"{interface}\" cannot be made")]
    Interface {
        /// Its name.
        interface: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// A limit that the host refuses.
    #[error("The limit of {limit} cannot be set")]
    Limit {
        /// As the interface names it: `memory`.
        limit: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// Something that the agent's configuration forbids.
    #[error("The agent's configuration does not allow security.{field} here")]
    NotAllowed {
        /// Of `security`.
        field: &'static str,
    },
    /// A setting of the kernel that it refuses.
    #[error("The kernel's setting {name} cannot be made")]
    Sysctl {
        /// With dots.
        name: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// A machine that does not come up, or cannot be had here.
    #[error("The virtual machine cannot be started")]
    Machine {
        /// What to do; empty where nothing is known.
        advice: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// The host lacks something.
    #[error("This host cannot {operation}")]
    Host {
        /// "mount the root filesystem" and the like.
        operation: String,
        /// What to do; empty where nothing is known.
        advice: String,
        /// Why.
        #[source]
        source: Cause,
    },
}

/// Why the runtime could not do something.
#[derive(Debug, Error)]
pub enum RuntimeError {
    /// It does not run.
    #[error("The instance is not running")]
    NotRunning,
    /// What runs cannot be changed so, and nothing of it was: started anew, it is what is wanted.
    #[error("The instance must be started anew")]
    NeedsRestart,
    /// Something that cannot be mounted.
    #[error(transparent)]
    Mount(MountFault),
    /// An interface that cannot be made.
    #[error("The interface \"{interface}\" cannot be made")]
    Interface {
        /// Its name.
        interface: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// What runs is beyond the limit already, and cannot be made to fit.
    #[error("More {limit} is in use than the limit would allow")]
    LimitExceeded {
        /// As the interface names it: `memory`.
        limit: String,
    },
    /// A limit that the host refuses.
    #[error("The limit of {limit} cannot be set")]
    Limit {
        /// As the interface names it: `memory`.
        limit: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// A file that cannot be read.
    #[error("The file {path} of the instance cannot be read")]
    UnreadableFile {
        /// Inside.
        path: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// Its processes outlive even a kill.
    #[error("The instance could not be stopped within {waited:?}")]
    Unstoppable {
        /// How long was waited.
        waited: Duration,
    },
    /// The host does not do it.
    #[error("This host cannot {operation}")]
    Host {
        /// "read the log" and the like.
        operation: String,
        /// Why.
        #[source]
        source: Cause,
    },
}
