//! `net.ipv4.ip_forward` and its counterpart of IPv6, which all agents of a host share.
//!
//! The first agent that needs it records what it was and turns it on; the last that no longer needs it puts that back.
//! Who needs it is kept in one file of the host's directory (`/run/berth-host`), under a lock on that directory, with
//! what was saved. The record is written before the setting is changed, so that a crash in between loses nothing.
//!
//! An agent that was killed keeps its entry as long as it has a bridge, since its instances may still run; with neither
//! a bridge nor somebody who holds its lock the entry is dropped by whoever looks next.
//!
//! Turning forwarding on or off makes the kernel set more than that one value: every link's `forwarding`, and whether
//! redirects are accepted. All of it is saved and put back.
//!
//! A host that forwards IPv6 takes no router advertisements unless a link is told to take them even so: a link that took
//! them goes on taking them, so that the host keeps its own addresses and default route.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use berth_sys::netlink::{Netlink, NetlinkError};
use serde::{Deserialize, Serialize};

use crate::{
    Prefix,
    sysctl::{self, SysctlError},
};

const SETTING: &str = "net/ipv4/ip_forward";
const SETTING6: &str = "net/ipv6/conf/all/forwarding";
const REDIRECTS: &str = "net/ipv4/conf/all/accept_redirects";
const FILE: &str = "ip_forward.json";

/// This agent's part of the shared setting.
#[derive(Debug, Clone)]
pub struct Forwarding {
    directory: PathBuf,
    prefix: Prefix,
    lock: PathBuf,
}

/// Why forwarding could not be turned on or given back.
#[derive(Debug, thiserror::Error)]
pub enum ForwardingError {
    /// The record of who uses it could not be read or written.
    #[error("cannot {action} {}", path.display())]
    Record {
        /// What was done with it.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The record holds something else.
    #[error("{} is damaged: remove it when no agent runs", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The kernel setting could not be read or set.
    #[error("cannot change whether the host forwards packets")]
    Setting(#[source] SysctlError),
    /// The host's bridges, which tell the users that are left, could not be listed.
    #[error("cannot see which agents still use the host's forwarding")]
    Observe(#[source] NetlinkError),
}

/// The record's content. Fields are only ever added.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// What was changed, by its path below `/proc/sys`. Empty if the host forwarded already.
    #[serde(default)]
    saved: BTreeMap<String, String>,
    /// The lock file of each agent that uses forwarding, by its prefix.
    #[serde(default)]
    users: BTreeMap<String, PathBuf>,
}

impl Forwarding {
    /// The part of the agent with this prefix, that holds a lock on `lock` while it runs. Nothing is done yet.
    #[must_use]
    pub fn new(directory: &Path, prefix: &Prefix, lock: &Path) -> Self {
        Self { directory: directory.to_owned(), prefix: prefix.clone(), lock: lock.to_owned() }
    }

    /// Turns forwarding on and records that this agent uses it. It may be called again: the setting is put back on if
    /// somebody turned it off.
    ///
    /// # Errors
    /// If the record or the setting cannot be written.
    pub fn acquire(&self, netlink: &mut Netlink) -> Result<(), ForwardingError> {
        let directory = self.lock_directory()?;
        let mut record = self.load()?;
        let before = record.clone();
        self.drop_the_gone(netlink, &mut record)?;
        let on = sysctl::read(SETTING).map_err(ForwardingError::Setting)? == "1";
        if !on && !record.saved.contains_key(SETTING) {
            record.saved.extend(snapshot().map_err(ForwardingError::Setting)?);
        }
        record.users.insert(self.prefix.to_string(), self.lock.clone());
        if record != before {
            self.store(&record)?;
        }
        if !on {
            sysctl::set(SETTING, "1").map_err(ForwardingError::Setting)?;
        }
        drop(directory);
        Ok(())
    }

    /// Turns forwarding of IPv6 on as well. This agent's use of forwarding is on record already; where the kernel has no
    /// IPv6, there is nothing to do.
    ///
    /// # Errors
    /// If the record or a setting cannot be read or written.
    pub fn acquire_ipv6(&self) -> Result<(), ForwardingError> {
        let directory = self.lock_directory()?;
        let on = match sysctl::read(SETTING6) {
            Ok(value) => value == "1",
            Err(error) if error.is_missing() => return Ok(()),
            Err(error) => return Err(ForwardingError::Setting(error)),
        };
        if on {
            return Ok(());
        }
        let mut record = self.load()?;
        if !record.saved.contains_key(SETTING6) {
            record.saved.extend(snapshot6().map_err(ForwardingError::Setting)?);
            self.store(&record)?;
        }
        // First: between the two the host would forget the routes that it learnt.
        let taking = |(name, value): &(&String, &String)| name.ends_with("/accept_ra") && *value == "1";
        for (name, _) in record.saved.iter().filter(taking) {
            set_if_there(name, "2").map_err(ForwardingError::Setting)?;
        }
        sysctl::set(SETTING6, "1").map_err(ForwardingError::Setting)?;
        drop(directory);
        Ok(())
    }

    /// Records that this agent no longer uses forwarding, and puts the settings back if it was the last.
    ///
    /// # Errors
    /// If the record or the settings cannot be written.
    pub fn release(&self, netlink: &mut Netlink) -> Result<(), ForwardingError> {
        if !self.directory.exists() {
            return Ok(());
        }
        let directory = self.lock_directory()?;
        let mut record = self.load()?;
        record.users.remove(self.prefix.as_str());
        self.drop_the_gone(netlink, &mut record)?;
        if record.users.is_empty() {
            restore(&record.saved).map_err(ForwardingError::Setting)?;
            self.remove_record()?;
        } else {
            self.store(&record)?;
        }
        drop(directory);
        Ok(())
    }

    /// Whether the host forwards IPv4 packets now.
    ///
    /// # Errors
    /// If the setting cannot be read.
    pub fn is_on() -> Result<bool, ForwardingError> {
        Ok(sysctl::read(SETTING).map_err(ForwardingError::Setting)? == "1")
    }

    fn file(&self) -> PathBuf {
        self.directory.join(FILE)
    }

    fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ForwardingError {
        move |source| ForwardingError::Record { action, path: path.to_owned(), source }
    }

    /// Locks the directory itself, so that no lock file is left over. The last user removes it: one that waited for its
    /// lock may then hold that of a directory that is gone, and takes the new one.
    fn lock_directory(&self) -> Result<File, ForwardingError> {
        loop {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(&self.directory)
                .map_err(Self::failed("make", &self.directory))?;
            let locked = match File::open(&self.directory) {
                Ok(directory) => directory,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(Self::failed("open", &self.directory)(error)),
            };
            locked.lock().map_err(Self::failed("lock", &self.directory))?;
            let held = locked.metadata().map_err(Self::failed("look at", &self.directory))?;
            match fs::metadata(&self.directory) {
                Ok(there) if (there.dev(), there.ino()) == (held.dev(), held.ino()) => return Ok(locked),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Self::failed("look at", &self.directory)(error)),
            }
        }
    }

    fn load(&self) -> Result<Record, ForwardingError> {
        let path = self.file();
        match fs::read(&path) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|source| ForwardingError::Damaged { path, source })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Record::default()),
            Err(error) => Err(Self::failed("read", &path)(error)),
        }
    }

    fn store(&self, record: &Record) -> Result<(), ForwardingError> {
        let path = self.file();
        let new = self.directory.join(format!(".{FILE}.new"));
        let bytes = serde_json::to_vec_pretty(record)
            .map_err(|source| ForwardingError::Damaged { path: path.clone(), source })?;
        let write = || {
            let mut file = File::create(&new)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&new, &path)
        };
        write().map_err(Self::failed("write", &path))
    }

    fn remove_record(&self) -> Result<(), ForwardingError> {
        let path = self.file();
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Self::failed("remove", &path)(error));
            }
            _ => {}
        }
        match fs::remove_dir(&self.directory) {
            // Other shared things of the agents are kept there as well.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
            outcome => outcome.map_err(Self::failed("remove", &self.directory)),
        }
    }

    fn drop_the_gone(&self, netlink: &mut Netlink, record: &mut Record) -> Result<(), ForwardingError> {
        if record.users.keys().all(|user| user == self.prefix.as_str()) {
            return Ok(());
        }
        let links = netlink.links().map_err(ForwardingError::Observe)?;
        let has_bridge = |user: &String| {
            let owns = |prefix: Prefix| links.iter().any(|link| prefix.owns_bridge(&link.name));
            user == self.prefix.as_str() || Prefix::new(user).is_ok_and(owns)
        };
        if record.users.keys().all(has_bridge) {
            // To list locks the kernel waits for all processors.
            return Ok(());
        }
        let locks =
            fs::read_to_string("/proc/locks").map_err(Self::failed("read", Path::new("/proc/locks")))?;
        let locked = locked_inodes(&locks);
        record.users.retain(|user, lock| {
            let runs = fs::metadata(lock).is_ok_and(|lock| locked.contains(&lock.ino()));
            has_bridge(user) || runs
        });
        Ok(())
    }
}

/// The inodes of all locked files, whatever their device: `/proc/locks` and `stat` name devices differently on some
/// file systems, and to take a gone agent for a running one does no harm. Trying the lock would: the agent might just
/// be starting, and find it taken.
fn locked_inodes(locks: &str) -> BTreeSet<u64> {
    // A waiter's line has an arrow before the kind of lock, and so no `major:minor:inode` in this place.
    let inode = |line: &str| line.split_whitespace().nth(5)?.splitn(3, ':').nth(2)?.parse().ok();
    locks.lines().filter_map(inode).collect()
}

/// What the kernel sets when forwarding is turned on or off. `conf/all/forwarding` is the setting itself.
fn snapshot() -> Result<BTreeMap<String, String>, SysctlError> {
    let links = sysctl::children("net/ipv4/conf")?;
    let per_link =
        links.iter().filter(|link| *link != "all").map(|link| format!("net/ipv4/conf/{link}/forwarding"));
    let mut saved = BTreeMap::new();
    for name in per_link.chain([SETTING.to_owned(), REDIRECTS.to_owned()]) {
        match sysctl::read(&name) {
            Ok(value) => drop(saved.insert(name, value)),
            // The link went in between.
            Err(error) if error.is_missing() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(saved)
}

/// Likewise of IPv6, and whether each link takes router advertisements.
fn snapshot6() -> Result<BTreeMap<String, String>, SysctlError> {
    let links = sysctl::children("net/ipv6/conf")?;
    let per_link = links.iter().filter(|link| *link != "all");
    let per_link = per_link.flat_map(|link| {
        ["forwarding", "accept_ra"].map(|setting| format!("net/ipv6/conf/{link}/{setting}"))
    });
    let mut saved = BTreeMap::new();
    for name in per_link.chain([SETTING6.to_owned()]) {
        match sysctl::read(&name) {
            Ok(value) => drop(saved.insert(name, value)),
            Err(error) if error.is_missing() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(saved)
}

fn restore(saved: &BTreeMap<String, String>) -> Result<(), SysctlError> {
    // These change the others, so they come first.
    for name in [SETTING, SETTING6] {
        if let Some(value) = saved.get(name) {
            set_if_there(name, value)?;
        }
    }
    saved.iter().try_for_each(|(name, value)| set_if_there(name, value))
}

/// A link may have gone with its settings.
fn set_if_there(name: &str, value: &str) -> Result<(), SysctlError> {
    match sysctl::set(name, value) {
        Err(error) if !error.is_missing() => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locked_files_are_read_from_the_kernels_list() {
        let locks = "1: FLOCK  ADVISORY  WRITE 719 00:1a:1234 0 EOF\n2: POSIX  ADVISORY  READ 5 08:02:99 128 128\n\
                     2: -> FLOCK  ADVISORY  WRITE 720 00:1a:77 0 EOF\nnonsense\n";
        let inodes = locked_inodes(locks);
        assert!(inodes.contains(&1234) && inodes.contains(&99));
        assert_eq!(inodes.len(), 2, "what only waits is not locked: {inodes:?}");
    }

    #[test]
    fn the_record_of_the_first_release_is_read() {
        let text = r#"{"saved":{"net/ipv4/ip_forward":"0"},"users":{"abcd":"/var/lib/berth/agent.lock"}}"#;
        let record: Record = serde_json::from_str(text).unwrap();
        assert_eq!(record.users["abcd"], Path::new("/var/lib/berth/agent.lock"));
        assert_eq!(serde_json::to_string(&record).unwrap(), text);
    }
}
