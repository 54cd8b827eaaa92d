//! Version 1: a directory under each controller's hierarchy.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill as signal};
use nix::unistd::Pid;

use super::{CgroupError, Limits, failed, make_directory, processes, write};

/// The length of a scheduling period in microseconds.
const PERIOD: u64 = 100_000;

pub(super) fn set_limits(directories: &[(String, PathBuf)], limits: &Limits) -> Result<(), CgroupError> {
    for (controller, directory) in directories {
        match controller.as_str() {
            "cpu" => {
                write(&directory.join("cpu.cfs_period_us"), &PERIOD.to_string())?;
                let quota = limits.cpu_millis.map(|millis| millis * PERIOD / 1000);
                write(&directory.join("cpu.cfs_quota_us"), &or_none(quota))?;
            }
            "memory" => set_memory(directory, limits)?,
            "pids" => {
                let limit = limits.pids.map_or_else(|| "max".to_owned(), |limit| limit.to_string());
                write(&directory.join("pids.max"), &limit)?;
            }
            "blkio" => set_weight(directory, limits.io_weight)?,
            _ => {}
        }
    }
    Ok(())
}

fn or_none(limit: Option<u64>) -> String {
    limit.map_or_else(|| "-1".to_owned(), |limit| limit.to_string())
}

/// Memory and swap together may never be less than memory alone, not even between two writes.
fn set_memory(directory: &Path, limits: &Limits) -> Result<(), CgroupError> {
    let (memory, both) =
        (directory.join("memory.limit_in_bytes"), directory.join("memory.memsw.limit_in_bytes"));
    let total = limits.swap_bytes.zip(limits.memory_bytes).map(|(swap, memory)| memory.saturating_add(swap));
    // Absent where the kernel does not account swap: then only a limit of it cannot be had.
    let has_swap = both.exists();
    if has_swap {
        write(&both, "-1")?;
    }
    write(&memory, &or_none(limits.memory_bytes))?;
    if has_swap || total.is_some() {
        write(&both, &or_none(total))?;
    }
    Ok(())
}

/// Only the BFQ scheduler weighs, and its scale ends at 1,000.
fn set_weight(directory: &Path, weight: Option<u16>) -> Result<(), CgroupError> {
    let file = directory.join("blkio.bfq.weight");
    match weight {
        None if !file.exists() => Ok(()),
        weight => write(&file, &weight.unwrap_or(100).min(1000).to_string()),
    }
}

/// Binds a group to CPUs, or lets it have all again. It joins this hierarchy only when it first is bound.
pub(super) fn set_cpus(
    root: &Path,
    parent: &str,
    name: &str,
    cpus: Option<&str>,
    members: impl Fn() -> Result<Vec<Pid>, CgroupError>,
) -> Result<(), CgroupError> {
    let directory = root.join(parent).join(name);
    let is_new = !directory.exists();
    let read = |file: &str| {
        let file = root.join(file);
        fs::read_to_string(&file).map_err(|source| failed("read", &file, source))
    };
    let Some(cpus) = cpus else {
        // As much as the parent, which has all.
        return if is_new {
            Ok(())
        } else {
            write(&directory.join("cpuset.cpus"), read("cpuset.cpus")?.trim())
        };
    };
    make_directory(&directory)?;
    let set = || {
        if is_new {
            // A new group of this hierarchy has neither, and takes nobody until it has.
            for group in root.join(parent).ancestors().take_while(|group| *group != root) {
                write(&group.join("cpuset.mems"), read("cpuset.mems")?.trim())?;
                write(&group.join("cpuset.cpus"), read("cpuset.cpus")?.trim())?;
            }
            write(&directory.join("cpuset.mems"), read("cpuset.mems")?.trim())?;
        }
        write(&directory.join("cpuset.cpus"), cpus)?;
        if is_new { move_all(&directory, &members) } else { Ok(()) }
    };
    set().inspect_err(|_| {
        if is_new {
            // Empty still, or it could not have failed.
            let _ = super::remove_directory(&directory);
        }
    })
}

/// Moves all members, and those that they forked meanwhile.
fn move_all(
    directory: &Path,
    members: impl Fn() -> Result<Vec<Pid>, CgroupError>,
) -> Result<(), CgroupError> {
    // Each round finds only what was forked by what had not been moved; a fork bomb is bounded by its limit of tasks.
    for _ in 0..16 {
        let there: HashSet<Pid> = processes(directory)?.into_iter().collect();
        let missing: Vec<Pid> = members()?.into_iter().filter(|pid| !there.contains(pid)).collect();
        if missing.is_empty() {
            break;
        }
        for pid in missing {
            match write(&directory.join("cgroup.procs"), &pid.to_string()) {
                Err(error) if error.source.raw_os_error() == Some(libc::ESRCH) => {}
                result => result?,
            }
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
