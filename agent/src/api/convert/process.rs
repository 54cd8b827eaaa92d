//! The parts of an instance that are about its process: health, security, the kernel's settings, what it uses.

use std::collections::{BTreeMap, HashMap};

use berth_domain::{
    Boot, Health, HealthCheck, HealthDraft, HealthSpec, HealthState, KernelSettings, Probe, Security,
    SecurityDraft, Ulimit,
};
use berth_engine::ports::network::Dropped;
use berth_engine::ports::runtime::Usage;
use berth_proto::agent as wire;

pub(super) fn health_draft(check: wire::HealthCheck) -> HealthDraft {
    HealthDraft {
        disabled: check.disabled,
        exec: check.exec,
        http: check.http.map(|http| (http.port, http.path, http.scheme)),
        tcp: check.tcp.map(|tcp| tcp.port),
        interval_ms: check.interval_ms,
        timeout_ms: check.timeout_ms,
        retries: check.retries,
        start_period_ms: check.start_period_ms,
    }
}

pub(super) fn boot_draft(boot: wire::Boot) -> Boot {
    Boot { priority: boot.priority, delay_ms: boot.delay_ms }
}

pub(super) fn security_draft(security: wire::Security) -> SecurityDraft {
    SecurityDraft {
        capabilities_add: security.capabilities_add,
        capabilities_drop: security.capabilities_drop,
        read_only_rootfs: security.read_only_rootfs,
        no_new_privileges: security.no_new_privileges,
        seccomp: security.seccomp,
        user_namespace: security.user_namespace,
        privileged: security.privileged,
        host_network: security.host_network,
        host_pid: security.host_pid,
    }
}

pub(super) fn kernel_draft(
    ulimits: HashMap<String, wire::Ulimit>,
    sysctls: HashMap<String, String>,
    shm_size: u64,
    supplementary_groups: Vec<String>,
) -> KernelSettings {
    let ulimit =
        |(name, limit): (String, wire::Ulimit)| (name, Ulimit { soft: limit.soft, hard: limit.hard });
    KernelSettings {
        ulimits: ulimits.into_iter().map(ulimit).collect(),
        sysctls: sysctls.into_iter().collect(),
        shm_size: (shm_size != 0).then_some(shm_size),
        supplementary_groups,
    }
}

fn with_probe(probe: Option<Probe>, check: wire::HealthCheck) -> wire::HealthCheck {
    match probe {
        None => check,
        Some(Probe::Exec(exec)) => wire::HealthCheck { exec, ..check },
        Some(Probe::Http { port, path, tls }) => {
            let scheme = if tls { "https" } else { "http" }.to_owned();
            wire::HealthCheck { http: Some(wire::HttpProbe { port: port.into(), path, scheme }), ..check }
        }
        Some(Probe::Tcp(port)) => {
            wire::HealthCheck { tcp: Some(wire::TcpProbe { port: port.into() }), ..check }
        }
    }
}

/// What was asked for.
pub(super) fn health_spec(spec: HealthSpec) -> wire::HealthCheck {
    let check = wire::HealthCheck {
        disabled: spec.disabled,
        interval_ms: spec.interval_ms.unwrap_or_default(),
        timeout_ms: spec.timeout_ms.unwrap_or_default(),
        retries: spec.retries.unwrap_or_default(),
        start_period_ms: spec.start_period_ms.unwrap_or_default(),
        ..wire::HealthCheck::default()
    };
    with_probe(spec.probe, check)
}

/// What is done.
pub(super) fn health_check(check: HealthCheck) -> wire::HealthCheck {
    let plain = wire::HealthCheck {
        interval_ms: check.interval_ms,
        timeout_ms: check.timeout_ms,
        retries: check.retries,
        start_period_ms: check.start_period_ms,
        ..wire::HealthCheck::default()
    };
    with_probe(Some(check.probe), plain)
}

pub(super) fn health(health: Health) -> wire::Health {
    use wire::health::State;
    let state = match health.state {
        HealthState::Starting => State::Starting,
        HealthState::Healthy => State::Healthy,
        HealthState::Unhealthy => State::Unhealthy,
    };
    wire::Health { state: state.into(), failures: health.failures, output: health.output }
}

pub(super) fn boot(boot: Boot) -> Option<wire::Boot> {
    (boot != Boot::default()).then_some(wire::Boot { priority: boot.priority, delay_ms: boot.delay_ms })
}

pub(super) fn security(security: Security) -> Option<wire::Security> {
    (security != Security::default()).then(|| wire::Security {
        capabilities_add: security.capabilities_add.into_iter().collect(),
        capabilities_drop: security.capabilities_drop.into_iter().collect(),
        read_only_rootfs: security.read_only_rootfs,
        no_new_privileges: security.no_new_privileges,
        seccomp: if security.unfiltered { "unconfined".to_owned() } else { String::new() },
        user_namespace: if security.host_users { "host".to_owned() } else { String::new() },
        privileged: security.privileged,
        host_network: security.host_network,
        host_pid: security.host_pid,
    })
}

pub(super) fn ulimits(kernel: &KernelSettings) -> HashMap<String, wire::Ulimit> {
    let ulimit = |(name, limit): (&String, &Ulimit)| {
        (name.clone(), wire::Ulimit { soft: limit.soft, hard: limit.hard })
    };
    kernel.ulimits.iter().map(ulimit).collect()
}

pub(in crate::api) fn usage(usage: Usage, dropped: BTreeMap<String, Dropped>) -> wire::Usage {
    let dropped = dropped.into_iter().map(|(interface, Dropped { spoofed, ingress, egress })| {
        (interface, wire::Dropped { spoofed, ingress, egress })
    });
    wire::Usage {
        cpu_ns: usage.cpu_ns,
        memory_bytes: usage.memory_bytes,
        memory_limit: usage.memory_limit.unwrap_or_default(),
        pids: usage.pids,
        read_bytes: usage.read_bytes,
        written_bytes: usage.written_bytes,
        received_bytes: usage.received_bytes,
        sent_bytes: usage.sent_bytes,
        dropped: dropped.collect(),
    }
}
