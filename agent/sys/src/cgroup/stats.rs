//! What a group uses.

use std::fs;
use std::path::{Path, PathBuf};

use super::{CgroupError, failed, field};

/// What a group uses and has used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time, in nanoseconds.
    pub cpu_ns: u64,
    /// Memory now, without what the kernel would give back at once.
    pub memory_bytes: u64,
    /// The limit of it.
    pub memory_limit: Option<u64>,
    /// Processes and threads now.
    pub pids: u64,
    /// Read from disks, in bytes.
    pub read_bytes: u64,
    /// Written to disks, in bytes.
    pub written_bytes: u64,
}

/// More than any machine has: version 1 writes "no limit" as the largest number of whole pages.
const NO_LIMIT: u64 = 1 << 62;

fn read(file: &Path) -> Result<String, CgroupError> {
    fs::read_to_string(file).map_err(|source| failed("read", file, source))
}

/// A file that holds one number; "max" is none.
pub(super) fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

pub(super) fn unified(directory: &Path) -> Result<Usage, CgroupError> {
    let file = |name: &str| directory.join(name);
    let cpu = read(&file("cpu.stat"))?;
    // Absent without the controller of disks.
    let io = fs::read_to_string(file("io.stat")).unwrap_or_default();
    let sum = |key: &str| -> u64 {
        let values = io.split_whitespace().filter_map(|word| word.strip_prefix(key)?.parse::<u64>().ok());
        values.sum()
    };
    let reclaimable = fs::read_to_string(file("memory.stat")).ok();
    let reclaimable = reclaimable.and_then(|text| field(&text, "inactive_file")).unwrap_or(0);
    Ok(Usage {
        cpu_ns: field(&cpu, "usage_usec").unwrap_or(0).saturating_mul(1000),
        memory_bytes: number(&file("memory.current")).unwrap_or(0).saturating_sub(reclaimable),
        memory_limit: number(&file("memory.max")),
        pids: number(&file("pids.current")).unwrap_or(0),
        read_bytes: sum("rbytes="),
        written_bytes: sum("wbytes="),
    })
}

pub(super) fn legacy(directories: &[(String, PathBuf)]) -> Result<Usage, CgroupError> {
    let mut usage = Usage::default();
    for (controller, directory) in directories {
        let file = |name: &str| directory.join(name);
        match controller.as_str() {
            "cpuacct" => usage.cpu_ns = number(&file("cpuacct.usage")).unwrap_or(0),
            "memory" => {
                let stat = read(&file("memory.stat"))?;
                let used = number(&file("memory.usage_in_bytes")).unwrap_or(0);
                usage.memory_bytes = used.saturating_sub(field(&stat, "total_inactive_file").unwrap_or(0));
                usage.memory_limit = number(&file("memory.limit_in_bytes")).filter(|limit| *limit < NO_LIMIT);
            }
            "pids" => usage.pids = number(&file("pids.current")).unwrap_or(0),
            "blkio" => {
                let text = fs::read_to_string(file("blkio.throttle.io_service_bytes_recursive"));
                let text = text.unwrap_or_default();
                let sum = |word: &str| -> u64 {
                    let lines = text.lines().filter_map(|line| {
                        let mut words = line.split_whitespace().skip(1);
                        if words.next() == Some(word) { words.next()?.parse::<u64>().ok() } else { None }
                    });
                    lines.sum()
                };
                (usage.read_bytes, usage.written_bytes) = (sum("Read"), sum("Write"));
            }
            _ => {}
        }
    }
    Ok(usage)
}
