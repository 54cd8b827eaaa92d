//! What of one agent is on the host: all of it carries the agent's prefix or lies in its directories.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::{Error, command, paths};

/// How one agent's things on the host are told from another's.
#[derive(Debug, Clone)]
pub struct Mark {
    /// Four base32 characters of the data directory's hash.
    pub prefix: String,
    dirs: Vec<PathBuf>,
}

impl Mark {
    /// Of the agent with these directories, which must exist.
    pub fn new(data_dir: &Path, run_dir: &Path) -> Result<Self, Error> {
        let data_dir = data_dir.canonicalize().map_err(Error::io("find", data_dir))?;
        let run_dir = run_dir.canonicalize().map_err(Error::io("find", run_dir))?;
        let hash = Sha256::digest(data_dir.as_os_str().as_bytes());
        let mut prefix = data_encoding::BASE32_NOPAD.encode(&hash).to_lowercase();
        prefix.truncate(4);
        Ok(Self { prefix, dirs: vec![data_dir, run_dir] })
    }

    /// Everything of this agent that the host still holds, one line each.
    pub fn leftovers(&self) -> Result<Vec<String>, Error> {
        let mut found: Vec<String> =
            self.processes().into_iter().map(|pid| format!("process {pid} ({})", name_of(pid))).collect();
        found.extend(self.mounts());
        found.extend(self.cgroups().into_iter().map(|path| format!("cgroup {}", path.display())));
        found.extend(self.links().into_iter().map(|name| format!("network interface {name}")));
        found.extend(self.named_in("/run/netns", "network namespace"));
        found.extend(self.tables()?.into_iter().map(|name| format!("nftables table {name}")));
        found.extend(self.shared_claims());
        Ok(found)
    }

    /// Processes in the agent's cgroups, with its files open, or named with its directories.
    pub fn processes(&self) -> BTreeSet<i32> {
        let own = std::process::id();
        let Ok(entries) = fs::read_dir("/proc") else { return BTreeSet::new() };
        entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
            .filter(|pid| u32::try_from(*pid) != Ok(own) && self.owns_process(*pid))
            .collect()
    }

    fn owns_process(&self, pid: i32) -> bool {
        let proc = PathBuf::from(format!("/proc/{pid}"));
        let cgroup = fs::read_to_string(proc.join("cgroup")).unwrap_or_default();
        let mounts = fs::read_to_string(proc.join("mountinfo")).unwrap_or_default();
        let own_namespace =
            fs::read_link(proc.join("ns/mnt")).ok() == fs::read_link("/proc/self/ns/mnt").ok();
        if cgroup.contains(&format!("/berth{}", self.prefix)) || (!own_namespace && self.in_dirs(&mounts)) {
            return true;
        }
        let program = fs::read_link(proc.join("exe")).unwrap_or_default();
        let is_ours = program.file_name().is_some_and(|name| name.to_string_lossy().starts_with("berth"));
        let arguments = fs::read(proc.join("cmdline")).unwrap_or_default();
        is_ours && (self.in_dirs(&String::from_utf8_lossy(&arguments)) || self.has_open_files(&proc))
    }

    fn has_open_files(&self, proc: &Path) -> bool {
        let Ok(entries) = fs::read_dir(proc.join("fd")) else { return false };
        entries.flatten().any(|entry| {
            fs::read_link(entry.path()).is_ok_and(|path| self.dirs.iter().any(|dir| path.starts_with(dir)))
        })
    }

    fn in_dirs(&self, text: &str) -> bool {
        self.dirs.iter().any(|dir| text.contains(&*dir.to_string_lossy()))
    }

    fn mounts(&self) -> Vec<String> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let ours = mounts.lines().filter(|line| self.in_dirs(line));
        ours.map(|line| format!("mount {}", line.split_whitespace().nth(4).unwrap_or(line))).collect()
    }

    /// The agent's cgroups in every hierarchy, the innermost first.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        collect_cgroups(Path::new("/sys/fs/cgroup"), &format!("berth{}", self.prefix), false, &mut found);
        found
    }

    /// The agent's bridges and veths.
    pub fn links(&self) -> Vec<String> {
        let starts = [format!("berth{}", self.prefix), format!("vb{}", self.prefix)];
        names_in(Path::new("/sys/class/net"))
            .into_iter()
            .filter(|name| starts.iter().any(|start| name.starts_with(start)))
            .collect()
    }

    /// The agent's nftables tables, as `nft` names them: "inet berthabcd".
    pub fn tables(&self) -> Result<Vec<String>, Error> {
        let Some(nft) = paths::find_in_path("nft") else { return Ok(Vec::new()) };
        let listed = command::run(Command::new(nft).args(["list", "tables"]))?;
        let names = listed.lines().filter_map(|line| line.strip_prefix("table "));
        Ok(names.filter(|name| name.contains(&format!("berth{}", self.prefix))).map(str::to_owned).collect())
    }

    fn named_in(&self, dir: &str, kind: &str) -> Vec<String> {
        let start = format!("berth{}", self.prefix);
        let names = names_in(Path::new(dir)).into_iter().filter(|name| name.starts_with(&start));
        names.map(|name| format!("{kind} {name}")).collect()
    }

    /// Claims in what all agents of a host share, and locks that are held.
    fn shared_claims(&self) -> Vec<String> {
        let mut found = Vec::new();
        collect_claims(Path::new("/run/berth-host"), &mut |path, content| {
            // Another agent's record may name a link of this one, whose settings it saw when it came: that is no claim.
            let record: serde_json::Value = serde_json::from_str(content).unwrap_or_default();
            let claims = record["users"].get(&self.prefix).is_some();
            if path.to_string_lossy().contains(&self.prefix) || claims || self.in_dirs(content) {
                found.push(format!("claim in {}", path.display()));
            }
        });
        found.extend(self.held_locks());
        found
    }

    fn held_locks(&self) -> Vec<String> {
        use std::os::unix::fs::MetadataExt;
        let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
        let mut found = Vec::new();
        for dir in &self.dirs {
            for name in names_in(dir) {
                let Ok(metadata) = fs::metadata(dir.join(&name)) else { continue };
                let inode = format!(":{} ", metadata.ino());
                if locks.lines().any(|line| line.contains(&inode)) {
                    found.push(format!("lock on {}", dir.join(&name).display()));
                }
            }
        }
        found
    }
}

fn collect_cgroups(dir: &Path, start: &str, inside: bool, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let ours = inside || entry.file_name().to_string_lossy().starts_with(start);
        collect_cgroups(&entry.path(), start, ours, found);
        if ours {
            found.push(entry.path());
        }
    }
}

fn collect_claims(path: &Path, visit: &mut impl FnMut(&Path, &str)) {
    if let Ok(entries) = fs::read_dir(path) {
        entries.flatten().for_each(|entry| collect_claims(&entry.path(), visit));
    } else if let Ok(content) = fs::read(path) {
        visit(path, &String::from_utf8_lossy(&content));
    }
}

fn names_in(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn name_of(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}
