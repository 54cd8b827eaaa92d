//! The launch spec: all that a supervisor needs to know of its instance.
//!
//! It is written to `spec.json` (mode 0600) in the instance's run directory and given to the supervisor on an inherited
//! descriptor. Supervisors outlive agents: fields are only ever added, each with a default.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use berth_storage::rootfs::RootfsSpec;
use serde::{Deserialize, Serialize};

use crate::file::FileWrite;
use crate::health::HealthSpec;
use crate::lease::DhcpSpec;
use crate::mount::MountSpec;
use crate::text::Text;

/// The version of the spec and of the control protocol that this crate speaks.
pub const VERSION: u32 = 1;

/// What a supervisor is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LaunchSpec {
    /// [`VERSION`] of the writer.
    pub version: u32,
    /// The instance's id.
    pub id: String,
    /// The instance's name.
    pub name: String,
    /// Which start of the instance this is: kept for the agent, who asks for it back.
    #[serde(default)]
    pub revision: u64,
    /// Where `control.sock`, `spec.json` and `exit.json` lie; `rootfs` in it is the mount point, empty on the host.
    pub run_dir: PathBuf,
    /// The root file system.
    pub rootfs: RootfsSpec,
    /// What runs.
    pub process: ProcessSpec,
    /// Its host name.
    pub hostname: String,
    /// The range of ids.
    pub ids: IdRange,
    /// What it shares with the host.
    #[serde(default)]
    pub shares: SharesSpec,
    /// Its control group.
    pub cgroup: CgroupSpec,
    /// Its interfaces; none leaves it with the loopback.
    #[serde(default)]
    pub networks: Vec<InterfaceSpec>,
    /// Files of the agent's that are seen inside, such as `/etc/hosts`.
    #[serde(default)]
    pub files: Vec<FileBind>,
    /// What else is mounted in it.
    #[serde(default)]
    pub mounts: Vec<MountSpec>,
    /// What is written into it before its program is executed for the first time.
    #[serde(default)]
    pub writes: Vec<FileWrite>,
    /// How it is stopped.
    pub stop: StopSpec,
    /// What follows an exit.
    pub restart: RestartSpec,
    /// Where its output goes.
    pub log: LogSpec,
    /// How its health is asked for.
    #[serde(default)]
    pub health: Option<HealthSpec>,
    /// What the kernel is told of it.
    #[serde(default)]
    pub kernel: KernelSpec,
    /// It is a virtual machine, of this kind; absent: a container.
    #[serde(default)]
    pub vm: Option<VmSpec>,
}

/// A virtual machine: what it boots from, and what runs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmSpec {
    /// A kernel that QEMU boots, readable by all.
    pub kernel: PathBuf,
    /// Its initramfs, readable by all.
    pub initramfs: PathBuf,
    /// QEMU's program.
    pub qemu: PathBuf,
    /// The program that exports the root file system.
    pub virtiofsd: PathBuf,
    /// Whether the processor runs the guest's instructions, or QEMU's translation.
    pub kvm: bool,
    /// Why it is that: what the agent that started it found.
    #[serde(default)]
    pub kvm_reason: String,
    /// Of the guest, in bytes.
    pub memory_bytes: u64,
    /// Of the guest.
    pub cpus: u32,
    /// The most memory that it can have without another boot, in bytes; less than it has: its memory stays as it is.
    #[serde(default)]
    pub max_memory_bytes: u64,
    /// The most processors that it can have without another boot; less than it has: they stay as many.
    #[serde(default)]
    pub max_cpus: u32,
    /// Whether its interfaces are where they can be plugged in and pulled out while it runs.
    #[serde(default)]
    pub has_slots: bool,
    /// Milliseconds that it may take until the workload's program is executed.
    pub boot_timeout_ms: u64,
}

/// Settings of an instance's own namespaces and mounts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KernelSpec {
    /// Names with dots, and values.
    pub sysctls: Vec<(String, String)>,
    /// Of /dev/shm, in bytes; 64 MiB where it is absent.
    pub shm_bytes: Option<u64>,
    /// Whether the root file system cannot be written.
    pub read_only_root: bool,
    /// Whether nothing of /proc, /sys and the devices is kept from it.
    pub privileged: bool,
}

/// Namespaces of the host's that an instance is in, instead of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SharesSpec {
    /// The user namespace: its ids are the host's, whatever `ids` says.
    pub users: bool,
    /// The network namespace.
    pub network: bool,
    /// The pid namespace.
    pub pids: bool,
}

/// A program and how it is run, the first or one beside it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessSpec {
    /// The program and its arguments. A name without a slash is looked up in the environment's PATH.
    pub argv: Vec<Text>,
    /// The environment.
    pub environment: Vec<(String, Text)>,
    /// The working directory, made if it is absent; "/" if empty.
    pub working_dir: String,
    /// "user[:group]", names of the image's own `/etc/passwd` and `/etc/group` or numbers; empty is root.
    pub user: String,
    /// Forbid gaining privileges by exec.
    #[serde(default)]
    pub no_new_privileges: bool,
    /// Groups beside those of the image's own group file: names of it, or numbers.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Capabilities, such as "CAP_NET_RAW"; Docker's default ones where it is absent.
    #[serde(default)]
    pub capabilities: Option<Vec<String>>,
    /// Whether every system call is let through.
    #[serde(default)]
    pub unfiltered: bool,
    /// Limits of each process.
    #[serde(default)]
    pub rlimits: Vec<RlimitSpec>,
}

/// A limit of each process. What the supervisor may not raise so far is set as high as it may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RlimitSpec {
    /// As in Docker: "nofile".
    pub name: String,
    /// What is in force; `u64::MAX` is no limit.
    pub soft: u64,
    /// What it can be raised to.
    pub hard: u64,
}

/// Ids of a user namespace: 0 to `count` inside are `host_base` onwards on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    /// The host's id for 0 inside.
    pub host_base: u32,
    /// How many.
    pub count: u32,
}

/// The control group `parent/name`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupSpec {
    /// The agent's own group, such as "berthabcd".
    pub parent: String,
    /// The instance's.
    pub name: String,
    /// Thousandths of a CPU.
    #[serde(default)]
    pub cpu_millis: Option<u64>,
    /// Bytes.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
    /// Tasks.
    #[serde(default)]
    pub pids: Option<u64>,
    /// Which CPUs: "0-2,5".
    #[serde(default)]
    pub cpuset: Option<String>,
    /// Bytes of swap beside the memory.
    #[serde(default)]
    pub swap_bytes: Option<u64>,
    /// Its part of the disks' time, 1 to 10,000.
    #[serde(default)]
    pub io_weight: Option<u16>,
}

/// One interface. Its addresses are fixed here, taken from the network, or none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceSpec {
    /// Its name inside, such as "eth0".
    pub name: String,
    /// The name of its other end on the host, where it has one.
    pub host_name: String,
    /// How it is connected.
    #[serde(default)]
    pub kind: InterfaceKind,
    /// The link of the host's that it is connected to: a bridge, or what a macvlan is on top of.
    pub bridge: String,
    /// The VLAN of that link that it is on.
    #[serde(default)]
    pub vlan: Option<VlanSpec>,
    /// Six bytes with colons between them.
    pub mac: String,
    /// Its address.
    #[serde(default)]
    pub ipv4_address: Option<Ipv4Addr>,
    /// The length of its network's prefix, in bits.
    #[serde(default)]
    pub ipv4_prefix: u8,
    /// The default route, on at most one interface.
    #[serde(default)]
    pub ipv4_gateway: Option<Ipv4Addr>,
    /// Its address.
    #[serde(default)]
    pub ipv6_address: Option<Ipv6Addr>,
    /// The length of its network's prefix, in bits.
    #[serde(default)]
    pub ipv6_prefix: u8,
    /// The default route, on at most one interface.
    #[serde(default)]
    pub ipv6_gateway: Option<Ipv6Addr>,
    /// How it takes its IPv4 address from a DHCP server.
    #[serde(default)]
    pub dhcp: Option<DhcpSpec>,
    /// Whether it takes addresses and routes from the network's router advertisements.
    #[serde(default)]
    pub ipv6_autoconf: bool,
    /// The largest packet, in bytes; absent: that of the link of the host's.
    #[serde(default)]
    pub mtu: Option<u32>,
}

impl InterfaceSpec {
    /// Whether it is one interface with one lease: who is asked for names does not count.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let but_names = |spec: &Self| {
            let mut spec = spec.clone();
            spec.dhcp.iter_mut().for_each(|dhcp| dhcp.dns = false);
            spec
        };
        but_names(self) == but_names(other)
    }
}

/// A VLAN.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VlanSpec {
    /// Its tag.
    pub id: u16,
    /// The link of the host's that has its frames, where the interface is not a port of a bridge that sorts them.
    pub link: String,
}

/// How an interface is connected to a link of the host's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InterfaceKind {
    /// One end of a pair whose other end is a port of the link, which is a bridge.
    #[default]
    Bridge,
    /// As `Bridge` where the link is one, else as `Macvlan`.
    Physical,
    /// A link with a MAC address of its own on top of the host's.
    Macvlan,
}

/// A file of the host's seen at a path inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileBind {
    /// On the host.
    pub source: PathBuf,
    /// Inside; absolute.
    pub target: PathBuf,
    /// Whether it cannot be written inside.
    #[serde(default)]
    pub read_only: bool,
}

/// How a workload is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopSpec {
    /// The signal's number.
    pub signal: i32,
    /// Milliseconds until it is killed.
    pub timeout_ms: u64,
}

/// Whether a workload that ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartSpec {
    /// When.
    pub policy: RestartPolicy,
    /// How often in a row; 0 is without end.
    #[serde(default)]
    pub max_retries: u32,
    /// The first delay in milliseconds, doubled at each try up to a minute.
    pub backoff_ms: u64,
}

/// When a workload is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Never.
    No,
    /// After an exit code other than 0, or a signal.
    OnFailure,
    /// After any exit.
    Always,
}

/// The log's directory and how much is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSpec {
    /// The directory of `current.log` and of those before it.
    pub directory: PathBuf,
    /// Bytes of a file before the next is begun.
    pub max_bytes: u64,
    /// How many older files are kept.
    pub keep: u32,
}
