//! Things of the API as JSON. Fields are only ever added.

use std::collections::{BTreeMap, HashMap};

use berth_proto::agent as wire;
use berth_proto::agent::instance::Status;
use serde_json::{Value, json};

use super::process;

/// A text, or null where there is none.
pub(super) fn text(text: &str) -> Value {
    if text.is_empty() { Value::Null } else { text.into() }
}

pub(super) fn sorted<V: Clone>(map: &HashMap<String, V>) -> BTreeMap<String, V> {
    map.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// The word for a status.
pub(super) fn status(instance: &wire::Instance) -> &'static str {
    match instance.status() {
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

/// An instance in a list.
pub(super) fn instance(instance: &wire::Instance) -> Value {
    let spec = instance.spec.clone().unwrap_or_default();
    json!({
        "name": spec.name,
        "id": instance.id,
        "type": spec.r#type,
        "status": status(instance),
        "status_detail": text(&instance.status_detail),
        "health": instance.health.as_ref().map(process::health_word),
        "exit_code": instance.exit_code,
        "oom_killed": instance.oom_killed,
        "pid": (instance.pid != 0).then_some(instance.pid),
        "image": text(&instance.image_reference),
        "image_id": instance.image_id,
        "ipv4_address": text(&instance.ipv4_address),
        "ipv6_address": text(&instance.ipv6_address),
        "restarts": instance.restarts,
        "created_at": text(&instance.created_at),
        "started_at": text(&instance.started_at),
        "ports": ports(&instance.ports),
        "labels": sorted(&spec.labels),
    })
}

/// All of an instance: what the image gives beside what the user set and what came of both.
pub(super) fn instance_in_full(wire: &wire::Instance) -> Value {
    let mut all = instance(wire);
    let addresses = wire.addresses.iter().map(|(name, list)| (name.clone(), json!(list.values)));
    all["addresses"] = addresses.collect::<serde_json::Map<_, _>>().into();
    all["mac_addresses"] = json!(sorted(&wire.mac_addresses));
    all["leases"] = wire.leases.iter().map(lease).collect::<serde_json::Map<_, _>>().into();
    all["health_check"] = instance_health(wire);
    all["clamped"] = json!(wire.clamped);
    all["accelerator"] = text(&wire.accelerator);
    all["generation"] = wire.generation.into();
    all["spec"] = wire.spec.as_ref().map(spec).unwrap_or_default();
    all["effective"] = wire.effective.as_ref().map(effective).unwrap_or_default();
    let from_image = wire.effective.as_ref().and_then(|effective| effective.from_image.as_ref());
    all["from_image"] = from_image.map(config).unwrap_or_default();
    all
}

/// Packets that the host dropped, by interface.
pub(super) fn dropped(usage: &wire::Usage) -> Value {
    let one =
        |it: &wire::Dropped| json!({ "spoofed": it.spoofed, "ingress": it.ingress, "egress": it.egress });
    usage.dropped.iter().map(|(name, it)| (name.clone(), one(it))).collect::<serde_json::Map<_, _>>().into()
}

fn lease((name, lease): (&String, &wire::Lease)) -> (String, Value) {
    let shown = json!({
        "address": text(&lease.address),
        "server": text(&lease.server),
        "since": text(&lease.since),
        "expires": text(&lease.expires),
        "renewals": lease.renewals,
        "dns": lease.dns,
        "domain": text(&lease.domain),
        "trouble": text(&lease.trouble),
    });
    (name.clone(), shown)
}

fn ports(ports: &HashMap<String, wire::Port>) -> Value {
    let port = |port: &wire::Port| {
        json!({
            "container_port": port.container_port,
            "host_port": (port.host_port != 0).then_some(port.host_port),
            "host_address": port.host_address,
            "protocol": port.protocol,
        })
    };
    ports.iter().map(|(name, spec)| (name.clone(), port(spec))).collect::<serde_json::Map<_, _>>().into()
}

fn spec(spec: &wire::InstanceSpec) -> Value {
    let list = |list: &Option<wire::StringList>| list.as_ref().map(|list| list.values.clone());
    let environment = spec.environment.iter().map(|(name, value)| (name.clone(), json!(value.value)));
    let restart = spec.restart.unwrap_or_default();
    json!({
        "name": spec.name,
        "type": spec.r#type,
        "image": spec.image,
        "entrypoint": list(&spec.entrypoint),
        "command": list(&spec.command),
        "environment": environment.collect::<serde_json::Map<_, _>>(),
        "working_dir": spec.working_dir,
        "user": spec.user,
        "hostname": spec.hostname,
        "stop_signal": spec.stop_signal,
        "stop_timeout_ms": spec.stop_timeout_ms,
        "restart_triggers": sorted(&spec.restart_triggers),
        "labels": sorted(&spec.labels),
        "description": spec.description,
        "running": spec.running,
        "restart": {
            "policy": policy(restart.policy()),
            "max_retries": (restart.max_retries != 0).then_some(restart.max_retries),
            "backoff_ms": restart.backoff_ms,
        },
        "ports": ports(&spec.ports),
        "extra_hosts": sorted(&spec.extra_hosts),
        "limits": spec.limits.as_ref().map(process::limits),
        "mounts": super::show_contents::mounts(&spec.mounts),
        "files": super::show_contents::files(&spec.files),
        "devices": super::show_contents::devices(&spec.devices),
        "health_check": spec.health_check.as_ref().map(process::health_check),
        "boot": spec.boot.map(|boot| json!({ "priority": boot.priority, "delay_ms": boot.delay_ms })),
        "security": spec.security.as_ref().map(process::security),
        "ulimits": process::ulimits(spec),
        "sysctls": sorted(&spec.sysctls),
        "shm_size": (spec.shm_size != 0).then_some(spec.shm_size),
        "supplementary_groups": spec.supplementary_groups,
    })
}

fn instance_health(instance: &wire::Instance) -> Value {
    let check = instance.effective.as_ref().and_then(|effective| effective.health_check.as_ref());
    let health = instance.health.as_ref();
    json!({
        "check": check.map(process::health_check),
        "failures": health.map(|health| health.failures),
        "output": health.map(|health| health.output.clone()),
    })
}

fn policy(policy: wire::restart_policy::Policy) -> &'static str {
    use wire::restart_policy::Policy;
    match policy {
        Policy::No => "no",
        Policy::OnFailure => "on-failure",
        Policy::Always | Policy::Unspecified => "always",
    }
}

fn effective(effective: &wire::EffectiveConfig) -> Value {
    json!({
        "argv": effective.argv,
        "environment": sorted(&effective.environment),
        "working_dir": effective.working_dir,
        "user": effective.user,
        "stop_signal": effective.stop_signal,
        "stop_timeout_ms": effective.stop_timeout_ms,
        "hostname": effective.hostname,
    })
}

/// What an image says of itself.
fn config(config: &wire::ImageConfig) -> Value {
    let health_check = config.health_check.as_ref().map(|check| {
        json!({
            "test": check.test,
            "interval_ns": check.interval_ns,
            "timeout_ns": check.timeout_ns,
            "start_period_ns": check.start_period_ns,
            "retries": check.retries,
        })
    });
    json!({
        "entrypoint": config.entrypoint,
        "command": config.command,
        "environment": sorted(&config.environment),
        "exposed_ports": config.exposed_ports,
        "volumes": config.volumes,
        "user": config.user,
        "working_dir": config.working_dir,
        "stop_signal": config.stop_signal,
        "labels": sorted(&config.labels),
        "health_check": health_check,
    })
}

/// An image in a list.
pub(super) fn image(image: &wire::Image) -> Value {
    json!({
        "id": image.id,
        "references": image.references,
        "platform": image.platform,
        "size": image.size,
        "layers": image.layers.len(),
        "created": text(&image.created),
        "used_by": image.used_by,
    })
}

/// All of an image.
pub(super) fn image_in_full(wire: &wire::Image) -> Value {
    let mut all = image(wire);
    let layer =
        |layer: &wire::Layer| json!({ "digest": layer.digest, "diff_id": layer.diff_id, "size": layer.size });
    all["layers"] = wire.layers.iter().map(layer).collect::<Vec<_>>().into();
    all["config"] = wire.config.as_ref().map(config).unwrap_or_default();
    all
}

/// A pin.
pub(super) fn pin(pin: &wire::Pin) -> Value {
    json!({
        "id": pin.id,
        "reference": pin.reference,
        "platform": pin.platform,
        "reference_resolved": pin.reference_resolved,
        "index_digest": pin.index_digest,
        "keep_on_destroy": pin.keep_on_destroy,
        "image_id": pin.image.as_ref().map(|image| image.id.clone()),
    })
}

/// A remote.
pub(super) fn remote(remote: &wire::Remote) -> Value {
    let spec = remote.spec.clone().unwrap_or_default();
    json!({
        "name": spec.name,
        "id": remote.id,
        "address": spec.address,
        "username": spec.username,
        "has_password": remote.has_password,
        "insecure": spec.insecure,
        "ca_certificate": spec.ca_certificate,
        "credential_helper": spec.credential_helper,
        "docker_config": spec.docker_config,
        "client_certificate": spec.client_certificate,
        "has_client_key": remote.has_client_key,
        "mirrors": spec.mirrors,
        "verify_keys": spec.verify_keys,
    })
}

/// Something that happened.
pub(super) fn event(event: &wire::Event) -> Value {
    json!({
        "time": event.time,
        "kind": event.kind,
        "id": event.id,
        "name": event.name,
        "action": event.action,
        "message": event.message,
    })
}

/// One thing that Berth needs.
pub(super) fn check(item: &wire::CheckItem) -> Value {
    json!({
        "name": item.name,
        "outcome": outcome(item),
        "found": item.found,
        "fix": text(&item.fix),
    })
}

/// The word for an outcome.
pub(super) fn outcome(item: &wire::CheckItem) -> &'static str {
    use wire::check_item::Outcome;
    match item.outcome() {
        Outcome::Ok => "ok",
        Outcome::Limited => "limited",
        Outcome::Missing => "missing",
        Outcome::Unspecified => "unknown",
    }
}

/// A size for people.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

/// The first digits of a digest, for people.
pub(super) fn short(digest: &str) -> String {
    digest.trim_start_matches("sha256:").chars().take(12).collect()
}

/// What a check of the store found.
pub(super) fn store_check(report: &wire::CheckImagesReport) -> Value {
    let damaged = report.damaged.iter().map(|image| {
        json!({
            "id": image.id,
            "parts": image.parts,
            "repaired": image.repaired,
            "repair_error": text(&image.repair_error),
        })
    });
    json!({ "images": report.images, "bytes": report.bytes, "damaged": damaged.collect::<Vec<_>>() })
}

/// What a prune removed, or would remove.
pub(super) fn pruned(pruned: &wire::PruneImagesResponse, dry_run: bool) -> Value {
    let images = pruned.images.iter().map(|image| {
        json!({ "id": image.id, "platform": image.platform, "size": image.size, "used_at": text(&image.used_at) })
    });
    json!({
        "dry_run": dry_run,
        "images": images.collect::<Vec<_>>(),
        "bytes_freed": pruned.bytes_freed,
        "objects_freed": pruned.objects_freed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_in_the_largest_unit_that_fits() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(350 << 20), "350.0 MiB");
    }

    #[test]
    fn an_instance_has_the_fields_that_programs_rely_on() {
        let shown = instance(&wire::Instance { pid: 7, restarts: 2, ..Default::default() });
        for field in ["name", "id", "type", "status", "pid", "image_id", "ipv4_address", "restarts"] {
            assert!(shown.get(field).is_some(), "{field}");
        }
        assert_eq!((shown["pid"].as_u64(), shown["restarts"].as_u64()), (Some(7), Some(2)));
    }
}
