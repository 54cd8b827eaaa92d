//! What the host can do and what is missing, each with what to do about it.

use std::fs;
use std::path::Path;

use berth_engine::ports::host::{CheckItem, Outcome};
use berth_network::check::{Finding, Severity, Subject};
use nix::sys::statvfs::statvfs;

use berth_storage::probe::Probed;
use berth_storage::volume::sized;

use super::Place;
use super::driver::{Driver, Way};
use super::network::PROGRAM as NAMES_PROGRAM;
use super::supervisor::{self, Finder};

/// The first kernel that mounts EROFS from a file and takes overlays with data-only layers as Berth makes them.
const KERNEL: (u32, u32) = (6, 12);
const ENOUGH: u64 = 2 << 30;
const LITTLE: u64 = 256 << 20;

/// Looks at everything; changes nothing.
pub(super) fn all(place: &Place, supervisor: &Finder, uid_base: u32, uid_count: u32) -> Vec<CheckItem> {
    let mut items = vec![root(), kernel(), cgroups()];
    items.extend(["erofs", "overlay"].map(filesystem));
    items.extend([
        user_namespaces(),
        ids(uid_base, uid_count),
        program(supervisor),
        names(supervisor),
        disk(&place.data),
        volume_sizes(),
    ]);
    items.extend(berth_network::check::check(&place.prefix).into_iter().map(network));
    items
}

/// The checks themselves failed.
pub(super) fn interrupted(error: &tokio::task::JoinError) -> CheckItem {
    item("checks", Outcome::Missing, error.to_string(), "Look at the agent's log")
}

fn item(name: &str, outcome: Outcome, found: impl Into<String>, fix: impl Into<String>) -> CheckItem {
    let fix = if outcome == Outcome::Ok { String::new() } else { fix.into() };
    CheckItem { name: name.to_owned(), outcome, found: found.into(), fix }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}

fn root() -> CheckItem {
    let uid = nix::unistd::geteuid();
    let outcome = if uid.is_root() { Outcome::Ok } else { Outcome::Missing };
    item("root", outcome, format!("the agent runs as user {uid}"), "Run berthd as root")
}

fn kernel() -> CheckItem {
    let release = read("/proc/sys/kernel/osrelease");
    let known = version(&release);
    let outcome = if known.is_some_and(|known| known >= KERNEL) { Outcome::Ok } else { Outcome::Limited };
    let fix = format!("Run Linux {}.{} or later: images are mounted from files then", KERNEL.0, KERNEL.1);
    item("kernel", outcome, format!("Linux {release}"), fix)
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// `v2` where the unified hierarchy has the controllers, `v1` where others have them.
pub(super) fn cgroup_version() -> &'static str {
    let controllers = read("/sys/fs/cgroup/cgroup.controllers");
    if controllers.split_whitespace().any(|controller| controller == "memory") { "v2" } else { "v1" }
}

fn cgroups() -> CheckItem {
    const NEEDED: [&str; 3] = ["cpu", "memory", "pids"];
    let version = cgroup_version();
    let controllers = read("/sys/fs/cgroup/cgroup.controllers");
    let has = |controller: &&str| {
        controllers.split_whitespace().any(|have| have == *controller)
            || Path::new("/sys/fs/cgroup").join(controller).join("cgroup.procs").exists()
    };
    let lacking: Vec<&str> = NEEDED.into_iter().filter(|controller| !has(controller)).collect();
    if !lacking.is_empty() {
        let found = format!("cgroup {version} without {}", lacking.join(", "));
        let fix = "Boot with systemd.unified_cgroup_hierarchy=1 and without cgroup_disable=";
        return item("cgroups", Outcome::Limited, found, fix);
    }
    item("cgroups", Outcome::Ok, format!("cgroup {version} with {}", NEEDED.join(", ")), "")
}

fn filesystem(name: &str) -> CheckItem {
    let known = read("/proc/filesystems").lines().any(|line| line.split_whitespace().last() == Some(name));
    let fix = format!("modprobe {name}, or run a kernel with it");
    if known {
        item(name, Outcome::Ok, format!("the kernel mounts {name}"), "")
    } else {
        item(name, Outcome::Missing, format!("the kernel does not know {name} now"), fix)
    }
}

fn user_namespaces() -> CheckItem {
    let max: u64 = read("/proc/sys/user/max_user_namespaces").parse().unwrap_or_default();
    let there = Path::new("/proc/self/ns/user").exists() && max > 0;
    let outcome = if there { Outcome::Ok } else { Outcome::Missing };
    let fix = "sysctl -w user.max_user_namespaces=65536, or run a kernel with CONFIG_USER_NS";
    item("user namespaces", outcome, format!("at most {max}"), fix)
}

fn ids(base: u32, count: u32) -> CheckItem {
    let range = u64::from(base)..u64::from(base) + u64::from(count);
    let found = format!("{} to {} for instances", range.start, range.end - 1);
    let taken: Vec<String> = ["/etc/subuid", "/etc/subgid"]
        .iter()
        .flat_map(|path| {
            let lines: Vec<String> = read(path).lines().map(str::to_owned).collect();
            lines.into_iter().filter(|line| overlaps(line, &range)).map(move |line| format!("{path}: {line}"))
        })
        .collect();
    if taken.is_empty() {
        return item("ids", Outcome::Ok, found, "");
    }
    let fix = "Set uid_base in the agent's configuration to a range that nobody else has";
    item("ids", Outcome::Limited, format!("{found}; also given out by {}", taken.join(", ")), fix)
}

/// Whether a line `name:first:count` gives out ids of the range.
fn overlaps(line: &str, range: &std::ops::Range<u64>) -> bool {
    let mut fields = line.split(':').skip(1).map(|field| field.trim().parse::<u64>());
    match (fields.next(), fields.next()) {
        (Some(Ok(first)), Some(Ok(count))) => first < range.end && range.start < first.saturating_add(count),
        _ => false,
    }
}

fn program(finder: &Finder) -> CheckItem {
    let name = "supervisor";
    let Some(path) = finder.find() else {
        return item(name, Outcome::Missing, "there is no berth-supervisor", finder.advice());
    };
    let found = path.display().to_string();
    match fs::read(&path).ok().and_then(|bytes| supervisor::is_static(&bytes)) {
        Some(true) => item(name, Outcome::Ok, found, ""),
        Some(false) => {
            let fix =
                "Use the statically linked one: an upgrade of the host's libraries must not touch instances";
            item(name, Outcome::Limited, format!("{found} needs libraries of the host"), fix)
        }
        None => {
            item(name, Outcome::Missing, format!("{found} is no program of this machine"), finder.advice())
        }
    }
}

fn names(finder: &Finder) -> CheckItem {
    match finder.find_beside(NAMES_PROGRAM) {
        Some(path) => item("names", Outcome::Ok, path.display().to_string(), ""),
        None => {
            let found = format!("there is no {NAMES_PROGRAM}: instances do not find each other by name");
            item("names", Outcome::Limited, found, format!("Put {NAMES_PROGRAM} beside berth-supervisor"))
        }
    }
}

fn disk(data: &Path) -> CheckItem {
    let name = "disk";
    match statvfs(data) {
        Ok(stat) => {
            let free = stat.blocks_available().saturating_mul(stat.fragment_size());
            let found = format!("{} MiB free in {}", free >> 20, data.display());
            let outcome = match free {
                ENOUGH.. => Outcome::Ok,
                LITTLE.. => Outcome::Limited,
                _ => Outcome::Missing,
            };
            item(name, outcome, found, "Remove images that nothing uses, or give --data-dir on another disk")
        }
        Err(error) => item(name, Outcome::Missing, error.to_string(), "Check the data directory"),
    }
}

/// What volumes with a size need beside the kernel's ext4.
fn volume_sizes() -> CheckItem {
    let name = "volume sizes";
    let program = |name: &&&str| sized::find_program(name).is_none();
    let lacking: Vec<&str> = sized::PROGRAMS.iter().filter(program).copied().collect();
    if !lacking.is_empty() {
        let found = format!("there is no {}: volumes have no size", lacking.join(", no "));
        return item(name, Outcome::Limited, found, "Install the package e2fsprogs");
    }
    if !Path::new("/dev/loop-control").exists() {
        let fix = "modprobe loop, or run a kernel with it";
        return item(name, Outcome::Limited, "there are no loop devices: volumes have no size", fix);
    }
    item(name, Outcome::Ok, "file systems of their own, through loop devices", "")
}

/// Which way root file systems are made, as it was found out when the agent started.
pub(super) fn root_file_systems(driver: &Driver) -> CheckItem {
    let name = "root file systems";
    let found = match driver.way {
        Way::Erofs => "images are mounted: EROFS under an overlay, ID-mapped",
        Way::Directory => "images are copied into directories under an overlay",
    };
    let fix = "Run Linux 6.12 or later with EROFS and overlay, on a file system for the data directory that overlay takes \
               as its upper layer (ext4, xfs, btrfs, tmpfs)";
    match (driver.obstacle(), &driver.probed) {
        (Some(why), _) => item(name, Outcome::Missing, format!("{found}, but here that fails: {why}"), fix),
        (None, None) => item(name, Outcome::Limited, format!("{found}; it could not be tried out"), fix),
        (None, Some(Probed { erofs: Some(why), .. })) if driver.way == Way::Directory => {
            item(name, Outcome::Limited, format!("{found}, because mounting them fails: {why}"), fix)
        }
        (None, Some(_)) if driver.way == Way::Directory && driver.forced => {
            let fix = "Leave out rootfs_driver in the agent's configuration: this host can mount images";
            item(name, Outcome::Limited, format!("{found}, as the configuration says"), fix)
        }
        (None, Some(_)) => item(name, Outcome::Ok, found, ""),
    }
}

/// A protection that not every file system has; without it `berth image check` finds what went bad.
pub(super) fn verity(has: bool) -> CheckItem {
    let found = if has {
        "the kernel verifies images' files as they are read"
    } else {
        "the data directory's file system has none: berth image check verifies on demand"
    };
    item("fs-verity", Outcome::Ok, found, "")
}

fn network(finding: Finding) -> CheckItem {
    let name = match finding.subject {
        Subject::NftProgram => "nft",
        Subject::NfTables => "nf_tables",
        Subject::Bridge => "bridge",
        Subject::Veth => "veth",
        Subject::Vlan => "vlan",
        Subject::Forwarding => "ip_forward",
        Subject::ForeignFirewall => "other firewalls",
    };
    let outcome = match finding.severity {
        Severity::Fine => Outcome::Ok,
        Severity::Warning => Outcome::Limited,
        Severity::Missing => Outcome::Missing,
    };
    item(name, outcome, finding.detail, finding.fix.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_number() {
        assert_eq!(version("6.18.0-rc1+deb13"), Some((6, 18)));
        assert!(version("6.9.7").unwrap() < KERNEL && version("6.12.1").unwrap() >= KERNEL);
        assert_eq!(version("unknown"), None);
    }

    #[test]
    fn ranges_that_others_give_out_are_seen() {
        let range = 1_000_000..2_000_000;
        assert!(overlaps("me:999999:2", &range) && overlaps("me:1999999:1", &range));
        assert!(!overlaps("me:100000:65536", &range) && !overlaps("me:2000000:9", &range));
        assert!(!overlaps("me", &range));
    }
}
