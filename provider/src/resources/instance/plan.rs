//! What an apply would do to an instance: pure.
//!
//! A change is *state only* (the agent is not asked), *in place* (the pid stays), a *restart* (same
//! rootfs and addresses), a *rebuild* (a new rootfs under the same id and addresses), or a *replace*
//! (Terraform's destroy and create). What a change leaves alone stays known in the plan.

use berth_proto::agent as wire;

use super::contents::{devices, files, mounts, networks, ports};
use super::convert::{Labels, to_spec};
use super::model::{InstanceModel, LimitsModel, MACHINE, OnImageChange, RestartModel};
use super::process::convert as process;
use crate::attr::{Attr, Map, Part, settle};
use crate::client::hosts::Setting;
use crate::report::{self, Diagnostic, Path};
use crate::resources::{access, labels};
use crate::text::{cpu, duration, reference, size};

/// What a change does, from the mildest to the harshest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Only Terraform's state changes.
    StateOnly,
    /// The pid stays.
    InPlace,
    /// Same rootfs, volumes and addresses.
    Restart,
    /// A new rootfs.
    Rebuild,
    /// Destroy and create.
    Replace,
}

/// One argument's change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The argument.
    pub argument: &'static str,
    /// What it does.
    pub effect: Effect,
}

/// A plan.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Planned {
    /// The state after the apply, as far as it is known.
    pub model: InstanceModel,
    /// What changes.
    pub changes: Vec<Change>,
    /// What the user is told.
    pub reports: Vec<Diagnostic>,
}

impl Planned {
    /// The arguments that make Terraform replace the instance.
    pub fn replaced_by(&self) -> impl Iterator<Item = Path> {
        self.changes.iter().filter(|change| change.effect == Effect::Replace).map(|it| Path::at(it.argument))
    }
}

/// Plans a create.
pub fn create(config: &InstanceModel, defaults: &Setting<Labels>) -> Planned {
    let mut model = config.clone();
    for computed in [
        &mut model.id,
        &mut model.status,
        &mut model.image_id,
        &mut model.ipv4_address,
        &mut model.ipv6_address,
    ] {
        *computed = Attr::Unknown;
    }
    model.secret_environment_wo = Attr::Null;
    model.exit_code = Attr::Unknown;
    model.addresses = Attr::Unknown;
    model.mac_addresses = Attr::Unknown;
    if let Some(id) = model.image.as_str().filter(|image| reference::is_id(image)) {
        model.image_id = Attr::Known(id.to_owned());
    }
    model.effective_labels = planned_labels(&model, defaults);
    ports::choose(&mut model.ports, None);
    files::settle_all(&mut model.files, None);
    Planned { model, ..Planned::default() }
}

/// Plans an update. `same_host` tells whether two `host` arguments name one host.
pub fn update(
    prior: &InstanceModel,
    config: &InstanceModel,
    defaults: &Setting<Labels>,
    same_host: impl Fn(Option<&str>, Option<&str>) -> bool,
) -> Planned {
    let mut model = settled(prior, config);
    model.effective_labels = planned_labels(&model, defaults);
    let mut changes = changes(prior, &model, defaults);
    if model.host.is_unknown() || !same_host(prior.host.as_str(), model.host.as_str()) {
        changes.push(Change { argument: "host", effect: Effect::Replace });
    }
    let starts = changes.iter().any(|change| {
        matches!(change.effect, Effect::Restart | Effect::Rebuild) || change.argument == "running"
    });
    computed(prior, &mut model, starts);
    if changes.iter().any(|change| change.argument == "networks") {
        (model.addresses, model.mac_addresses) = (Attr::Unknown, Attr::Unknown);
        (model.ipv4_address, model.ipv6_address) = (Attr::Unknown, Attr::Unknown);
    }
    let reports = warning(prior, &model, &changes).into_iter().collect();
    Planned { model, changes, reports }
}

fn planned_labels(model: &InstanceModel, defaults: &Setting<Labels>) -> Map<String> {
    labels::planned(&model.labels, defaults)
}

/// The configured arguments, in the prior's spelling where they mean the same.
fn settled(prior: &InstanceModel, config: &InstanceModel) -> InstanceModel {
    let mut model = config.clone();
    if config.image_change() == OnImageChange::Ignore && prior.image.known().is_some() {
        model.image = prior.image.clone();
    }
    model.stop_signal = settle(Some(&prior.stop_signal), &config.stop_signal, same_signal);
    model.stop_timeout = settle(Some(&prior.stop_timeout), &config.stop_timeout, same_duration);
    if let (Attr::Known(restart), Some(before)) = (&mut model.restart, prior.restart.known()) {
        settle_restart(restart, before);
    }
    if let (Attr::Known(limits), Some(before)) = (&mut model.limits, prior.limits.known()) {
        settle_limits(limits, before);
    }
    ports::choose(&mut model.ports, prior.ports.known());
    devices::settle_all(&mut model.devices, &prior.devices);
    networks::settle_all(&mut model.networks, &prior.networks);
    model.ingress = access::settle(&prior.ingress, &config.ingress);
    model.egress = access::settle(&prior.egress, &config.egress);
    mounts::settle_all(&mut model.mounts, &prior.mounts);
    files::settle_all(&mut model.files, Some(&prior.files));
    model.secret_environment_wo = Attr::Null;
    model.health_check = process::settle(&prior.health_check, &config.health_check, process::health);
    model.boot = process::settle(&prior.boot, &config.boot, process::boot);
    model.security = process::settle(&prior.security, &config.security, process::security);
    model.ulimits = process::settle(&prior.ulimits, &config.ulimits, process::ulimits);
    let groups = process::set_of_groups;
    model.supplementary_groups =
        process::settle(&prior.supplementary_groups, &config.supplementary_groups, groups);
    model.shm_size = process::settle(&prior.shm_size, &config.shm_size, process::shm_size);
    model
}

fn settle_restart(restart: &mut RestartModel, before: &RestartModel) {
    restart.backoff = settle(Some(&before.backoff), &restart.backoff, same_duration);
}

fn settle_limits(limits: &mut LimitsModel, before: &LimitsModel) {
    let same_size = |one: &str, other: &str| equal(size::parse(one), size::parse(other));
    let same_cpu = |one: &str, other: &str| equal(cpu::parse(one), cpu::parse(other));
    limits.memory = settle(Some(&before.memory), &limits.memory, same_size);
    limits.swap = settle(Some(&before.swap), &limits.swap, same_size);
    limits.cpu = settle(Some(&before.cpu), &limits.cpu, same_cpu);
}

/// `SIGQUIT`, `QUIT` and `quit` are one signal.
fn same_signal(one: &str, other: &str) -> bool {
    let name = |text: &str| {
        let upper = text.to_ascii_uppercase();
        upper.strip_prefix("SIG").map_or_else(|| upper.clone(), str::to_owned)
    };
    name(one) == name(other)
}

fn same_duration(one: &str, other: &str) -> bool {
    equal(duration::parse(one), duration::parse(other))
}

fn equal<T: PartialEq, E>(one: Result<T, E>, other: Result<T, E>) -> bool {
    matches!((one, other), (Ok(one), Ok(other)) if one == other)
}

/// Which arguments mean something else than before, and what that does.
fn changes(prior: &InstanceModel, model: &InstanceModel, defaults: &Setting<Labels>) -> Vec<Change> {
    let none = Labels::new();
    let defaults = match defaults {
        Setting::Known(defaults) => defaults,
        Setting::Unknown => &none,
    };
    let (old, new) = (to_spec(prior, defaults), to_spec(model, defaults));
    let hostname_is_set = prior.hostname.known().is_some() && model.hostname.known().is_some();
    let rename = if hostname_is_set { Effect::InPlace } else { Effect::Restart };
    let restarts = [
        ("entrypoint", old.entrypoint != new.entrypoint || model.entrypoint.has_unknown()),
        ("command", old.command != new.command || model.command.has_unknown()),
        ("environment", old.environment != new.environment || model.environment.has_unknown()),
        ("working_dir", old.working_dir != new.working_dir || model.working_dir.has_unknown()),
        ("user", old.user != new.user || model.user.has_unknown()),
        ("hostname", old.hostname != new.hostname || model.hostname.has_unknown()),
        ("stop_signal", old.stop_signal != new.stop_signal || model.stop_signal.has_unknown()),
        ("stop_timeout", old.stop_timeout_ms != new.stop_timeout_ms || model.stop_timeout.has_unknown()),
        (
            "restart_triggers",
            old.restart_triggers != new.restart_triggers || model.restart_triggers.has_unknown(),
        ),
    ];
    let in_place = [
        ("labels", prior.effective_labels != model.effective_labels),
        ("description", old.description != new.description || model.description.has_unknown()),
        ("running", old.running != new.running || model.running.has_unknown()),
        ("restart", old.restart != new.restart || model.restart.has_unknown()),
        ("ports", old.ports != new.ports || model.ports.has_unknown()),
        ("extra_hosts", old.extra_hosts != new.extra_hosts || model.extra_hosts.has_unknown()),
        ("ingress", old.ingress != new.ingress || model.ingress.has_unknown()),
        ("egress", old.egress != new.egress || model.egress.has_unknown()),
        ("devices", old.devices != new.devices || model.devices.has_unknown()),
        ("health_check", old.health_check != new.health_check || model.health_check.has_unknown()),
        ("boot", old.boot != new.boot || model.boot.has_unknown()),
    ];
    // What a machine cannot be given while it runs.
    let is_machine = model.r#type.as_str() == Some(MACHINE);
    let of = |boots: bool| if is_machine && boots { Effect::Restart } else { Effect::InPlace };
    let plugged = [
        (
            "limits",
            of(model.limits.has_unknown() || needs_boot(old.limits.as_ref(), new.limits.as_ref())),
            old.limits != new.limits || model.limits.has_unknown(),
        ),
        ("networks", Effect::InPlace, old.networks != new.networks || model.networks.has_unknown()),
        ("mounts", Effect::InPlace, old.mounts != new.mounts || model.mounts.has_unknown()),
    ];
    let state_only = [
        ("on_image_change", prior.on_image_change != model.on_image_change),
        ("timeouts", prior.timeouts != model.timeouts),
        ("wait_for", prior.wait_for != model.wait_for),
    ];
    let mut found = Vec::new();
    let mut add = |argument, effect, changed| {
        if changed {
            found.push(Change { argument, effect });
        }
    };
    add("name", rename, old.name != new.name || model.name.has_unknown());
    add("type", Effect::Replace, old.r#type != new.r#type || model.r#type.has_unknown());
    add("image", image_effect(prior, model), prior.image != model.image);
    let (files_change, files_restart) = files::change(&prior.files, &model.files);
    add("files", if files_restart { Effect::Restart } else { Effect::InPlace }, files_change);
    process_restarts(prior, model, &old, &new)
        .into_iter()
        .for_each(|(argument, changed)| add(argument, Effect::Restart, changed));
    restarts.into_iter().for_each(|(argument, changed)| add(argument, Effect::Restart, changed));
    in_place.into_iter().for_each(|(argument, changed)| add(argument, Effect::InPlace, changed));
    plugged.into_iter().for_each(|(argument, effect, changed)| add(argument, effect, changed));
    state_only.into_iter().for_each(|(argument, changed)| add(argument, Effect::StateOnly, changed));
    found
}

/// A machine boots with so much memory at the most, and has the rest plugged in.
const BOOT_MEMORY: u64 = 256 << 20;

/// So many processors can be plugged in.
const PLUGGED_CPUS: u64 = 16;

/// Whether limits that changed need another boot of a machine: to have less memory than it has booted with, or more processors
/// than can be plugged in.
fn needs_boot(old: Option<&wire::Limits>, new: Option<&wire::Limits>) -> bool {
    let of = |limits: Option<&wire::Limits>| {
        let memory = limits.map(|limits| limits.memory_bytes).filter(|bytes| *bytes > 0);
        (memory.unwrap_or(BOOT_MEMORY), limits.map_or(0, |limits| limits.cpu_millis.div_ceil(1000)))
    };
    let ((old_memory, old_cpus), (new_memory, new_cpus)) = (of(old), of(new));
    let is_beyond = old_cpus.max(new_cpus) > PLUGGED_CPUS;
    new_memory < old_memory.min(BOOT_MEMORY) || (is_beyond && old_cpus != new_cpus)
}

/// Those about the process that restart it.
fn process_restarts(
    prior: &InstanceModel,
    model: &InstanceModel,
    old: &wire::InstanceSpec,
    new: &wire::InstanceSpec,
) -> [(&'static str, bool); 6] {
    [
        (
            "secret_environment_wo_version",
            prior.secret_environment_wo_version != model.secret_environment_wo_version,
        ),
        ("security", old.security != new.security || model.security.has_unknown()),
        ("ulimits", old.ulimits != new.ulimits || model.ulimits.has_unknown()),
        ("sysctls", old.sysctls != new.sysctls || model.sysctls.has_unknown()),
        ("shm_size", old.shm_size != new.shm_size || model.shm_size.has_unknown()),
        (
            "supplementary_groups",
            old.supplementary_groups != new.supplementary_groups || model.supplementary_groups.has_unknown(),
        ),
    ]
}

/// A changed text that means the image that runs already changes nothing on the host.
fn image_effect(prior: &InstanceModel, model: &InstanceModel) -> Effect {
    let runs_already = model.image.as_str().is_some_and(|it| prior.image_id.as_str() == Some(it));
    match model.image_change() {
        _ if runs_already => Effect::InPlace,
        OnImageChange::Replace => Effect::Replace,
        OnImageChange::Rebuild | OnImageChange::Ignore => Effect::Rebuild,
    }
}

/// What is computed stays as it was, unless the update can change it.
fn computed(prior: &InstanceModel, model: &mut InstanceModel, starts: bool) {
    let kept = |attr: &Attr<String>| if attr.is_null() { Attr::Unknown } else { attr.clone() };
    model.id = kept(&prior.id);
    model.mac_addresses =
        if prior.mac_addresses.is_null() { Attr::Unknown } else { prior.mac_addresses.clone() };
    model.ipv6_address = prior.ipv6_address.clone();
    if starts {
        model.status = Attr::Unknown;
        model.exit_code = Attr::Unknown;
        model.ipv4_address = kept(&prior.ipv4_address);
        // One that a DHCP server gives may not have come yet.
        let given = |list: &Attr<_>| list.known().is_some_and(|list: &Vec<_>| !list.is_empty());
        let has_addresses =
            prior.addresses.known().is_some_and(|all| !all.is_empty() && all.values().all(given));
        model.addresses = if has_addresses { prior.addresses.clone() } else { Attr::Unknown };
    } else {
        model.status = prior.status.clone();
        model.exit_code = prior.exit_code.clone();
        model.ipv4_address = prior.ipv4_address.clone();
        model.addresses = prior.addresses.clone();
    }
    model.image_id = match model.image.as_str() {
        _ if prior.image == model.image => prior.image_id.clone(),
        Some(id) if reference::is_id(id) => Attr::Known(id.to_owned()),
        _ => Attr::Unknown,
    };
}

/// Says that a running instance is interrupted, and by what.
fn warning(prior: &InstanceModel, model: &InstanceModel, changes: &[Change]) -> Option<Diagnostic> {
    let harshest = changes.iter().map(|change| change.effect).max()?;
    if !prior.is_wanted() || !model.is_wanted() {
        return None;
    }
    let name = prior.name.as_str().unwrap_or_default();
    let (summary, consequence) = match harshest {
        Effect::Restart => (
            format!("The instance {name} will be restarted"),
            "Its process is stopped and started again; rootfs and addresses stay.",
        ),
        Effect::Rebuild => (
            format!("The instance {name} will be rebuilt"),
            "Its process is stopped, and started again on the new image; id and addresses stay, what was \
             written to its rootfs goes.",
        ),
        Effect::StateOnly | Effect::InPlace | Effect::Replace => return None,
    };
    let causes: Vec<_> =
        changes.iter().filter(|change| change.effect >= Effect::Restart).map(|it| it.argument).collect();
    let first = causes.first().copied().unwrap_or_default();
    let what = match causes.as_slice() {
        [one] => format!("{one} changes"),
        [some @ .., last] => format!("{} and {last} change", some.join(", ")),
        [] => return None,
    };
    Some(report::warning(Path::at(first), summary, format!("Because {what}. {consequence}")))
}
