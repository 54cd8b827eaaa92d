//! Limits of each process.
//!
//! Only CAP_SYS_RESOURCE of the host raises what a process may have at most, and an instance has not even that of its own: so
//! it is raised before the instance's namespaces are entered, as far as this supervisor may. The rest is told as clamped.

use berth_runtime::launch::{LaunchError, Stage};
use berth_runtime::spec::RlimitSpec;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::failure::errno_at;

fn resource(name: &str) -> Option<Resource> {
    Some(match name {
        "as" => Resource::RLIMIT_AS,
        "core" => Resource::RLIMIT_CORE,
        "cpu" => Resource::RLIMIT_CPU,
        "data" => Resource::RLIMIT_DATA,
        "fsize" => Resource::RLIMIT_FSIZE,
        "locks" => Resource::RLIMIT_LOCKS,
        "memlock" => Resource::RLIMIT_MEMLOCK,
        "msgqueue" => Resource::RLIMIT_MSGQUEUE,
        "nice" => Resource::RLIMIT_NICE,
        "nofile" => Resource::RLIMIT_NOFILE,
        "nproc" => Resource::RLIMIT_NPROC,
        "rss" => Resource::RLIMIT_RSS,
        "rtprio" => Resource::RLIMIT_RTPRIO,
        "rttime" => Resource::RLIMIT_RTTIME,
        "sigpending" => Resource::RLIMIT_SIGPENDING,
        "stack" => Resource::RLIMIT_STACK,
        _ => return None,
    })
}

/// On the host's side of an instance: what can be had at most becomes as high as is asked for, if it may.
pub fn raise(limits: &[RlimitSpec]) {
    for (limit, resource) in known(limits) {
        if let Ok((soft, hard)) = getrlimit(resource)
            && limit.hard > hard
        {
            // Refused without the capability; then the limit stays as it is, which is told.
            let _ = setrlimit(resource, soft, limit.hard);
        }
    }
}

/// In the process that becomes the program.
pub fn set(limits: &[RlimitSpec]) -> Result<(), LaunchError> {
    for (limit, resource) in known(limits) {
        let set = || {
            let (_, most) = getrlimit(resource)?;
            setrlimit(resource, limit.soft.min(most), limit.hard.min(most))
        };
        set().map_err(errno_at(Stage::Rlimit, &limit.name))?;
    }
    Ok(())
}

/// What cannot be had in full, a line each.
pub fn clamped(limits: &[RlimitSpec]) -> Vec<String> {
    if caps::has_cap(None, caps::CapSet::Effective, caps::Capability::CAP_SYS_RESOURCE).unwrap_or(false) {
        return Vec::new();
    }
    let over = |(limit, resource): (&RlimitSpec, Resource)| {
        let (_, most) = getrlimit(resource).ok()?;
        let wanted = limit.hard.max(limit.soft);
        let name = &limit.name;
        (wanted > most)
            .then(|| format!("ulimits.{name}: this host's agent may give {most}, not {}", shown(wanted)))
    };
    known(limits).filter_map(over).collect()
}

fn shown(limit: u64) -> String {
    if limit == u64::MAX { "unlimited".to_owned() } else { limit.to_string() }
}

fn known(limits: &[RlimitSpec]) -> impl Iterator<Item = (&RlimitSpec, Resource)> {
    limits.iter().filter_map(|limit| Some((limit, resource(&limit.name)?)))
}
