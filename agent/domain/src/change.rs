//! What a change of a spec does to an instance that runs. The same table answers for a plan and for an apply.

use crate::file;
use crate::instance::{InstanceKind, InstanceSpec};
use crate::machine;
use crate::value::secrets::Secrets;

/// What a change does, the mildest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// No restart: the process stays.
    InPlace,
    /// The same root filesystem and addresses, a new process.
    Restart,
    /// A new root filesystem; id, name and addresses stay.
    Rebuild,
    /// Another instance.
    Replace,
}

/// An argument of an instance, as the interface names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the argument of its name")]
pub enum Argument {
    Name,
    Type,
    Image,
    Entrypoint,
    Command,
    Environment,
    WorkingDir,
    User,
    Hostname,
    StopSignal,
    StopTimeout,
    RestartTriggers,
    Labels,
    Description,
    Running,
    Restart,
    Ports,
    Limits,
    Mounts,
    Files,
    Devices,
    HealthCheck,
    Boot,
    SecretEnvironment,
    Security,
    Ulimits,
    Sysctls,
    ShmSize,
    SupplementaryGroups,
    Networks,
    ExtraHosts,
    Ingress,
    Egress,
}

impl Argument {
    /// The name in the interface.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Type => "type",
            Self::Image => "image",
            Self::Entrypoint => "entrypoint",
            Self::Command => "command",
            Self::Environment => "environment",
            Self::WorkingDir => "working_dir",
            Self::User => "user",
            Self::Hostname => "hostname",
            Self::StopSignal => "stop_signal",
            Self::StopTimeout => "stop_timeout",
            Self::RestartTriggers => "restart_triggers",
            Self::Labels => "labels",
            Self::Description => "description",
            Self::Running => "running",
            Self::Restart => "restart",
            Self::Ports => "ports",
            Self::Limits => "limits",
            Self::Mounts => "mounts",
            Self::Files => "files",
            Self::Devices => "devices",
            Self::HealthCheck => "health_check",
            Self::Boot => "boot",
            Self::SecretEnvironment => "secret_environment_wo",
            Self::Security => "security",
            Self::Ulimits => "ulimits",
            Self::Sysctls => "sysctls",
            Self::ShmSize => "shm_size",
            Self::SupplementaryGroups => "supplementary_groups",
            Self::Networks => "networks",
            Self::ExtraHosts => "extra_hosts",
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

/// The arguments that differ, each with what its change does.
#[must_use]
pub fn changes(old: &InstanceSpec, new: &InstanceSpec) -> Vec<(Argument, Effect)> {
    use Argument as A;
    // The host name is the name's where none is given, so only then does a new name reach the process.
    let name =
        if old.hostname.is_some() && new.hostname.is_some() { Effect::InPlace } else { Effect::Restart };
    let is_machine = new.kind == InstanceKind::VirtualMachine;
    let boots = is_machine && machine::needs_boot(&old.limits, &new.limits);
    let limits = if boots { Effect::Restart } else { Effect::InPlace };
    let table = [
        (A::Name, name, old.name != new.name),
        (A::Type, Effect::Replace, old.kind != new.kind),
        (A::Image, Effect::Rebuild, old.image != new.image),
        (A::Entrypoint, Effect::Restart, old.entrypoint != new.entrypoint),
        (A::Command, Effect::Restart, old.command != new.command),
        (A::Environment, Effect::Restart, old.environment != new.environment),
        (A::WorkingDir, Effect::Restart, old.working_dir != new.working_dir),
        (A::User, Effect::Restart, old.user != new.user),
        (A::Hostname, Effect::Restart, old.hostname != new.hostname),
        (A::StopSignal, Effect::Restart, old.stop_signal != new.stop_signal),
        (A::StopTimeout, Effect::Restart, old.stop_timeout_ms != new.stop_timeout_ms),
        (A::RestartTriggers, Effect::Restart, old.restart_triggers != new.restart_triggers),
        (A::Labels, Effect::InPlace, old.labels != new.labels),
        (A::Description, Effect::InPlace, old.description != new.description),
        (A::Running, Effect::InPlace, old.running != new.running),
        (A::Restart, Effect::InPlace, old.restart != new.restart),
        (A::Ports, Effect::InPlace, old.ports != new.ports),
        (A::Networks, Effect::InPlace, old.networks != new.networks),
        (A::ExtraHosts, Effect::InPlace, old.extra_hosts != new.extra_hosts),
        (A::Ingress, Effect::InPlace, old.ingress != new.ingress),
        (A::Egress, Effect::InPlace, old.egress != new.egress),
        (A::Limits, limits, old.limits != new.limits),
        (A::Mounts, Effect::InPlace, old.mounts != new.mounts),
        (A::Devices, Effect::InPlace, old.devices != new.devices),
        (A::Files, file::effect(&old.files, &new.files).unwrap_or(Effect::InPlace), old.files != new.files),
        (A::HealthCheck, Effect::InPlace, old.health_check != new.health_check),
        (A::Boot, Effect::InPlace, old.boot != new.boot),
        (A::SecretEnvironment, Effect::Restart, new.secrets.is_some() && secrets(old) != secrets(new)),
        (A::Security, Effect::Restart, old.security != new.security),
        (A::Ulimits, Effect::Restart, old.kernel.ulimits != new.kernel.ulimits),
        (A::Sysctls, Effect::Restart, old.kernel.sysctls != new.kernel.sysctls),
        (A::ShmSize, Effect::Restart, old.kernel.shm_size != new.kernel.shm_size),
        (
            A::SupplementaryGroups,
            Effect::Restart,
            old.kernel.supplementary_groups != new.kernel.supplementary_groups,
        ),
    ];
    table
        .into_iter()
        .filter(|(_, _, differs)| *differs)
        .map(|(argument, effect, _)| (argument, effect))
        .collect()
}

/// None given and none had are the same.
fn secrets(spec: &InstanceSpec) -> Option<&Secrets> {
    spec.secrets.as_ref().filter(|secrets| !secrets.is_empty())
}

/// The strongest effect of all that differs; `None` where nothing does.
#[must_use]
pub fn change_effect(old: &InstanceSpec, new: &InstanceSpec) -> Option<Effect> {
    changes(old, new).into_iter().map(|(_, effect)| effect).max()
}
