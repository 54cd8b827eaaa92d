//! What an instance's processes may do.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::invalid::{Findings, Invalid};
use crate::name::shown;

/// Security options.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Security {
    /// Beside the default ones, as `NET_ADMIN`; `ALL` is all.
    pub capabilities_add: BTreeSet<String>,
    /// Of the default ones; `ALL` is all.
    pub capabilities_drop: BTreeSet<String>,
    /// The root filesystem cannot be written.
    pub read_only_rootfs: bool,
    /// No program gains privileges by being executed.
    pub no_new_privileges: bool,
    /// Every system call is let through.
    pub unfiltered: bool,
    /// Its ids are the host's.
    pub host_users: bool,
    /// Nothing is kept from it.
    pub privileged: bool,
    /// It uses the host's network.
    pub host_network: bool,
    /// It sees the host's processes.
    pub host_pid: bool,
}

/// A limit of each process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// In force; `u64::MAX` is none.
    pub soft: u64,
    /// What it can be raised to.
    pub hard: u64,
}

/// Settings of the kernel for an instance.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct KernelSettings {
    /// By name: `nofile`.
    pub ulimits: BTreeMap<String, Ulimit>,
    /// By name with dots.
    pub sysctls: BTreeMap<String, String>,
    /// Of /dev/shm, in bytes; `None`: 64 MiB.
    pub shm_size: Option<u64>,
    /// Groups beside those of the image's own group file.
    pub supplementary_groups: Vec<String>,
}

/// Security options before they are checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "as in Security")]
pub struct SecurityDraft {
    pub capabilities_add: Vec<String>,
    pub capabilities_drop: Vec<String>,
    pub read_only_rootfs: bool,
    pub no_new_privileges: bool,
    /// Empty is `default`.
    pub seccomp: String,
    /// Empty is `auto`.
    pub user_namespace: String,
    pub privileged: bool,
    pub host_network: bool,
    pub host_pid: bool,
}

const CAPABILITIES: [&str; 41] = [
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

/// Docker's.
const DEFAULT: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

const ULIMITS: [&str; 16] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

impl SecurityDraft {
    /// Checks them, noting mistakes under `security`.
    pub fn check(&self, findings: &mut Findings) -> Security {
        let mut names = |field: &str, list: &[String]| {
            list.iter().filter_map(|name| findings.keep(&["security", field], capability(name))).collect()
        };
        let capabilities_add = names("capabilities_add", &self.capabilities_add);
        let capabilities_drop = names("capabilities_drop", &self.capabilities_drop);
        if !["", "default", "unconfined"].contains(&self.seccomp.as_str()) {
            let summary = format!("There is no system call filter \"{}\"", shown(&self.seccomp));
            let advice = "Use default or unconfined";
            findings.add(Invalid::new(&["security", "seccomp"], summary, advice));
        }
        if !["", "auto", "host"].contains(&self.user_namespace.as_str()) {
            let summary = format!("There is no user namespace \"{}\"", shown(&self.user_namespace));
            findings.add(Invalid::new(&["security", "user_namespace"], summary, "Use auto or host"));
        }
        if self.privileged {
            self.check_privileged(findings);
        }
        Security {
            capabilities_add,
            capabilities_drop,
            read_only_rootfs: self.read_only_rootfs,
            no_new_privileges: self.no_new_privileges,
            unfiltered: self.seccomp == "unconfined",
            host_users: self.user_namespace == "host",
            privileged: self.privileged,
            host_network: self.host_network,
            host_pid: self.host_pid,
        }
    }

    /// What is asked for beside it must not say the contrary.
    fn check_privileged(&self, findings: &mut Findings) {
        let contrary = [
            ("capabilities_drop", !self.capabilities_drop.is_empty()),
            ("seccomp", self.seccomp == "default"),
            ("user_namespace", self.user_namespace == "auto"),
        ];
        for (field, _) in contrary.into_iter().filter(|(_, contrary)| *contrary) {
            let summary = "Nothing is kept from a privileged instance";
            findings.add(Invalid::new(&["security", field], summary, "Leave this out, or privileged"));
        }
    }
}

/// The name without its prefix, whatever its case.
fn capability(name: &str) -> Result<String, Invalid> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    if bare == "ALL" || CAPABILITIES.contains(&bare) {
        return Ok(bare.to_owned());
    }
    let summary = format!("There is no capability \"{}\"", shown(name));
    Err(Invalid::new(&[], summary, "Use a name such as CAP_NET_ADMIN, or ALL"))
}

impl Security {
    /// Whether its root is the host's.
    #[must_use]
    pub fn is_host_root(&self) -> bool {
        self.host_users || self.privileged
    }

    /// The field that makes the host's root of it with more than what is harmless; the agent's configuration must allow it.
    #[must_use]
    pub fn beyond_default(&self) -> Option<&'static str> {
        let more = |name: &String| name == "ALL" || !DEFAULT.contains(&name.as_str());
        match self {
            Self { privileged: true, .. } => Some("privileged"),
            Self { host_users: true, unfiltered: true, .. } => Some("seccomp"),
            Self { host_users: true, capabilities_add, .. } if capabilities_add.iter().any(more) => {
                Some("capabilities_add")
            }
            _ => None,
        }
    }

    /// The capabilities, as the kernel names them; `None` are the default ones.
    #[must_use]
    pub fn capabilities(&self) -> Option<Vec<String>> {
        let (add, drop) = (&self.capabilities_add, &self.capabilities_drop);
        if self.privileged {
            return Some(CAPABILITIES.iter().map(|name| format!("CAP_{name}")).collect());
        }
        if add.is_empty() && drop.is_empty() {
            return None;
        }
        let has = |name: &str| {
            // What is added by its name stays where all are dropped, and the other way round.
            if add.contains(name) || (add.contains("ALL") && !drop.contains(name)) {
                return true;
            }
            DEFAULT.contains(&name) && !drop.contains(name) && !drop.contains("ALL")
        };
        Some(CAPABILITIES.iter().filter(|name| has(name)).map(|name| format!("CAP_{name}")).collect())
    }
}

impl KernelSettings {
    /// Notes what cannot be.
    pub fn check(&self, findings: &mut Findings) {
        for (name, limit) in &self.ulimits {
            if !ULIMITS.contains(&name.as_str()) {
                let summary = format!("There is no limit \"{}\"", shown(name));
                let advice = format!("Use one of {}", ULIMITS.join(", "));
                findings.add(Invalid::new(&["ulimits", name], summary, advice));
            }
            if limit.soft > limit.hard {
                let summary = format!("The soft limit {} is above the hard one, {}", limit.soft, limit.hard);
                findings.add(Invalid::new(&["ulimits", name, "soft"], summary, "Lower it"));
            }
        }
        for (name, value) in &self.sysctls {
            if !is_own(name) {
                let summary = format!("\"{}\" is no setting of an instance's own", shown(name));
                let advice =
                    "Use those of net, fs.mqueue, and of kernel msgmax, msgmnb, msgmni, sem and shm*";
                findings.add(Invalid::new(&["sysctls", name], summary, advice));
            }
            findings.keep(&["sysctls", name], crate::value::text::argument(value));
        }
        if self.shm_size.is_some_and(|bytes| bytes < 4096) {
            let summary = "The size of /dev/shm is less than a page";
            findings.add(Invalid::new(&["shm_size"], summary, "Use at least 4KiB"));
        }
        for (index, name) in self.supplementary_groups.iter().enumerate() {
            if name.is_empty() || name.contains([':', '\n', '\0', ',']) {
                let summary = format!("\"{}\" is not a group", shown(name));
                let path = ["supplementary_groups", &index.to_string()];
                findings.add(Invalid::new(&path, summary, "Use a name or a number"));
            }
        }
    }
}

/// Those that the kernel keeps for each network or each IPC namespace.
fn is_own(name: &str) -> bool {
    const IPC: [&str; 8] =
        ["msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced"];
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    let ipc = name.strip_prefix("kernel.").is_some_and(|rest| IPC.contains(&rest));
    plain && !name.contains("..") && (ipc || name.starts_with("net.") || name.starts_with("fs.mqueue."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capabilities(add: &[&str], drop: &[&str]) -> Option<Vec<String>> {
        let list = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let draft = SecurityDraft {
            capabilities_add: list(add),
            capabilities_drop: list(drop),
            ..SecurityDraft::default()
        };
        let mut findings = Findings::default();
        let security = draft.check(&mut findings);
        assert!(findings.into_error().is_none());
        security.capabilities()
    }

    #[test]
    fn capabilities_are_the_default_ones_and_what_is_said() {
        assert_eq!(capabilities(&[], &[]), None);
        assert_eq!(capabilities(&["cap_net_admin"], &["ALL"]), Some(vec!["CAP_NET_ADMIN".to_owned()]));
        assert_eq!(capabilities(&["ALL"], &["SYS_BOOT"]).unwrap().len(), 40);
        let less = capabilities(&[], &["CAP_NET_RAW"]).unwrap();
        assert!(less.len() == 13 && !less.contains(&"CAP_NET_RAW".to_owned()));
    }

    #[test]
    fn what_would_reach_the_host_is_refused() {
        for own in ["net.core.somaxconn", "kernel.shmmax", "fs.mqueue.msg_max"] {
            assert!(is_own(own), "{own}");
        }
        for other in
            ["kernel.core_pattern", "vm.swappiness", "net/../kernel.hostname", "net..x", "fs.file-max"]
        {
            assert!(!is_own(other), "{other}");
        }
    }
}
