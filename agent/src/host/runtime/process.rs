//! What a supervisor is told of the process that it starts, and what it tells of its health.

use std::path::Path;

use berth_domain::{EffectiveConfig, Health, HealthCheck, HealthState, Probe};
use berth_runtime::health::{self, HealthSpec};
use berth_runtime::spec::{KernelSpec, ProcessSpec, RlimitSpec};
use berth_runtime::text::Text;

pub(super) fn spec(config: &EffectiveConfig) -> ProcessSpec {
    let plain =
        config.environment.iter().filter(|(name, _)| !config.secrets.reveal().any(|(n, _)| n == *name));
    let variables = plain.chain(config.secrets.reveal());
    let rlimit = |(name, limit): (&String, &berth_domain::Ulimit)| RlimitSpec {
        name: name.clone(),
        soft: limit.soft,
        hard: limit.hard,
    };
    ProcessSpec {
        argv: config.argv.iter().map(|text| text.as_str().into()).collect(),
        environment: variables.map(|(name, value)| (name.clone(), value.as_str().into())).collect(),
        working_dir: config.working_dir.clone(),
        user: config.user.to_string(),
        no_new_privileges: config.security.no_new_privileges,
        groups: config.kernel.supplementary_groups.clone(),
        capabilities: config.security.capabilities(),
        unfiltered: config.security.unfiltered || config.security.privileged,
        rlimits: config.kernel.ulimits.iter().map(rlimit).collect(),
    }
}

pub(super) fn kernel(config: &EffectiveConfig) -> KernelSpec {
    KernelSpec {
        sysctls: config.kernel.sysctls.clone().into_iter().collect(),
        shm_bytes: config.kernel.shm_size,
        read_only_root: config.security.read_only_rootfs,
        privileged: config.security.privileged,
    }
}

/// `speaks_tls` is the program for probes over TLS.
pub(super) fn health(check: &HealthCheck, speaks_tls: &Path) -> HealthSpec {
    HealthSpec {
        probe: match &check.probe {
            Probe::Exec(argv) => {
                health::Probe::Exec { argv: argv.iter().map(|text| Text::from(text.as_str())).collect() }
            }
            Probe::Http { port, path, tls } => health::Probe::Http {
                port: *port,
                path: path.clone(),
                tls: tls.then(|| speaks_tls.to_owned()),
            },
            Probe::Tcp(port) => health::Probe::Tcp { port: *port },
        },
        interval_ms: check.interval_ms,
        timeout_ms: check.timeout_ms,
        retries: check.retries,
        start_period_ms: check.start_period_ms,
    }
}

pub(super) fn told(health: health::Health) -> Health {
    Health {
        state: match health.state {
            health::State::Starting => HealthState::Starting,
            health::State::Healthy => HealthState::Healthy,
            health::State::Unhealthy => HealthState::Unhealthy,
        },
        failures: health.failures,
        output: health.output,
    }
}

/// The limit, as the interface names it, that a file of a control group holds.
pub(super) fn limit_of(file: &Path) -> Option<&'static str> {
    let name = file.file_name()?.to_str()?;
    Some(match name {
        "memory.memsw.limit_in_bytes" | "memory.swap.max" => "swap",
        "memory.limit_in_bytes" | "memory.max" => "memory",
        "pids.max" => "pids",
        "cpuset" | "cpuset.cpus" => "cpuset",
        "blkio.bfq.weight" | "io.weight" => "io_weight",
        "cpu.max" | "cpu.cfs_quota_us" => "cpu",
        _ => return None,
    })
}
