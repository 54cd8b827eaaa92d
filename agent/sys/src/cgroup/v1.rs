//! Version 1: a directory under each controller's hierarchy.

use std::path::PathBuf;

use nix::sys::signal::{Signal, kill as signal};

use super::{CgroupError, Limits, failed, processes, write};

/// The length of a scheduling period in microseconds.
const PERIOD: u64 = 100_000;

/// What a container may do with device nodes: make any, and use the harmless ones, as the OCI runtime specification's
/// defaults and Docker's have it.
pub(super) const DEVICES: [&str; 12] = [
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:1 rwm",
    "c 5:2 rwm",
    "c 136:* rwm",
    "c 10:200 rwm",
];

pub(super) fn set_limits(directories: &[(String, PathBuf)], limits: &Limits) -> Result<(), CgroupError> {
    let or_none = |limit: Option<u64>| limit.map_or_else(|| "-1".to_owned(), |limit| limit.to_string());
    for (controller, directory) in directories {
        match controller.as_str() {
            "cpu" => {
                write(&directory.join("cpu.cfs_period_us"), &PERIOD.to_string())?;
                let quota = limits.cpu_millis.map(|millis| millis * PERIOD / 1000);
                write(&directory.join("cpu.cfs_quota_us"), &or_none(quota))?;
            }
            "memory" => write(&directory.join("memory.limit_in_bytes"), &or_none(limits.memory_bytes))?,
            "pids" => {
                let limit = limits.pids.map_or_else(|| "max".to_owned(), |limit| limit.to_string());
                write(&directory.join("pids.max"), &limit)?;
            }
            "devices" => {
                write(&directory.join("devices.deny"), "a")?;
                for rule in DEVICES {
                    write(&directory.join("devices.allow"), rule)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Kills until nobody is left: version 1 cannot do it in one step, and a fork may slip between reading and killing.
pub(super) fn kill(directories: &[(String, PathBuf)]) -> Result<(), CgroupError> {
    let Some((_, directory)) =
        directories.iter().find(|(name, _)| name == "pids").or_else(|| directories.first())
    else {
        return Ok(());
    };
    let fork_limit = directory.join("pids.max");
    if fork_limit.exists() {
        write(&fork_limit, "0")?;
    }
    for pid in processes(directory)? {
        match signal(pid, Signal::SIGKILL) {
            Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
            Err(errno) => return Err(failed("kill in", directory, errno.into())),
        }
    }
    Ok(())
}
