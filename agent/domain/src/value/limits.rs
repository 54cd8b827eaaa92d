//! What an instance may use at most.

use serde::{Deserialize, Serialize};

use crate::invalid::{Findings, Invalid};

/// Limits; `None` is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Thousandths of a CPU.
    pub cpu_millis: Option<u64>,
    /// Bytes of memory.
    pub memory_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
}

impl Limits {
    /// The scheduler's smallest quota, 1 ms in 100 ms.
    const MIN_CPU_MILLIS: u64 = 10;
    const MAX_CPU_MILLIS: u64 = 10_000_000;
    /// Less than this cannot even hold a process and its page tables.
    const MIN_MEMORY: u64 = 6 << 20;
    /// The kernel's own bound.
    const MAX_PIDS: u64 = 4 << 20;

    /// Checks limits where 0 is none, noting mistakes under `limits`.
    pub fn check(cpu_millis: u64, memory_bytes: u64, pids: u64, findings: &mut Findings) -> Self {
        if cpu_millis != 0 && !(Self::MIN_CPU_MILLIS..=Self::MAX_CPU_MILLIS).contains(&cpu_millis) {
            let summary = format!("{cpu_millis} thousandths of a CPU is out of range");
            findings.add(Invalid::new(
                &["limits", "cpu"],
                summary,
                "Use at least 0.01 and at most 10000 CPUs",
            ));
        }
        if memory_bytes != 0 && memory_bytes < Self::MIN_MEMORY {
            let summary = format!("{memory_bytes} bytes of memory is too little to start anything");
            findings.add(Invalid::new(&["limits", "memory"], summary, "Use at least 6MiB"));
        }
        if memory_bytes > i64::MAX as u64 {
            let summary = format!("{memory_bytes} bytes of memory is more than a machine can have");
            findings.add(Invalid::new(&["limits", "memory"], summary, "Leave the limit out for none"));
        }
        if pids > Self::MAX_PIDS {
            let summary = format!("{pids} processes is more than Linux can have");
            findings.add(Invalid::new(
                &["limits", "pids"],
                summary,
                "Use at most 4194304, or leave it out for none",
            ));
        }
        let some = |n: u64| (n != 0).then_some(n);
        Self { cpu_millis: some(cpu_millis), memory_bytes: some(memory_bytes), pids: some(pids) }
    }
}
