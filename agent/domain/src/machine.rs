//! What a virtual machine is beside a container.

use crate::instance::InstanceDraft;
use crate::invalid::{Findings, Invalid};
use crate::value::limits::Limits;

/// Of the guest, where no limit of memory says otherwise.
pub const DEFAULT_MEMORY: u64 = 256 << 20;

/// The least that a distribution's kernel boots with, and has something left for a workload.
pub const MIN_MEMORY: u64 = 96 << 20;

/// As many processors as the limit of CPUs needs; `None`: it has none.
#[must_use]
pub fn cpus(limits: &Limits) -> Option<u64> {
    limits.cpu_millis.map(|millis| millis.div_ceil(1000))
}

/// Whether a change of limits changes the machine itself, which is as it is until it boots again.
#[must_use]
pub fn needs_boot(old: &Limits, new: &Limits) -> bool {
    old.memory_bytes != new.memory_bytes || cpus(old) != cpus(new)
}

/// Notes what a machine cannot have.
pub(crate) fn check(draft: &InstanceDraft, findings: &mut Findings) {
    let mut refuse = |path: &[&str], summary: &str, advice: &str| {
        findings.add(Invalid::new(path, summary, advice));
    };
    for name in draft.devices.keys() {
        let summary = "A virtual machine has no devices of the host's yet";
        refuse(&["devices", name], summary, "Leave it out, or use the type \"container\"");
    }
    if draft.limits.pids != 0 {
        let summary = "The processes of a virtual machine are its own kernel's to count";
        refuse(&["limits", "pids"], summary, "Leave it out: its memory bounds them");
    }
    if draft.limits.memory_bytes != 0 && draft.limits.memory_bytes < MIN_MEMORY {
        let summary = "That is too little memory to boot a virtual machine";
        refuse(&["limits", "memory"], summary, "Use at least 96MiB, or leave it out for 256MiB");
    }
    let security = &draft.security;
    let shared = [
        ("user_namespace", security.user_namespace == "host"),
        ("privileged", security.privileged),
        ("host_network", security.host_network),
        ("host_pid", security.host_pid),
    ];
    for (field, _) in shared.into_iter().filter(|(_, asked)| *asked) {
        let summary = "A virtual machine shares no namespace with its host";
        refuse(&["security", field], summary, "Leave it out, or use the type \"container\"");
    }
    for (name, mount) in &draft.mounts {
        let below = |reserved: &str| mount.target.starts_with(&format!("{reserved}/"));
        if ["/dev", "/proc", "/sys"].into_iter().any(below) {
            let summary = "A virtual machine has its own /dev, /proc and /sys, which would cover it";
            refuse(&["mounts", name, "target"], summary, "Mount it elsewhere");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_boots_again_for_memory_and_processors_only() {
        let limits = |cpu, memory| Limits { cpu_millis: cpu, memory_bytes: memory, ..Limits::default() };
        assert!(!needs_boot(&limits(Some(1200), None), &limits(Some(1900), None)));
        assert!(needs_boot(&limits(Some(1200), None), &limits(Some(2100), None)));
        assert!(needs_boot(&limits(None, None), &limits(None, Some(1 << 30))));
    }

    #[test]
    fn what_it_cannot_have_is_named() {
        let mut draft = InstanceDraft {
            name: "web".into(),
            kind: "virtual-machine".into(),
            image: "local:web".into(),
            ..InstanceDraft::default()
        };
        assert!(draft.validate().is_ok());
        draft.limits.pids = 5;
        draft.limits.memory_bytes = 64 << 20;
        draft.security.host_pid = true;
        let found = draft.validate().unwrap_err().to_string();
        assert!(found.contains("count") && found.contains("too little memory to boot"), "{found}");
        assert!(found.contains("shares no namespace"), "{found}");
    }
}
