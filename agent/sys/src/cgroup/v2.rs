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
    write(&directory.join("cgroup.subtree_control"), "+cpu +memory +pids")
}

pub(super) fn set_limits(directory: &Path, limits: &Limits) -> Result<(), CgroupError> {
    let or_max = |limit: Option<u64>| limit.map_or_else(|| "max".to_owned(), |limit| limit.to_string());
    let quota = limits.cpu_millis.map(|millis| millis * PERIOD / 1000);
    write(&directory.join("cpu.max"), &format!("{} {PERIOD}", or_max(quota)))?;
    write(&directory.join("memory.max"), &or_max(limits.memory_bytes))?;
    write(&directory.join("pids.max"), &or_max(limits.pids))
}
