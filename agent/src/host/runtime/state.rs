//! What the host has of instances, as their directories and supervisors tell.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_domain::{ExitRecord, InstanceId, Timestamp, Workload};
use berth_engine::ports::runtime::{InterfaceState, Lease, Started, Usage};
use berth_runtime::client::Spawned;
use berth_runtime::control::{self, State, Status};
use berth_runtime::exit;
use berth_runtime::lease::InterfaceStatus;
use berth_runtime::spec::LaunchSpec;
use ipnet::Ipv4Net;

use crate::host::guests;

/// All instances that have a directory.
pub(super) fn ids(places: &[PathBuf]) -> io::Result<BTreeSet<InstanceId>> {
    let mut ids = BTreeSet::new();
    for place in places {
        for name in names(place)? {
            ids.extend(name.parse::<InstanceId>());
        }
    }
    Ok(ids)
}

/// The root filesystems that are made.
pub(super) fn rootfs(data: &Path) -> io::Result<Vec<u32>> {
    let names = names(data)?;
    let mut numbers: Vec<u32> =
        names.iter().filter_map(|name| name.strip_prefix("rootfs-")?.parse().ok()).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn names(directory: &Path) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

/// What the supervisor was told.
pub(super) fn spec(run: &Path) -> Option<LaunchSpec> {
    serde_json::from_slice(&std::fs::read(run.join("spec.json")).ok()?).ok()
}

/// How long the workload may take to stop.
pub(super) fn stop_time(run: &Path) -> Duration {
    Duration::from_millis(spec(run).map_or(0, |spec| spec.stop.timeout_ms))
}

/// What runs the instructions of a machine that runs.
pub(super) fn accelerator(run: &Path) -> Option<String> {
    spec(run)?.vm.as_ref().map(guests::accelerator)
}

/// What the workload is, with what its supervisor says if there is one.
pub(super) fn workload(run: &Path, status: Option<Status>) -> Workload {
    let revision = spec(run).map_or(0, |spec| spec.revision);
    match status {
        Some(Status { state: State::Running { pid, started_at_ms }, restarts, .. }) => Workload::Running {
            revision,
            pid: u32::try_from(pid).unwrap_or_default(),
            started_at: Timestamp(started_at_ms),
            restarts,
        },
        Some(Status { state: State::Waiting { exit: record, .. }, restarts, .. }) => {
            Workload::Waiting { revision, restarts, exit: exit(&record) }
        }
        Some(Status { state: State::Stopping, .. }) | None => match exit::read(run) {
            // One that was stopped did not end by itself: whether it is to run again is for the ledger to say.
            Some(record) if !record.stopped => {
                Workload::Ended { revision, restarts: record.restarts, exit: exit(&record) }
            }
            _ => Workload::Absent,
        },
    }
}

/// What a start has brought about.
pub(super) fn started(spawned: &Spawned) -> Started {
    let at = match spawned.started_at_ms {
        0 => Timestamp::now(),
        milliseconds => Timestamp(milliseconds),
    };
    Started { pid: u32::try_from(spawned.pid).unwrap_or_default(), at }
}

/// What it uses, as its supervisor tells.
pub(super) fn usage(used: &control::Usage) -> Usage {
    Usage {
        cpu_ns: used.cpu_ns,
        memory_bytes: used.memory_bytes,
        memory_limit: used.memory_limit,
        pids: used.pids,
        read_bytes: used.read_bytes,
        written_bytes: used.written_bytes,
        received_bytes: used.received_bytes,
        sent_bytes: used.sent_bytes,
    }
}

/// Its interfaces, as its supervisor tells.
pub(super) fn interfaces(all: &[InterfaceStatus]) -> BTreeMap<String, InterfaceState> {
    let read = |interface: &InterfaceStatus| {
        // What cannot be read is not an address.
        let addresses = interface.addresses.iter().filter_map(|text| text.parse().ok()).collect();
        let state = InterfaceState {
            addresses,
            lease: interface.lease.as_ref().and_then(lease),
            trouble: interface.trouble.clone(),
        };
        (interface.name.clone(), state)
    };
    all.iter().map(read).collect()
}

fn lease(lease: &berth_runtime::lease::Lease) -> Option<Lease> {
    Some(Lease {
        address: Ipv4Net::new(lease.address, lease.prefix_len).ok()?,
        server: lease.server,
        since: Timestamp(lease.since_ms),
        expires: lease.expires_ms.map(Timestamp),
        renewals: lease.renewals,
        dns: lease.dns.clone(),
        domain: lease.domain.clone(),
    })
}

/// How a workload ended.
pub(super) fn exit(record: &exit::ExitRecord) -> ExitRecord {
    ExitRecord {
        code: record.code,
        signal: record.signal.and_then(|signal| u8::try_from(signal).ok()),
        oom_killed: record.oom_killed,
        at: Timestamp(record.finished_at_ms),
        reason: record.error.clone(),
    }
}
