//! Between the model and the wire. What the user wrote is kept where it means what the agent says.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use berth_proto::agent as wire;
use wire::instance::Status;
use wire::restart_policy::Policy;

use super::contents::{devices, files, mounts, networks, ports};
use super::model::{
    CONTAINER, DEFAULT_BACKOFF_MS, DEFAULT_POLICY, DEFAULT_STOP_TIMEOUT_MS, InstanceModel, LimitsModel,
    RestartModel,
};
use super::process::convert as process;
use crate::attr::{Attr, List, Map, entries, keep_spelling, list, map, map_or_null, non_empty};
pub use crate::resources::labels::Labels;
use crate::resources::{access, labels};
use crate::text::{cpu, duration, size};

/// What the agent is asked for. The model has been validated: what cannot be read is left out.
pub fn to_spec(model: &InstanceModel, defaults: &Labels) -> wire::InstanceSpec {
    let text = |attr: &Attr<String>| attr.as_str().unwrap_or_default().to_owned();
    let optional = |attr: &Attr<String>| attr.as_str().map(str::to_owned);
    wire::InstanceSpec {
        name: text(&model.name),
        r#type: model.r#type.as_str().unwrap_or(CONTAINER).to_owned(),
        image: text(&model.image),
        entrypoint: strings(&model.entrypoint),
        command: strings(&model.command),
        environment: environment(&model.environment),
        working_dir: optional(&model.working_dir),
        user: optional(&model.user),
        hostname: optional(&model.hostname),
        stop_signal: optional(&model.stop_signal),
        stop_timeout_ms: model.stop_timeout.as_str().and_then(|text| duration::parse(text).ok()),
        restart_triggers: plain_map(&model.restart_triggers),
        labels: effective_labels(model, defaults).into_iter().collect(),
        description: optional(&model.description),
        running: model.is_wanted(),
        restart: Some(restart(model.restart.known())),
        ports: ports::to_wire(&model.ports),
        limits: Some(limits(model.limits.known())),
        mounts: mounts::to_wire(&model.mounts),
        files: files::to_wire(&model.files),
        devices: devices::to_wire(&model.devices),
        networks: networks::to_wire(&model.networks),
        extra_hosts: plain_map(&model.extra_hosts),
        ingress: access::to_wire(&model.ingress),
        egress: access::to_wire(&model.egress),
        health_check: process::health(&model.health_check),
        boot: process::boot(&model.boot),
        // No state has them: sent by whoever has the configuration.
        secret_environment: None,
        security: process::security(&model.security),
        ulimits: process::ulimits(&model.ulimits),
        sysctls: plain_map(&model.sysctls),
        shm_size: process::shm_size(&model.shm_size),
        supplementary_groups: process::groups(&model.supplementary_groups),
    }
}

/// The user's labels over the provider's.
pub fn effective_labels(model: &InstanceModel, defaults: &Labels) -> Labels {
    labels::effective(&model.labels, defaults)
}

fn strings(attr: &List<String>) -> Option<wire::StringList> {
    let values = attr.known()?.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect();
    Some(wire::StringList { values })
}

fn plain_map<M: FromIterator<(String, String)>>(attr: &Map<String>) -> M {
    entries(attr).map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn environment<M: FromIterator<(String, wire::EnvironmentValue)>>(attr: &Map<String>) -> M {
    let value = |value: &Attr<String>| wire::EnvironmentValue { value: value.as_str().map(str::to_owned) };
    attr.known().into_iter().flatten().map(|(key, it)| (key.clone(), value(it))).collect()
}

fn restart(model: Option<&RestartModel>) -> wire::RestartPolicy {
    let policy = match model.and_then(|model| model.policy.as_str()).unwrap_or(DEFAULT_POLICY) {
        "no" => Policy::No,
        "on-failure" => Policy::OnFailure,
        _ => Policy::Always,
    };
    let retries = model.and_then(|model| model.max_retries.known().copied()).unwrap_or(0);
    let backoff = model.and_then(|model| model.backoff.as_str()).and_then(|text| duration::parse(text).ok());
    wire::RestartPolicy {
        policy: policy.into(),
        max_retries: u32::try_from(retries).unwrap_or(u32::MAX),
        backoff_ms: backoff.unwrap_or(DEFAULT_BACKOFF_MS),
    }
}

fn limits(model: Option<&LimitsModel>) -> wire::Limits {
    let Some(model) = model else { return wire::Limits::default() };
    wire::Limits {
        cpu_millis: model.cpu.as_str().and_then(|text| cpu::parse(text).ok()).unwrap_or(0),
        memory_bytes: model.memory.as_str().and_then(|text| size::parse(text).ok()).unwrap_or(0),
        pids: model.pids.known().copied().and_then(|pids| u64::try_from(pids).ok()).unwrap_or(0),
        cpuset: model.cpuset.as_str().unwrap_or_default().to_owned(),
        swap_bytes: model.swap.as_str().and_then(|text| size::parse(text).ok()),
        io_weight: model.io_weight.known().copied().and_then(|it| u32::try_from(it).ok()).unwrap_or(0),
    }
}

/// An instance as the agent has it, in the words of `prior` where they say the same.
/// Without a prior, as in an import, a default is absent.
pub fn from_wire(
    instance: &wire::Instance,
    prior: Option<&InstanceModel>,
    defaults: &Labels,
) -> InstanceModel {
    let empty = wire::InstanceSpec::default();
    let spec = instance.spec.as_ref().unwrap_or(&empty);
    let kept = |attr: fn(&InstanceModel) -> &Attr<String>| prior.map(attr).cloned().unwrap_or_default();
    let optional = |value: &Option<String>| Attr::from(value.clone());
    InstanceModel {
        host: kept(|it| &it.host),
        name: Attr::Known(spec.name.clone()),
        r#type: or_default(prior.map(|it| &it.r#type), &spec.r#type, CONTAINER),
        image: read_image(instance, spec, prior),
        on_image_change: kept(|it| &it.on_image_change),
        entrypoint: read_list(&spec.entrypoint),
        command: read_list(&spec.command),
        environment: read_environment(spec, prior),
        working_dir: optional(&spec.working_dir),
        user: optional(&spec.user),
        hostname: optional(&spec.hostname),
        stop_signal: optional(&spec.stop_signal),
        stop_timeout: read_stop_timeout(spec.stop_timeout_ms, prior.map(|it| &it.stop_timeout)),
        restart_triggers: read_map(&spec.restart_triggers, prior.map(|it| &it.restart_triggers)),
        labels: labels::read(
            &spec.labels,
            prior.map(|it| &it.labels),
            prior.map(|it| &it.effective_labels),
            defaults,
        ),
        description: optional(&spec.description),
        running: match prior.map(|it| &it.running) {
            Some(Attr::Known(_)) => Attr::Known(spec.running),
            _ if spec.running => Attr::Null,
            _ => Attr::Known(false),
        },
        restart: read_restart(spec.restart.as_ref(), prior.map(|it| &it.restart)),
        ports: ports::from_wire(instance, &spec.ports, prior.map(|it| &it.ports)),
        limits: read_limits(spec.limits.as_ref(), prior.map(|it| &it.limits)),
        mounts: mounts::from_wire(&spec.mounts, prior.map(|it| &it.mounts)),
        devices: devices::from_wire(&spec.devices, prior.map(|it| &it.devices)),
        networks: networks::from_wire(spec.networks.as_ref(), prior.map(|it| &it.networks)),
        extra_hosts: read_hosts(&spec.extra_hosts, prior.map(|it| &it.extra_hosts)),
        ingress: access::from_wire(spec.ingress.as_ref(), prior.map(|it| &it.ingress)),
        egress: access::from_wire(spec.egress.as_ref(), prior.map(|it| &it.egress)),
        files: files::from_wire(&spec.files, prior.map(|it| &it.files)),
        timeouts: prior.map(|it| it.timeouts.clone()).unwrap_or_default(),
        id: Attr::Known(instance.id.clone()),
        status: Attr::Known(status_word(instance.status()).to_owned()),
        exit_code: instance.exit_code.map(i64::from).into(),
        image_id: non_empty(&instance.image_id),
        ipv4_address: non_empty(&instance.ipv4_address),
        ipv6_address: non_empty(&instance.ipv6_address),
        addresses: Attr::Known(
            instance.addresses.iter().map(|(name, all)| (name.clone(), list(all.values.clone()))).collect(),
        ),
        mac_addresses: map(instance.mac_addresses.clone()),
        effective_labels: map(spec.labels.clone()),
        ..read_process(spec, prior)
    }
}

/// The arguments about the process; nothing of the others.
fn read_process(spec: &wire::InstanceSpec, prior: Option<&InstanceModel>) -> InstanceModel {
    InstanceModel {
        health_check: process::read_health(&spec.health_check, prior.map(|it| &it.health_check)),
        wait_for: prior.map(|it| it.wait_for.clone()).unwrap_or_default(),
        boot: process::read_boot(&spec.boot, prior.map(|it| &it.boot)),
        secret_environment_wo: Attr::Null,
        secret_environment_wo_version: prior
            .map(|it| it.secret_environment_wo_version.clone())
            .unwrap_or_default(),
        security: process::read_security(&spec.security, prior.map(|it| &it.security)),
        ulimits: process::read_ulimits(&spec.ulimits, prior.map(|it| &it.ulimits)),
        sysctls: read_map(&spec.sysctls, prior.map(|it| &it.sysctls)),
        shm_size: process::read_shm_size(spec.shm_size, prior.map(|it| &it.shm_size)),
        supplementary_groups: process::read_groups(
            &spec.supplementary_groups,
            prior.map(|it| &it.supplementary_groups),
        ),
        ..InstanceModel::default()
    }
}

/// The word for a status.
pub fn status_word(status: Status) -> &'static str {
    match status {
        Status::Unspecified => "unknown",
        Status::Creating => "creating",
        Status::Running => "running",
        Status::Stopped => "stopped",
        Status::Exited => "exited",
        Status::Restarting => "restarting",
        Status::Failed => "failed",
        Status::Deleting => "deleting",
    }
}

pub(super) fn or_default(prior: Option<&Attr<String>>, actual: &str, default: &str) -> Attr<String> {
    let actual = if actual.is_empty() { default } else { actual };
    match prior {
        None | Some(Attr::Null | Attr::Unknown) if actual == default => Attr::Null,
        _ => Attr::Known(actual.to_owned()),
    }
}

/// The image as the user wrote it, while the agent still runs what that means.
fn read_image(
    instance: &wire::Instance,
    spec: &wire::InstanceSpec,
    prior: Option<&InstanceModel>,
) -> Attr<String> {
    let prior = prior.and_then(|prior| prior.image.as_str());
    let same = |text: &&str| [&spec.image, &instance.image_reference].iter().any(|it| it.as_str() == *text);
    match prior.filter(same) {
        Some(text) => Attr::Known(text.to_owned()),
        None if spec.image.is_empty() => non_empty(&instance.image_id),
        None => Attr::Known(spec.image.clone()),
    }
}

fn read_list(values: &Option<wire::StringList>) -> List<String> {
    values.as_ref().map_or(Attr::Null, |values| list(values.values.clone()))
}

pub(super) fn empty_or_null<T>(prior: Option<&Map<T>>) -> Map<T> {
    match prior {
        Some(Attr::Known(_)) => Attr::Known(BTreeMap::new()),
        _ => Attr::Null,
    }
}

fn read_map<'a, I>(values: I, prior: Option<&Map<String>>) -> Map<String>
where
    I: IntoIterator<Item = (&'a String, &'a String)>,
{
    match map_or_null(values.into_iter().map(|(key, value)| (key.clone(), value.clone()))) {
        Attr::Null => empty_or_null(prior),
        values => values,
    }
}

/// An address that means the same is as the user wrote it.
fn read_hosts(hosts: &HashMap<String, String>, prior: Option<&Map<String>>) -> Map<String> {
    let before = |name: &String| prior?.known()?.get(name)?.as_str();
    let same = |one: &str, other: &str| matches!((one.parse::<IpAddr>(), other.parse::<IpAddr>()), (Ok(a), Ok(b)) if a == b);
    let kept: HashMap<String, String> = hosts
        .iter()
        .map(|(name, address)| {
            let written = before(name).filter(|before| same(before, address));
            (name.clone(), written.unwrap_or(address).to_owned())
        })
        .collect();
    read_map(&kept, prior)
}

fn read_environment(spec: &wire::InstanceSpec, prior: Option<&InstanceModel>) -> Map<String> {
    if spec.environment.is_empty() {
        return empty_or_null(prior.map(|it| &it.environment));
    }
    let entry = |(key, value): (&String, &wire::EnvironmentValue)| (key.clone(), value.value.clone().into());
    Attr::Known(spec.environment.iter().map(entry).collect())
}

fn read_stop_timeout(actual: Option<u64>, prior: Option<&Attr<String>>) -> Attr<String> {
    match (actual, prior) {
        (None, _) => Attr::Null,
        (Some(DEFAULT_STOP_TIMEOUT_MS), None | Some(Attr::Null)) => Attr::Null,
        (Some(ms), prior) => {
            keep_spelling(prior, &ms, |text| duration::parse(text).ok(), || duration::format(ms))
        }
    }
}

fn read_restart(
    actual: Option<&wire::RestartPolicy>,
    prior: Option<&Attr<RestartModel>>,
) -> Attr<RestartModel> {
    let actual = actual.cloned().unwrap_or_default();
    let known = prior.and_then(Attr::known);
    let policy = match actual.policy() {
        Policy::No => "no",
        Policy::OnFailure => "on-failure",
        Policy::Always | Policy::Unspecified => DEFAULT_POLICY,
    };
    let backoff_ms = if actual.backoff_ms == 0 { DEFAULT_BACKOFF_MS } else { actual.backoff_ms };
    let backoff = known.map(|it| &it.backoff);
    let model = RestartModel {
        policy: or_default(known.map(|it| &it.policy), policy, DEFAULT_POLICY),
        max_retries: zero_or_null(actual.max_retries.into(), known.map(|it| &it.max_retries)),
        backoff: match backoff {
            None | Some(Attr::Null) if backoff_ms == DEFAULT_BACKOFF_MS => Attr::Null,
            backoff => keep_spelling(
                backoff,
                &backoff_ms,
                |text| duration::parse(text).ok(),
                || duration::format(backoff_ms),
            ),
        },
    };
    if known.is_none() && model == RestartModel::default() { Attr::Null } else { Attr::Known(model) }
}

/// 0 is absent, unless the user wrote it.
fn zero_or_null(actual: u64, prior: Option<&Attr<i64>>) -> Attr<i64> {
    match (actual, prior) {
        (0, Some(Attr::Known(0))) => Attr::Known(0),
        (0, _) => Attr::Null,
        (actual, _) => Attr::Known(i64::try_from(actual).unwrap_or(i64::MAX)),
    }
}

fn read_limits(actual: Option<&wire::Limits>, prior: Option<&Attr<LimitsModel>>) -> Attr<LimitsModel> {
    let actual = actual.cloned().unwrap_or_default();
    let known = prior.and_then(Attr::known);
    let (millis, bytes) = (actual.cpu_millis, actual.memory_bytes);
    let model = LimitsModel {
        cpu: match millis {
            0 => Attr::Null,
            _ => keep_spelling(
                known.map(|it| &it.cpu),
                &millis,
                |text| cpu::parse(text).ok(),
                || cpu::format(millis),
            ),
        },
        memory: match bytes {
            0 => Attr::Null,
            _ => keep_spelling(
                known.map(|it| &it.memory),
                &bytes,
                |text| size::parse(text).ok(),
                || size::format(bytes),
            ),
        },
        pids: zero_or_null(actual.pids, known.map(|it| &it.pids)),
        cpuset: non_empty(&actual.cpuset),
        swap: match actual.swap_bytes {
            None => Attr::Null,
            Some(bytes) => keep_spelling(
                known.map(|it| &it.swap),
                &bytes,
                |text| size::parse(text).ok(),
                || size::format(bytes),
            ),
        },
        io_weight: zero_or_null(actual.io_weight.into(), known.map(|it| &it.io_weight)),
    };
    if known.is_none() && model == LimitsModel::default() { Attr::Null } else { Attr::Known(model) }
}
