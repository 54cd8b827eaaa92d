//! Control groups: version 2 where it has the controllers, version 1 beside it where a host is still set up so.
//!
//! A group is named `PARENT/NAME` under each hierarchy that is used. The parent is the agent's own; its last group takes
//! it away.

mod bpf;
mod devices;
mod stats;
mod v1;
mod v2;

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use nix::unistd::Pid;

pub use devices::{Access, Device};
pub use stats::Usage;

/// What a group may use; `None` is no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Thousandths of a CPU.
    pub cpu_millis: Option<u64>,
    /// Which CPUs, as the kernel lists them: "0-2,5".
    pub cpuset: Option<String>,
    /// Bytes.
    pub memory_bytes: Option<u64>,
    /// Bytes of swap beside the memory.
    pub swap_bytes: Option<u64>,
    /// Tasks.
    pub pids: Option<u64>,
    /// Its part of the disks' time, 1 to 10,000; another group that says nothing has 100.
    pub io_weight: Option<u16>,
}

/// What failed on which file.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {}", path.display())]
pub struct CgroupError {
    /// "make", "write", "read" or "remove".
    pub operation: &'static str,
    /// The file or directory.
    pub path: PathBuf,
    /// What the kernel said.
    #[source]
    pub source: io::Error,
}

/// How this host's hierarchies are mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// One hierarchy with all controllers.
    Unified {
        /// Where it is mounted.
        root: PathBuf,
    },
    /// A hierarchy a controller, or a few.
    Legacy {
        /// The mount points by controller.
        roots: Vec<(String, PathBuf)>,
    },
}

/// Those of version 1 that every group is in. Whether all its processes are known is told by `pids`.
const LEGACY_CONTROLLERS: [&str; 6] = ["pids", "cpu", "cpuacct", "memory", "devices", "blkio"];

/// A group is in this one only while it is limited to some CPUs.
const CPUSET: &str = "cpuset";

impl Layout {
    /// Reads what is mounted. A version 2 hierarchy without the memory controller does not count.
    ///
    /// # Errors
    /// Where /proc/self/mountinfo cannot be read.
    pub fn detect() -> Result<Self, CgroupError> {
        let path = Path::new("/proc/self/mountinfo");
        let table = fs::read_to_string(path).map_err(|source| failed("read", path, source))?;
        Ok(Self::from_mountinfo(&table, |root| {
            fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default()
        }))
    }

    fn from_mountinfo(table: &str, controllers: impl Fn(&Path) -> String) -> Self {
        let mut roots = Vec::new();
        for line in table.lines() {
            let Some((before, after)) = line.split_once(" - ") else { continue };
            let Some(point) = before.split(' ').nth(4).map(PathBuf::from) else { continue };
            let mut after = after.split(' ');
            match (after.next(), after.nth(1)) {
                (Some("cgroup2"), _)
                    if controllers(&point).split_whitespace().any(|name| name == "memory") =>
                {
                    return Self::Unified { root: point };
                }
                (Some("cgroup"), Some(options)) => {
                    for option in options
                        .split(',')
                        .filter(|option| LEGACY_CONTROLLERS.contains(option) || *option == CPUSET)
                    {
                        if !roots.iter().any(|(known, _)| known == option) {
                            roots.push((option.to_owned(), point.clone()));
                        }
                    }
                }
                _ => {}
            }
        }
        Self::Legacy { roots }
    }

    /// "v2" or "v1".
    #[must_use]
    pub fn version(&self) -> &'static str {
        match self {
            Self::Unified { .. } => "v2",
            Self::Legacy { .. } => "v1",
        }
    }
}

/// One group, in every hierarchy that is used.
#[derive(Debug)]
pub struct Cgroup {
    layout: Layout,
    parent: String,
    name: String,
    devices: Mutex<devices::List>,
}

impl Cgroup {
    /// Makes the group, its parent too if need be, and sets its limits. Nothing is left of one that could not be made.
    ///
    /// # Errors
    /// The file that could not be made or written.
    pub fn create(layout: Layout, parent: &str, name: &str, limits: &Limits) -> Result<Self, CgroupError> {
        let group = Self::existing(layout, parent, name);
        match group.make(limits) {
            Ok(()) => Ok(group),
            Err(error) => {
                // Why it could not be made says more than what then could not be removed.
                let _ = group.remove();
                Err(error)
            }
        }
    }

    fn make(&self, limits: &Limits) -> Result<(), CgroupError> {
        let is_new = self.directories().iter().all(|(_, directory)| !directory.exists());
        match &self.layout {
            Layout::Unified { root } => v2::create(root, &self.parent, &self.name)?,
            Layout::Legacy { roots } => {
                for (_, root) in roots.iter().filter(|(name, _)| name != CPUSET) {
                    let directory = root.join(&self.parent).join(&self.name);
                    make_directory(&directory)?;
                }
            }
        }
        self.allow_common_devices()?;
        // A new group has none.
        if is_new && *limits == Limits::default() { Ok(()) } else { self.set_limits(limits) }
    }

    /// A group that is there already, such as that of a supervisor that was adopted.
    #[must_use]
    pub fn existing(layout: Layout, parent: &str, name: &str) -> Self {
        Self { layout, parent: parent.to_owned(), name: name.to_owned(), devices: devices::unknown() }
    }

    /// Changes the limits of the running group. A limit that what runs is beyond already is refused with EBUSY.
    ///
    /// # Errors
    /// The file that could not be written; what was written before it stays.
    pub fn set_limits(&self, limits: &Limits) -> Result<(), CgroupError> {
        match &self.layout {
            Layout::Unified { .. } => v2::set_limits(&self.directory(), limits),
            Layout::Legacy { roots } => {
                v1::set_limits(&self.directories(), limits)?;
                match roots.iter().find(|(name, _)| name == CPUSET) {
                    Some((_, root)) => {
                        v1::set_cpus(root, &self.parent, &self.name, limits.cpuset.as_deref(), || {
                            self.processes()
                        })
                    }
                    None if limits.cpuset.is_some() => {
                        let missing = io::Error::from_raw_os_error(libc::ENODEV);
                        Err(failed("use", Path::new(CPUSET), missing))
                    }
                    None => Ok(()),
                }
            }
        }
    }

    /// What the group uses and has used.
    ///
    /// # Errors
    /// The file that could not be read.
    pub fn usage(&self) -> Result<Usage, CgroupError> {
        match &self.layout {
            Layout::Unified { .. } => stats::unified(&self.directory()),
            Layout::Legacy { .. } => stats::legacy(&self.directories()),
        }
    }

    /// The version 2 directory, opened for `CLONE_INTO_CGROUP`; `None` on version 1.
    ///
    /// # Errors
    /// Where it cannot be opened.
    pub fn open(&self) -> Result<Option<OwnedFd>, CgroupError> {
        match &self.layout {
            Layout::Unified { .. } => {
                let directory = self.directory();
                let file = fs::File::open(&directory).map_err(|source| failed("read", &directory, source))?;
                Ok(Some(file.into()))
            }
            Layout::Legacy { .. } => Ok(None),
        }
    }

    /// Moves the calling process, which has one thread, into the group. For version 1: on version 2 it begins there.
    ///
    /// # Errors
    /// The file that could not be written.
    pub fn join(&self) -> Result<(), CgroupError> {
        for (_, directory) in self.directories() {
            // 0 is the writer itself, whatever its number is here. A thread that moves only itself waits for nobody; any
            // other move waits until every processor has passed a quiet point, 10 ms and more.
            write(&directory.join("tasks"), "0")?;
        }
        Ok(())
    }

    /// How often the kernel has killed for want of memory in here.
    ///
    /// # Errors
    /// Where the counter cannot be read.
    pub fn oom_kills(&self) -> Result<u64, CgroupError> {
        let file = match &self.layout {
            Layout::Unified { .. } => self.directory().join("memory.events"),
            Layout::Legacy { .. } => {
                match self.directories().into_iter().find(|(name, _)| name == "memory") {
                    Some((_, directory)) => directory.join("memory.oom_control"),
                    None => return Ok(0),
                }
            }
        };
        let text = fs::read_to_string(&file).map_err(|source| failed("read", &file, source))?;
        Ok(field(&text, "oom_kill").unwrap_or(0))
    }

    /// Kills all in the group.
    ///
    /// # Errors
    /// The file that could not be read or written.
    pub fn kill(&self) -> Result<(), CgroupError> {
        match &self.layout {
            Layout::Unified { .. } => write(&self.directory().join("cgroup.kill"), "1"),
            Layout::Legacy { .. } => v1::kill(&self.directories()),
        }
    }

    /// The processes in the group.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn processes(&self) -> Result<Vec<Pid>, CgroupError> {
        let directories = self.directories();
        match directories.iter().find(|(name, _)| name == "pids").or(directories.first()) {
            Some((_, directory)) => processes(directory),
            None => Ok(Vec::new()),
        }
    }

    /// Removes the group, which must be empty, and its parent when that is empty too.
    ///
    /// # Errors
    /// The directory that could not be removed.
    pub fn remove(self) -> Result<(), CgroupError> {
        for (_, directory) in self.directories() {
            remove_directory(&directory)?;
            if let Some(parent) = directory.parent() {
                // Others' groups keep it; that is no error.
                match fs::remove_dir(parent) {
                    Err(error) if !is_kept_or_gone(&error) => return Err(failed("remove", parent, error)),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn directory(&self) -> PathBuf {
        match &self.layout {
            Layout::Unified { root } => root.join(&self.parent).join(&self.name),
            Layout::Legacy { .. } => PathBuf::new(),
        }
    }

    fn directories(&self) -> Vec<(String, PathBuf)> {
        match &self.layout {
            Layout::Unified { .. } => vec![(String::new(), self.directory())],
            Layout::Legacy { roots } => roots
                .iter()
                .map(|(name, root)| (name.clone(), root.join(&self.parent).join(&self.name)))
                .filter(|(name, directory)| name != CPUSET || directory.exists())
                .collect(),
        }
    }
}

fn is_kept_or_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBUSY | libc::ENOTEMPTY | libc::ENOENT))
}

/// Those in the group, and in groups that were made within it.
fn processes(directory: &Path) -> Result<Vec<Pid>, CgroupError> {
    let file = directory.join("cgroup.procs");
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("read", &file, error)),
    };
    let mut found: Vec<_> = text.lines().filter_map(|line| line.parse().ok()).map(Pid::from_raw).collect();
    for group in groups_in(directory)? {
        found.extend(processes(&group)?);
    }
    Ok(found)
}

/// What a workload that may has made within its group.
fn groups_in(directory: &Path) -> Result<Vec<PathBuf>, CgroupError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("list", directory, error)),
    };
    let groups = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    Ok(groups.map(|entry| entry.path()).collect())
}

fn make_directory(directory: &Path) -> Result<(), CgroupError> {
    // The parent may go between its making and this: the last other group in it took it away.
    let mut made = fs::create_dir_all(directory);
    for _ in 0..10 {
        match &made {
            Err(error) if error.kind() == io::ErrorKind::NotFound => made = fs::create_dir_all(directory),
            _ => break,
        }
    }
    made.map_err(|source| failed("make", directory, source))
}

fn remove_directory(directory: &Path) -> Result<(), CgroupError> {
    for group in groups_in(directory)? {
        remove_directory(&group)?;
    }
    // A process that was killed leaves its group a moment after it was reaped.
    for _ in 0..50 {
        match fs::remove_dir(directory) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                #[allow(clippy::disallowed_methods)]
                // Version 1 has no event for this; bounded to half a second.
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed("remove", directory, error)),
            Ok(()) => return Ok(()),
        }
    }
    Err(failed("remove", directory, io::Error::from_raw_os_error(libc::EBUSY)))
}

fn write(file: &Path, text: &str) -> Result<(), CgroupError> {
    fs::write(file, text).map_err(|source| failed("write", file, source))
}

fn failed(operation: &'static str, path: &Path, source: io::Error) -> CgroupError {
    CgroupError { operation, path: path.to_owned(), source }
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIXED: &str = "\
33 24 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
34 33 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:1 - cgroup cgroup rw,cpu,cpuacct
35 33 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
36 33 0:31 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
37 33 0:32 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";

    #[test]
    fn a_unified_hierarchy_without_memory_does_not_count() {
        let layout = Layout::from_mountinfo(MIXED, |_| "hugetlb".to_owned());
        let Layout::Legacy { roots } = layout else { panic!("{layout:?}") };
        let names: Vec<_> = roots.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["cpu", "cpuacct", "memory"]);
        assert_eq!(roots[0].1, Path::new("/sys/fs/cgroup/cpu,cpuacct"));
    }

    #[test]
    fn a_unified_hierarchy_with_memory_is_used() {
        let layout = Layout::from_mountinfo(MIXED, |_| "cpu memory pids".to_owned());
        assert_eq!(layout, Layout::Unified { root: "/sys/fs/cgroup/unified".into() });
    }

    #[test]
    fn a_group_that_was_left_behind_loses_its_limits() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::Legacy { roots: vec![("pids".to_owned(), root.path().to_owned())] };
        let made = |limits: &Limits| {
            Cgroup::create(layout.clone(), "parent", "one", limits).unwrap();
            fs::read_to_string(root.path().join("parent/one/pids.max")).ok()
        };
        assert_eq!(made(&Limits::default()), None, "a new group has none");
        assert_eq!(made(&Limits { pids: Some(5), ..Limits::default() }).as_deref(), Some("5"));
        assert_eq!(made(&Limits::default()).as_deref(), Some("max"));
    }

    #[test]
    fn version_2_limits_are_written_as_the_kernel_reads_them() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("parent/one");
        fs::create_dir_all(&directory).unwrap();
        let group = Cgroup::existing(Layout::Unified { root: root.path().into() }, "parent", "one");
        let limits = Limits {
            cpu_millis: Some(1500),
            memory_bytes: Some(1 << 20),
            swap_bytes: Some(0),
            io_weight: Some(250),
            ..Limits::default()
        };
        group.set_limits(&limits).unwrap();
        let read = |name: &str| fs::read_to_string(directory.join(name)).unwrap();
        assert_eq!(read("cpu.max"), "150000 100000");
        assert_eq!(read("memory.max"), "1048576");
        assert_eq!(read("memory.swap.max"), "0");
        assert_eq!(read("pids.max"), "max");
        assert_eq!(read("io.weight"), "default 250");
        assert!(!directory.join("cpuset.cpus").exists(), "what was never limited is left alone");
        let limits = Limits { cpuset: Some("0-1".into()), ..Limits::default() };
        group.set_limits(&limits).unwrap();
        group.set_limits(&Limits::default()).unwrap();
        assert_eq!((read("memory.max"), read("cpuset.cpus")), ("max".into(), "\n".into()));
        fs::write(directory.join("memory.current"), "2097152\n").unwrap();
        let tight = Limits { memory_bytes: Some(1 << 20), ..Limits::default() };
        let error = group.set_limits(&tight).unwrap_err();
        assert_eq!(error.source.raw_os_error(), Some(libc::EBUSY));
        assert!(error.path.ends_with("memory.max"));
        fs::write(directory.join("memory.current"), "4096\n").unwrap();
        group.set_limits(&tight).unwrap();
        fs::write(directory.join("memory.events"), "low 0\noom 3\noom_kill 2\n").unwrap();
        assert_eq!(group.oom_kills().unwrap(), 2);
        fs::write(directory.join("cpu.stat"), "usage_usec 1500\nuser_usec 1000\n").unwrap();
        fs::write(directory.join("pids.current"), "3\n").unwrap();
        fs::write(directory.join("io.stat"), "254:0 rbytes=10 wbytes=20 rios=1\n7:0 rbytes=5 wbytes=1\n")
            .unwrap();
        let usage = group.usage().unwrap();
        let wanted = Usage {
            cpu_ns: 1_500_000,
            memory_bytes: 4096,
            memory_limit: Some(1 << 20),
            pids: 3,
            read_bytes: 15,
            written_bytes: 21,
        };
        assert_eq!(usage, wanted);
    }
}
