//! Version 2: one directory, controllers switched on from above.

use std::path::Path;

use super::{CgroupError, Limits, make_directory, write};

/// The length of a scheduling period in microseconds.
const PERIOD: u64 = 100_000;

pub(super) fn create(root: &Path, parent: &str, name: &str) -> Result<(), CgroupError> {
    let mut directory = root.to_owned();
    for part in parent.split('/') {
        switch_on(&directory)?;
        directory.push(part);
        make_directory(&directory)?;
    }
    switch_on(&directory)?;
    make_directory(&directory.join(name))
}

fn switch_on(directory: &Path) -> Result<(), CgroupError> {
    write(&directory.join("cgroup.subtree_control"), "+cpu +memory +pids")?;
    // What only some limits need is missed by those limits alone.
    for more in ["+cpuset", "+io"] {
        let _ = write(&directory.join("cgroup.subtree_control"), more);
    }
    Ok(())
}

pub(super) fn set_limits(directory: &Path, limits: &Limits) -> Result<(), CgroupError> {
    let or_max = |limit: Option<u64>| limit.map_or_else(|| "max".to_owned(), |limit| limit.to_string());
    let quota = limits.cpu_millis.map(|millis| millis * PERIOD / 1000);
    write(&directory.join("cpu.max"), &format!("{} {PERIOD}", or_max(quota)))?;
    if let Some(memory) = limits.memory_bytes {
        make_room(directory, memory)?;
    }
    write(&directory.join("memory.max"), &or_max(limits.memory_bytes))?;
    unless_absent(
        &directory.join("memory.swap.max"),
        limits.swap_bytes.map(|bytes| bytes.to_string()),
        "max",
    )?;
    write(&directory.join("pids.max"), &or_max(limits.pids))?;
    // An empty set is all that the parent has. A write of nothing at all would not be seen as one.
    unless_absent(&directory.join("cpuset.cpus"), limits.cpuset.clone(), "\n")?;
    let weight = limits.io_weight.map(|weight| format!("default {weight}"));
    unless_absent(&directory.join("io.weight"), weight, "default 100")
}

/// Version 2 would kill rather than refuse: what runs must fit before it is told to.
fn make_room(directory: &Path, limit: u64) -> Result<(), CgroupError> {
    let current = || super::stats::number(&directory.join("memory.current")).unwrap_or(0);
    let over = current().saturating_sub(limit);
    if over == 0 {
        return Ok(());
    }
    // It fails where less could be had; what counts is what is left.
    let _ = write(&directory.join("memory.reclaim"), &over.to_string());
    if current() <= limit {
        return Ok(());
    }
    let busy = std::io::Error::from_raw_os_error(libc::EBUSY);
    Err(super::failed("write", &directory.join("memory.max"), busy))
}

/// Where the file is absent, there is nothing to lift.
fn unless_absent(file: &Path, limit: Option<String>, none: &str) -> Result<(), CgroupError> {
    match limit {
        Some(limit) => write(file, &limit),
        None if file.exists() => write(file, none),
        None => Ok(()),
    }
}
