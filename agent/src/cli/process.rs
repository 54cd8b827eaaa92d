//! What is shown of an instance's process, and what it uses.

use berth_proto::agent as wire;
use serde_json::{Value, json};

use super::args::Format;
use super::error::CliError;
use super::instance::{Client, find};
use super::{Cli, output, show};

pub(super) fn limits(limits: &wire::Limits) -> Value {
    let some = |n: u64| (n != 0).then_some(n);
    json!({
        "cpu_millis": some(limits.cpu_millis),
        "cpuset": Some(&limits.cpuset).filter(|list| !list.is_empty()),
        "memory_bytes": some(limits.memory_bytes),
        "swap_bytes": limits.swap_bytes,
        "pids": some(limits.pids),
        "io_weight": (limits.io_weight != 0).then_some(limits.io_weight),
    })
}

pub(super) fn health_word(health: &wire::Health) -> &'static str {
    use wire::health::State;
    match health.state() {
        State::Unspecified => "unknown",
        State::Starting => "starting",
        State::Healthy => "healthy",
        State::Unhealthy => "unhealthy",
    }
}

pub(super) fn health_check(check: &wire::HealthCheck) -> Value {
    json!({
        "disabled": check.disabled,
        "exec": Some(&check.exec).filter(|argv| !argv.is_empty()),
        "http": check.http.as_ref().map(|http| json!({ "port": http.port, "path": http.path, "scheme": http.scheme })),
        "tcp": check.tcp.map(|tcp| json!({ "port": tcp.port })),
        "interval_ms": check.interval_ms,
        "timeout_ms": check.timeout_ms,
        "retries": check.retries,
        "start_period_ms": check.start_period_ms,
    })
}

pub(super) fn security(security: &wire::Security) -> Value {
    json!({
        "capabilities_add": security.capabilities_add,
        "capabilities_drop": security.capabilities_drop,
        "read_only_rootfs": security.read_only_rootfs,
        "no_new_privileges": security.no_new_privileges,
        "seccomp": if security.seccomp.is_empty() { "default" } else { &security.seccomp },
        "user_namespace": if security.user_namespace.is_empty() { "auto" } else { &security.user_namespace },
        "privileged": security.privileged,
        "host_network": security.host_network,
        "host_pid": security.host_pid,
    })
}

pub(super) fn ulimits(spec: &wire::InstanceSpec) -> Value {
    let limit = |limit: u64| if limit == u64::MAX { Value::from("unlimited") } else { limit.into() };
    let one = |(name, ulimit): (&String, &wire::Ulimit)| {
        (name.clone(), json!({ "soft": limit(ulimit.soft), "hard": limit(ulimit.hard) }))
    };
    spec.ulimits.iter().map(one).collect::<serde_json::Map<_, _>>().into()
}

/// `berth instance inspect`: what was dropped of its packets is told of one that runs.
pub(super) async fn in_full(client: &mut Client, name: &str) -> Result<Value, CliError> {
    let instance = find(client, name).await?;
    let mut all = show::instance_in_full(&instance);
    if instance.pid != 0 {
        let request = wire::GetUsageRequest { instance_id: instance.id };
        match client.get_usage(request).await.map_err(CliError::from) {
            Ok(usage) => all["dropped"] = show::dropped(usage.get_ref()),
            // It has ended since.
            Err(error) if error.is_of_what_ended() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

/// `berth instance stats`: of those named, or of all that run.
pub(super) async fn stats(cli: &Cli, client: &mut Client, names: Vec<String>) -> Result<(), CliError> {
    let mut instances = Vec::new();
    if names.is_empty() {
        let all = client.list_instances(wire::ListInstancesRequest {}).await?.into_inner().instances;
        instances.extend(all.into_iter().filter(|instance| instance.pid != 0));
    } else {
        for name in names {
            instances.push(find(client, &name).await?);
        }
    }
    let mut used = Vec::new();
    for instance in instances {
        let request = wire::GetUsageRequest { instance_id: instance.id };
        let usage = client.get_usage(request).await?.into_inner();
        used.push((instance.spec.map(|spec| spec.name).unwrap_or_default(), usage));
    }
    if cli.format == Format::Json {
        return output::json(&Value::Array(used.iter().map(usage).collect()));
    }
    let row = |(name, usage): &(String, wire::Usage)| {
        let memory = match usage.memory_limit {
            0 => show::size(usage.memory_bytes),
            limit => format!("{} of {}", show::size(usage.memory_bytes), show::size(limit)),
        };
        let dropped: u64 = usage.dropped.values().map(|it| it.spoofed + it.ingress + it.egress).sum();
        let pair = |one: u64, other: u64| format!("{} / {}", show::size(one), show::size(other));
        vec![
            name.clone(),
            format!("{:.1} s", std::time::Duration::from_nanos(usage.cpu_ns).as_secs_f64()),
            memory,
            pair(usage.read_bytes, usage.written_bytes),
            pair(usage.received_bytes, usage.sent_bytes),
            usage.pids.to_string(),
            dropped.to_string(),
        ]
    };
    let rows: Vec<_> = used.iter().map(row).collect();
    output::table(&["NAME", "CPU", "MEMORY", "READ / WRITTEN", "RECEIVED / SENT", "PIDS", "DROPPED"], &rows)
}

fn usage((name, usage): &(String, wire::Usage)) -> Value {
    json!({
        "name": name,
        "cpu_ns": usage.cpu_ns,
        "memory_bytes": usage.memory_bytes,
        "memory_limit": (usage.memory_limit != 0).then_some(usage.memory_limit),
        "pids": usage.pids,
        "read_bytes": usage.read_bytes,
        "written_bytes": usage.written_bytes,
        "received_bytes": usage.received_bytes,
        "sent_bytes": usage.sent_bytes,
        "dropped": show::dropped(usage),
    })
}
