//! What a virtual machine is beside a container.

use crate::instance::InstanceDraft;
use crate::invalid::{Findings, Invalid};
use crate::value::limits::Limits;

/// Of the guest, where no limit of memory says otherwise.
pub const DEFAULT_MEMORY: u64 = 256 << 20;

/// The least that a distribution's kernel boots with, and has something left for a workload.
pub const MIN_MEMORY: u64 = 96 << 20;

/// More processors than this are only had by another boot.
pub const MAX_PLUGGED_CPUS: u64 = 16;

/// As many processors as the limit of CPUs needs; `None`: it has none.
#[must_use]
pub fn cpus(limits: &Limits) -> Option<u64> {
    limits.cpu_millis.map(|millis| millis.div_ceil(1000))
}

/// Whether a change of limits needs another boot: to have less memory than a machine boots with, or more processors than can
/// be plugged in.
#[must_use]
pub fn needs_boot(old: &Limits, new: &Limits) -> bool {
    let memory = |limits: &Limits| limits.memory_bytes.unwrap_or(DEFAULT_MEMORY);
    let is_beyond = cpus(old).max(cpus(new)) > Some(MAX_PLUGGED_CPUS);
    memory(new) < memory(old).min(DEFAULT_MEMORY) || (is_beyond && cpus(old) != cpus(new))
}

/// Notes what a machine cannot have.
pub(crate) fn check(draft: &InstanceDraft, findings: &mut Findings) {
    let mut refuse = |path: &[&str], summary: &str, advice: &str| {
        findings.add(Invalid::new(path, summary, advice));
    };
    for (name, device) in &draft.devices {
        let (summary, advice) = refused_device(&device.kind);
        refuse(&["devices", name], summary, advice);
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

/// Why a machine is not given a device of a type, and what to do. The provider says the same at plan.
fn refused_device(kind: &str) -> (&'static str, &'static str) {
    const CONTAINER: &str = "Leave it out, or use the type \"container\", which is given its node";
    match kind {
        "usb" => ("A virtual machine has no USB controller that a device could be handed through", CONTAINER),
        "gpu" => {
            ("A virtual machine is handed no PCI device, such as a graphics processor (no VFIO)", CONTAINER)
        }
        "unix-block" => (
            "A virtual machine is handed no block device of the host's",
            "Mount what is on it on the host, and give the directory as a bind; or use the type \"container\"",
        ),
        _ => ("A node of the host's kernel is of no use to the kernel of a virtual machine", CONTAINER),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DeviceDraft;

    #[test]
    fn a_machine_boots_again_for_less_than_it_has_booted_with_and_for_many_processors() {
        let limits = |cpu: u64, mib: Option<u64>| Limits {
            cpu_millis: (cpu > 0).then_some(cpu),
            memory_bytes: mib.map(|mib| mib << 20),
            ..Limits::default()
        };
        let boots = |(cpu, mib), (new_cpu, new_mib)| needs_boot(&limits(cpu, mib), &limits(new_cpu, new_mib));
        assert!(!boots((1200, None), (4100, Some(1024))));
        assert!(!boots((0, Some(128)), (2000, Some(4096))));
        assert!(!boots((2000, Some(4096)), (1000, None)));
        assert!(boots((1000, Some(4096)), (1000, Some(255))));
        assert!(boots((1000, Some(128)), (1000, Some(127))));
        assert!(boots((16_000, None), (16_001, None)) && boots((17_000, None), (1000, None)));
        assert!(!boots((17_000, None), (16_500, None)));
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

    #[test]
    fn each_device_is_refused_with_its_reason() {
        for (kind, reason) in [
            ("usb", "no USB controller"),
            ("gpu", "no VFIO"),
            ("unix-block", "as a bind"),
            ("unix-char", "node of the host's kernel"),
            ("cdi", "node of the host's kernel"),
        ] {
            let draft = InstanceDraft {
                name: "web".into(),
                kind: "virtual-machine".into(),
                image: "local:web".into(),
                devices: [("one".to_owned(), DeviceDraft { kind: kind.into(), ..DeviceDraft::default() })]
                    .into(),
                ..InstanceDraft::default()
            };
            let invalids = draft.validate().unwrap_err();
            let found = invalids.as_slice().iter().find(|it| it.attribute == ["devices", "one"]);
            let found = found.map(|it| format!("{}; {}", it.summary, it.advice)).unwrap_or_default();
            assert!(found.contains(reason), "{kind}: {found}");
        }
    }
}
