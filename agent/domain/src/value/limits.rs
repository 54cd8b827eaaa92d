//! What an instance may use at most.

use serde::{Deserialize, Serialize};

use crate::instance::LimitsDraft;
use crate::invalid::{Findings, Invalid};
use crate::name::shown;

/// Limits; `None` is none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Thousandths of a CPU.
    pub cpu_millis: Option<u64>,
    /// Bytes of memory.
    pub memory_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Which CPUs, as the kernel lists them: `0-2,5`.
    pub cpuset: Option<String>,
    /// Bytes of swap beside the memory; only with a limit of memory.
    pub swap_bytes: Option<u64>,
    /// Its part of the disks' time; another that says nothing has 100.
    pub io_weight: Option<u16>,
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
    pub fn check(draft: &LimitsDraft, findings: &mut Findings) -> Self {
        let LimitsDraft { cpu_millis, memory_bytes, pids, swap_bytes, io_weight, .. } = *draft;
        let mut bad = |field: &str, summary: String, advice: &str| {
            findings.add(Invalid::new(&["limits", field], summary, advice));
        };
        if cpu_millis != 0 && !(Self::MIN_CPU_MILLIS..=Self::MAX_CPU_MILLIS).contains(&cpu_millis) {
            let summary = format!("{cpu_millis} thousandths of a CPU is out of range");
            bad("cpu", summary, "Use at least 0.01 and at most 10000 CPUs");
        }
        if memory_bytes != 0 && memory_bytes < Self::MIN_MEMORY {
            let summary = format!("{memory_bytes} bytes of memory is too little to start anything");
            bad("memory", summary, "Use at least 6MiB");
        }
        if memory_bytes > i64::MAX as u64 {
            let summary = format!("{memory_bytes} bytes of memory is more than a machine can have");
            bad("memory", summary, "Leave the limit out for none");
        }
        if pids > Self::MAX_PIDS {
            let summary = format!("{pids} processes is more than Linux can have");
            bad("pids", summary, "Use at most 4194304, or leave it out for none");
        }
        if swap_bytes.is_some() && memory_bytes == 0 {
            bad("swap", "Swap is limited and memory is not".to_owned(), "Limit memory, too");
        }
        if swap_bytes.is_some_and(|bytes| bytes > i64::MAX as u64 - memory_bytes.min(i64::MAX as u64)) {
            bad("swap", "That is more swap than a machine can have".to_owned(), "Leave it out for no limit");
        }
        if io_weight > 10_000 {
            bad(
                "io_weight",
                format!("{io_weight} is no weight"),
                "Use 1 to 10000; another that says nothing has 100",
            );
        }
        if !draft.cpuset.is_empty() && !is_list(&draft.cpuset) {
            let summary = format!("\"{}\" is no list of CPUs", shown(&draft.cpuset));
            bad("cpuset", summary, "Write numbers and ranges of them, such as \"0-2,5\"");
        }
        let some = |n: u64| (n != 0).then_some(n);
        Self {
            cpu_millis: some(cpu_millis),
            memory_bytes: some(memory_bytes),
            pids: some(pids),
            cpuset: Some(draft.cpuset.clone()).filter(|list| !list.is_empty()),
            swap_bytes,
            io_weight: u16::try_from(io_weight).ok().filter(|weight| *weight != 0),
        }
    }
}

/// Numbers and ranges of them, each range the right way round.
fn is_list(text: &str) -> bool {
    let number = |part: &str| {
        let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if digits { part.parse::<u16>().ok() } else { None }
    };
    text.split(',').all(|part| match part.split_once('-') {
        Some((first, last)) => number(first).zip(number(last)).is_some_and(|(first, last)| first <= last),
        None => number(part).is_some(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_listed_as_the_kernel_reads_them() {
        for list in ["0", "0-3", "0-2,5,7-9"] {
            assert!(is_list(list), "{list}");
        }
        for list in ["", "a", "3-1", "0,", "-1", "0-", "0 1", "70000"] {
            assert!(!is_list(list), "{list}");
        }
    }
}
