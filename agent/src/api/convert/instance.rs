//! Instances.

use std::collections::HashMap;

use berth_domain::{
    EffectiveConfig, ImageConfig, InstanceDraft, InstanceSpec, Invalid, Limits, LimitsDraft, PortDraft,
    PortSpec, RestartDraft, RestartMode, RestartPolicy, Status as State,
};
use berth_engine::report::{PullPhase, PullProgress};
use berth_engine::view::InstanceView;
use berth_proto::agent as wire;
use tonic::Status;

use super::{contents, image, network, process, rfc3339};
use crate::api::{instances::incomplete, status};

/// What is asked for, before it is checked.
pub(in crate::api) fn draft(spec: Option<wire::InstanceSpec>) -> Result<InstanceDraft, Status> {
    let spec = spec.ok_or_else(|| incomplete("spec"))?;
    let limits = spec.limits.unwrap_or_default();
    Ok(InstanceDraft {
        name: spec.name,
        kind: spec.r#type,
        image: spec.image,
        entrypoint: spec.entrypoint.map(|list| list.values),
        command: spec.command.map(|list| list.values),
        environment: spec.environment.into_iter().map(|(name, value)| (name, value.value)).collect(),
        working_dir: spec.working_dir,
        user: spec.user,
        hostname: spec.hostname,
        stop_signal: spec.stop_signal,
        stop_timeout_ms: spec.stop_timeout_ms,
        restart_triggers: spec.restart_triggers.into_iter().collect(),
        labels: spec.labels.into_iter().collect(),
        description: spec.description,
        running: spec.running,
        restart: restart_draft(spec.restart)?,
        ports: spec.ports.into_iter().map(|(name, port)| (name, port_draft(port))).collect(),
        limits: LimitsDraft {
            cpu_millis: limits.cpu_millis,
            memory_bytes: limits.memory_bytes,
            pids: limits.pids,
            cpuset: limits.cpuset,
            swap_bytes: limits.swap_bytes,
            io_weight: limits.io_weight,
        },
        mounts: contents::mount_drafts(spec.mounts),
        files: contents::file_drafts(spec.files),
        devices: contents::device_drafts(spec.devices),
        health_check: spec.health_check.map(process::health_draft),
        boot: spec.boot.map(process::boot_draft).unwrap_or_default(),
        secrets: spec.secret_environment.map(|secrets| secrets.values.into_iter().collect()),
        security: spec.security.map(process::security_draft).unwrap_or_default(),
        networks: network::interface_drafts(spec.networks),
        extra_hosts: spec.extra_hosts.into_iter().collect(),
        ingress: network::rule_drafts(spec.ingress),
        egress: network::rule_drafts(spec.egress),
        kernel: process::kernel_draft(spec.ulimits, spec.sysctls, spec.shm_size, spec.supplementary_groups),
    })
}

fn restart_draft(policy: Option<wire::RestartPolicy>) -> Result<RestartDraft, Status> {
    use wire::restart_policy::Policy;
    let Some(policy) = policy else { return Ok(RestartDraft::default()) };
    let mode = match Policy::try_from(policy.policy) {
        Ok(Policy::Unspecified | Policy::Always) => RestartMode::Always,
        Ok(Policy::OnFailure) => RestartMode::OnFailure,
        Ok(Policy::No) => RestartMode::No,
        Err(_) => {
            let advice = "Use no, on-failure or always, or a newer agent";
            let invalid = Invalid::new(&["restart", "policy"], "The agent does not know this policy", advice);
            return Err(status::invalid(invalid));
        }
    };
    Ok(RestartDraft { mode, max_retries: policy.max_retries, backoff_ms: policy.backoff_ms })
}

fn port_draft(port: wire::Port) -> PortDraft {
    PortDraft {
        container_port: port.container_port,
        host_port: port.host_port,
        host_address: port.host_address,
        protocol: port.protocol,
    }
}

/// An instance.
pub(in crate::api) fn show(view: InstanceView) -> wire::Instance {
    let addresses = view.addresses.into_iter().map(|(interface, addresses)| {
        let values = addresses.iter().map(ToString::to_string).collect();
        (interface, wire::StringList { values })
    });
    let macs = view.mac_addresses.into_iter().map(|(interface, mac)| (interface, mac.to_string()));
    let from_image = view.from_image.as_ref();
    let (status, failure) = state(view.status);
    wire::Instance {
        id: view.id.to_string(),
        spec: Some(spec(view.spec)),
        status: status.into(),
        status_detail: failure.unwrap_or(view.status_detail),
        exit_code: view.exit_code,
        oom_killed: view.oom_killed,
        image_id: view.image.to_string(),
        image_reference: view.image_reference,
        ipv4_address: view.ipv4.map(|ipv4| ipv4.to_string()).unwrap_or_default(),
        ipv6_address: view.ipv6.map(|ipv6| ipv6.to_string()).unwrap_or_default(),
        addresses: addresses.collect(),
        mac_addresses: macs.collect(),
        pid: view.pid.unwrap_or_default(),
        restarts: view.restarts,
        created_at: rfc3339(view.created_at),
        started_at: view.started_at.map(rfc3339).unwrap_or_default(),
        ports: view.ports.into_iter().map(|(name, spec)| (name, port(&spec))).collect(),
        effective: view.effective.map(|config| effective(config, from_image)),
        generation: view.generation,
        health: view.health.map(process::health),
        clamped: view.clamped,
        accelerator: view.accelerator.unwrap_or_default(),
        leases: network::leases(view.interfaces),
    }
}

fn state(state: State) -> (wire::instance::Status, Option<String>) {
    use wire::instance::Status as S;
    match state {
        State::Creating => (S::Creating, None),
        State::Running => (S::Running, None),
        State::Stopped => (S::Stopped, None),
        State::Exited => (S::Exited, None),
        State::Restarting => (S::Restarting, None),
        State::Failed { detail } => (S::Failed, Some(detail)),
        State::Deleting => (S::Deleting, None),
    }
}

fn spec(spec: InstanceSpec) -> wire::InstanceSpec {
    let environment = spec.environment.into_iter();
    let list = |list: Option<Vec<String>>| list.map(|values| wire::StringList { values });
    wire::InstanceSpec {
        name: spec.name.to_string(),
        r#type: spec.kind.as_str().to_owned(),
        image: spec.image.as_str().to_owned(),
        entrypoint: list(spec.entrypoint),
        command: list(spec.command),
        environment: environment.map(|(name, value)| (name, wire::EnvironmentValue { value })).collect(),
        working_dir: spec.working_dir,
        user: spec.user.map(|user| user.to_string()),
        hostname: spec.hostname.map(|hostname| hostname.to_string()),
        stop_signal: spec.stop_signal.map(|signal| signal.to_string()),
        stop_timeout_ms: spec.stop_timeout_ms.map(u64::from),
        restart_triggers: spec.restart_triggers.into_iter().collect(),
        labels: spec.labels.into_iter().collect(),
        description: spec.description,
        running: spec.running,
        restart: Some(restart(spec.restart)),
        ports: spec.ports.iter().map(|(name, spec)| (name.clone(), port(spec))).collect::<HashMap<_, _>>(),
        limits: limits(spec.limits),
        mounts: contents::mounts(&spec.mounts),
        files: contents::files(&spec.files),
        devices: contents::devices(&spec.devices),
        health_check: spec.health_check.map(process::health_spec),
        boot: process::boot(spec.boot),
        // Never given out.
        secret_environment: None,
        security: process::security(spec.security),
        ulimits: process::ulimits(&spec.kernel),
        sysctls: spec.kernel.sysctls.into_iter().collect(),
        shm_size: spec.kernel.shm_size.unwrap_or_default(),
        supplementary_groups: spec.kernel.supplementary_groups,
        networks: network::interfaces(spec.networks),
        extra_hosts: spec.extra_hosts.iter().map(|(name, it)| (name.clone(), it.to_string())).collect(),
        ingress: network::rules(spec.ingress.as_deref()),
        egress: network::rules(spec.egress.as_deref()),
    }
}

fn restart(policy: RestartPolicy) -> wire::RestartPolicy {
    use wire::restart_policy::Policy;
    let mode = match policy.mode {
        RestartMode::No => Policy::No,
        RestartMode::OnFailure => Policy::OnFailure,
        RestartMode::Always => Policy::Always,
    };
    wire::RestartPolicy {
        policy: mode.into(),
        max_retries: policy.max_retries.unwrap_or_default(),
        backoff_ms: policy.backoff_ms,
    }
}

fn limits(limits: Limits) -> Option<wire::Limits> {
    (limits != Limits::default()).then(|| wire::Limits {
        cpu_millis: limits.cpu_millis.unwrap_or_default(),
        memory_bytes: limits.memory_bytes.unwrap_or_default(),
        pids: limits.pids.unwrap_or_default(),
        cpuset: limits.cpuset.unwrap_or_default(),
        swap_bytes: limits.swap_bytes,
        io_weight: limits.io_weight.unwrap_or_default().into(),
    })
}

fn port(port: &PortSpec) -> wire::Port {
    wire::Port {
        container_port: port.container_port.into(),
        host_port: port.host_port.unwrap_or_default().into(),
        host_address: port.host_address.to_string(),
        protocol: port.protocol.as_str().to_owned(),
    }
}

fn effective(config: EffectiveConfig, from_image: Option<&ImageConfig>) -> wire::EffectiveConfig {
    wire::EffectiveConfig {
        argv: config.argv,
        environment: config.environment.into_iter().collect(),
        working_dir: config.working_dir,
        user: config.user.to_string(),
        stop_signal: config.stop_signal.name(),
        stop_timeout_ms: config.stop_timeout_ms.into(),
        hostname: config.hostname.to_string(),
        from_image: from_image.map(image::config),
        health_check: config.health.map(process::health_check),
    }
}

/// A pull's progress in a line for a person, where it is worth one.
pub(in crate::api) fn pull_line(pull: &PullProgress) -> Option<String> {
    match pull.phase {
        PullPhase::Fetching => Some(format!("pulling, {} of {} layers", pull.layers_done, pull.layers_total)),
        PullPhase::Merging => Some("merging layers".to_owned()),
        PullPhase::Resolving | PullPhase::Done => None,
    }
}
