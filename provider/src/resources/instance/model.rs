//! `berth_instance` as Terraform has it.

use tfplugin::timeouts::Timeouts;

use super::contents::devices::DeviceModel;
use super::contents::files::FileModel;
use super::contents::mounts::MountModel;
use super::contents::networks::InterfaceModel;
use super::contents::ports::PortModel;
use super::process::model::{BootModel, HealthCheckModel, SecurityModel, UlimitModel, WaitModel};
use crate::attr::{Attr, List, Map, model};
use crate::resources::access::Rules;

model! {
    /// An instance: arguments first, then what is computed.
    pub struct InstanceModel {
        /// The host's key or address; null is the default host.
        host: Attr<String>,
        /// Unique on its host.
        name: Attr<String>,
        /// `container`.
        r#type: Attr<String>,
        /// An image's id or a reference.
        image: Attr<String>,
        /// What a change of `image` does.
        on_image_change: Attr<String>,
        /// Over the image's.
        entrypoint: List<String>,
        /// Over the image's.
        command: List<String>,
        /// Over the image's; a null unsets.
        environment: Map<String>,
        /// Over the image's.
        working_dir: Attr<String>,
        /// Over the image's.
        user: Attr<String>,
        /// Else the name.
        hostname: Attr<String>,
        /// Over the image's.
        stop_signal: Attr<String>,
        /// A duration.
        stop_timeout: Attr<String>,
        /// A change restarts.
        restart_triggers: Map<String>,
        /// The user's own.
        labels: Map<String>,
        /// For people.
        description: Attr<String>,
        /// Whether it is to run; null is true.
        running: Attr<bool>,
        /// When to start it again.
        restart: Attr<RestartModel>,
        /// Published ports by name.
        ports: Map<PortModel>,
        /// Interfaces by name.
        networks: Map<InterfaceModel>,
        /// What is let in.
        ingress: Rules,
        /// What is let out.
        egress: Rules,
        /// Limits of resources.
        limits: Attr<LimitsModel>,
        /// What is mounted, by name.
        mounts: Map<MountModel>,
        /// What is written into it, by path.
        files: Map<FileModel>,
        /// Devices of the host, by name.
        devices: Map<DeviceModel>,
        /// How its health is asked for.
        health_check: Attr<HealthCheckModel>,
        /// What an apply waits for.
        wait_for: Attr<WaitModel>,
        /// When it comes up after its host.
        boot: Attr<BootModel>,
        /// Reaches the process and nothing else.
        secret_environment_wo: Map<String>,
        /// A change sends the secrets again.
        secret_environment_wo_version: Attr<i64>,
        /// What its processes may do.
        security: Attr<SecurityModel>,
        /// Names beside its own, each with an address.
        extra_hosts: Map<String>,
        /// Limits of each process.
        ulimits: Map<UlimitModel>,
        /// The kernel's settings.
        sysctls: Map<String>,
        /// A size.
        shm_size: Attr<String>,
        /// Beside those of the image's own group file.
        supplementary_groups: List<String>,
        /// How long operations may take.
        timeouts: Attr<Timeouts>,
        /// A UUID made by the agent.
        id: Attr<String>,
        /// What is.
        status: Attr<String>,
        /// Of the last run.
        exit_code: Attr<i64>,
        /// Digest of the image it runs.
        image_id: Attr<String>,
        /// Of the default route's interface.
        ipv4_address: Attr<String>,
        /// Of the default route's interface.
        ipv6_address: Attr<String>,
        /// By interface, in CIDR form.
        addresses: Attr<std::collections::BTreeMap<String, List<String>>>,
        /// By interface.
        mac_addresses: Map<String>,
        /// With the provider's defaults.
        effective_labels: Map<String>,
    }
}

model! {
    /// When to start it again.
    pub struct RestartModel {
        /// `no`, `on-failure` or `always`.
        policy: Attr<String>,
        /// Null or 0: without end.
        max_retries: Attr<i64>,
        /// The first delay, a duration.
        backoff: Attr<String>,
    }
}

model! {
    /// Limits of resources.
    pub struct LimitsModel {
        /// A number of CPUs.
        cpu: Attr<String>,
        /// A size.
        memory: Attr<String>,
        /// Processes and threads.
        pids: Attr<i64>,
        /// A list of CPUs.
        cpuset: Attr<String>,
        /// A size, beside the memory.
        swap: Attr<String>,
        /// A part of the disks' time.
        io_weight: Attr<i64>,
    }
}

/// Where an instance listens when nothing is said.
pub const DEFAULT_HOST_ADDRESS: &str = "127.0.0.1";
/// The protocol of a port when nothing is said.
pub const DEFAULT_PROTOCOL: &str = "tcp";
/// The only kind there is yet.
pub const CONTAINER: &str = "container";

/// The type of an instance under a kernel of its own.
pub const MACHINE: &str = "virtual-machine";
/// The policy when nothing is said.
pub const DEFAULT_POLICY: &str = "always";
/// The first delay when nothing is said, in milliseconds.
pub const DEFAULT_BACKOFF_MS: u64 = 100;
/// The stop timeout when nothing is said, in milliseconds.
pub const DEFAULT_STOP_TIMEOUT_MS: u64 = 10_000;

/// What a change of `image` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnImageChange {
    /// A new rootfs under the same instance.
    Rebuild,
    /// A new instance.
    Replace,
    /// Nothing.
    Ignore,
}

impl OnImageChange {
    /// Reads the argument; null is `rebuild`.
    pub fn read(text: Option<&str>) -> Option<Self> {
        match text {
            None | Some("rebuild") => Some(Self::Rebuild),
            Some("replace") => Some(Self::Replace),
            Some("ignore") => Some(Self::Ignore),
            Some(_) => None,
        }
    }
}

impl InstanceModel {
    /// Whether it is asked to run.
    pub fn is_wanted(&self) -> bool {
        self.running.known().copied().unwrap_or(true)
    }

    /// What a change of its image does.
    pub fn image_change(&self) -> OnImageChange {
        OnImageChange::read(self.on_image_change.as_str()).unwrap_or(OnImageChange::Rebuild)
    }
}
