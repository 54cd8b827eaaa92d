//! What a supervisor answers while it starts its workload.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The one line that a supervisor writes to its report descriptor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Report {
    /// The workload's program has been executed.
    Started {
        /// On the host, of the workload's first process.
        pid: i32,
        /// Milliseconds since the epoch; 0 where it is not told.
        #[serde(default)]
        started_at_ms: u64,
    },
    /// It has not, and nothing is left of the attempt.
    Failed(LaunchError),
}

/// Where a start failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("cannot {stage} {}{}", path.display(), Reason(*errno))]
pub struct LaunchError {
    /// What was being done.
    pub stage: Stage,
    /// What the kernel said; 0 where it was not asked.
    pub errno: i32,
    /// On what.
    pub path: PathBuf,
}

/// What the kernel said, if it was asked.
struct Reason(i32);

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            0 => Ok(()),
            errno => write!(f, ": {}", std::io::Error::from_raw_os_error(errno)),
        }
    }
}

/// A step of a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Reading the launch spec.
    #[error("read the launch spec")]
    Spec,
    /// The namespaces.
    #[error("make the namespaces of")]
    Namespaces,
    /// The control group.
    #[error("set up the control group")]
    Cgroup,
    /// The root file system.
    #[error("mount the root file system")]
    Rootfs,
    /// The interfaces.
    #[error("set up the network interface")]
    Network,
    /// The link of the host's that an interface is connected to.
    #[error("find the host's interface")]
    NetworkParent,
    /// The log.
    #[error("open the log")]
    Log,
    /// The control socket.
    #[error("open the control socket")]
    Control,
    /// The process that becomes pid 1.
    #[error("start the init process of")]
    Init,
    /// The mounts inside.
    #[error("mount")]
    Mount,
    /// What is to be mounted, on the host.
    #[error("find")]
    MountSource,
    /// Its ids.
    #[error("ID-map")]
    MountIds,
    /// Where it is to be mounted, inside.
    #[error("mount something at")]
    MountTarget,
    /// What fills it.
    #[error("copy the image's content at")]
    MountFill,
    /// A file that is written into it.
    #[error("write")]
    File,
    /// A file that is read out of it.
    #[error("read")]
    ReadFile,
    /// The host name.
    #[error("set the host name")]
    Hostname,
    /// The user, in the image's own passwd.
    #[error("find the user")]
    User,
    /// The group, in the image's own group file.
    #[error("find the group")]
    Group,
    /// The working directory.
    #[error("enter the working directory")]
    WorkingDir,
    /// The kernel's settings.
    #[error("set the kernel's setting")]
    Sysctl,
    /// Limits of each process.
    #[error("set the limit of each process of")]
    Rlimit,
    /// The virtual machine; the path says what is wrong with it.
    #[error("boot the virtual machine:")]
    Boot,
    /// Privileges.
    #[error("drop privileges of")]
    Privileges,
    /// The program.
    #[error("execute")]
    Exec,
    /// A connection inside a machine.
    #[error("connect to")]
    Connect,
}
