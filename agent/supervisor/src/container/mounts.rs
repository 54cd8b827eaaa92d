//! The mounts inside a container.
//!
//! What comes from the host (device nodes, the agent's files) is opened before the root is changed; all that is resolved by
//! path is resolved after, when the host is out of reach. So a symbolic link of the image's leads nowhere but into the
//! image, and the directories that matter (`/proc`, `/sys`, `/dev`, `/etc`) may not be links at all.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use berth_runtime::launch::{LaunchError, Stage};
use berth_runtime::spec::{KernelSpec, LaunchSpec};
use berth_sys::cgroup::Device;
use berth_sys::mount::{
    FsOption, add_flags, attach_on, clone_tree, enter_root, make_all_shared, new_filesystem,
};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::mount::MountAttrFlags;

use super::attach::{self, Attached, Detached, Ground};
use super::files::{self, Pending};
use super::nodes::{self, Node};
use crate::failure::launch_error;

/// The device nodes that every container has, with their numbers.
const DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

const LINKS: [(&str, &str); 5] = [
    ("/dev/ptmx", "pts/ptmx"),
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];

/// What tells of the host, or lets one change it: hidden, as Docker and Podman hide it.
const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Mounts of the host's that a container gets, detached: made by the supervisor, who may see all of the host, and put in
/// their places by the container's pid 1, who may not.
pub struct Prepared {
    root: OwnedFd,
    /// The host's own /proc and /sys, where the kernel lets a user namespace make none: they show a namespace of the host's.
    proc: Option<OwnedFd>,
    sys: Option<OwnedFd>,
    /// Every device node of the host's, for who is kept from none.
    nodes: Vec<Node>,
    devices: Vec<(PathBuf, OwnedFd)>,
    files: Vec<(PathBuf, OwnedFd)>,
    mounts: Vec<Detached>,
    writes: Vec<Pending>,
}

impl Prepared {
    /// In the supervisor's mount namespace.
    pub fn open(rootfs: &Path, spec: &LaunchSpec, ground: Ground<'_>) -> Result<Self, LaunchError> {
        let root = clone_tree(rootfs, true).map_err(launch_error(Stage::Rootfs, rootfs))?;
        let mut devices = Vec::new();
        for (name, major, minor) in DEVICES {
            devices.push((Path::new("/dev").join(name), device(name, major, minor)?));
        }
        let mut binds = Vec::new();
        for file in &spec.files {
            let tree = clone_tree(&file.source, false).map_err(launch_error(Stage::Mount, &file.source))?;
            let mut flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
            if file.read_only {
                flags |= MountAttrFlags::MOUNT_ATTR_RDONLY;
            }
            add_flags(tree.as_fd(), flags.bits().into(), false)
                .map_err(launch_error(Stage::Mount, &file.source))?;
            binds.push((file.target.clone(), tree));
        }
        let of_host = |path: &str, shared: bool| {
            let needed = shared && ground.user_namespace.is_some();
            let tree = needed.then(|| clone_tree(Path::new(path), false)).transpose();
            tree.map_err(launch_error(Stage::Mount, path))
        };
        let (proc, sys) = (of_host("/proc", spec.shares.pids)?, of_host("/sys", spec.shares.network)?);
        let nodes = if spec.kernel.privileged { nodes::of_host()? } else { Vec::new() };
        let mounts = Detached::open_all(&spec.mounts, ground)?;
        let writes = Pending::open_all(&spec.writes)?;
        Ok(Self { root, proc, sys, nodes, devices, files: binds, mounts, writes })
    }

    /// The devices whose nodes are among what users mount.
    pub fn devices(&self) -> impl Iterator<Item = Device> {
        self.mounts.iter().filter_map(Detached::device)
    }

    /// Everything is in its place: what users mount, as it is found again.
    pub fn settle(self) -> Result<Vec<Attached>, LaunchError> {
        attach::settle_all(self.mounts)
    }
}

/// The host's device node, which must be what its name says: somebody may have put another there.
pub fn device(name: &str, major: u32, minor: u32) -> Result<OwnedFd, LaunchError> {
    let path = Path::new("/dev").join(name);
    let open = || {
        let tree = clone_tree(&path, false)?;
        let stat = rustix::fs::statx(
            &tree,
            "",
            rustix::fs::AtFlags::EMPTY_PATH,
            rustix::fs::StatxFlags::BASIC_STATS,
        )?;
        let is_device = rustix::fs::FileType::from_raw_mode(stat.stx_mode.into()).is_char_device();
        if is_device && (stat.stx_rdev_major, stat.stx_rdev_minor) == (major, minor) {
            Ok(tree)
        } else {
            Err(io::Error::from_raw_os_error(libc::ENODEV))
        }
    };
    open().map_err(launch_error(Stage::Mount, &path))
}

/// Changes the root and puts everything in its place under it. In the container's own namespaces.
pub fn arrange(prepared: &Prepared, kernel: &KernelSpec) -> Result<(), LaunchError> {
    let plain = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let sys_flags = if kernel.privileged { plain } else { plain | MountAttrFlags::MOUNT_ATTR_RDONLY };
    // Made before the root is changed: the kernel lets a user namespace mount them only while it sees a whole one.
    let (made_proc, made_sys);
    let proc = match &prepared.proc {
        Some(proc) => proc,
        None => {
            made_proc = new_filesystem("proc", &[], plain).map_err(launch_error(Stage::Mount, "/proc"))?;
            &made_proc
        }
    };
    let sys = match &prepared.sys {
        Some(sys) => {
            add_flags(sys.as_fd(), sys_flags.bits().into(), false)
                .map_err(launch_error(Stage::Mount, "/sys"))?;
            sys
        }
        None => {
            made_sys = new_filesystem("sysfs", &[], sys_flags).map_err(launch_error(Stage::Mount, "/sys"))?;
            &made_sys
        }
    };
    enter_root(prepared.root.as_fd()).map_err(launch_error(Stage::Rootfs, "/"))?;
    place_on_directory(proc, Path::new("/proc"))?;
    must_be_procfs()?;
    place_on_directory(sys, Path::new("/sys"))?;
    arrange_dev(&prepared.devices, kernel.shm_bytes)?;
    nodes::make(&prepared.nodes)?;
    set_sysctls(kernel)?;
    if !kernel.privileged {
        confine()?;
    }
    arrange_contents(prepared, kernel)
}

fn arrange_contents(prepared: &Prepared, kernel: &KernelSpec) -> Result<(), LaunchError> {
    for (target, tree) in &prepared.files {
        place_on_file(tree, target)?;
    }
    attach::place_all(&prepared.mounts)?;
    files::write_all(&prepared.writes)?;
    if kernel.read_only_root {
        // The mount of the root alone: what lies on it has its own say.
        open(Path::new("/"), OFlags::DIRECTORY)
            .and_then(|root| add_flags(root.as_fd(), MountAttrFlags::MOUNT_ATTR_RDONLY.bits().into(), false))
            .map_err(launch_error(Stage::Rootfs, "/"))?;
    }
    Ok(())
}

fn confine() -> Result<(), LaunchError> {
    READ_ONLY.iter().try_for_each(|path| make_read_only(Path::new(path)))?;
    MASKED.iter().try_for_each(|path| mask(Path::new(path)))
}

/// As [`arrange`], for a machine: its guest has devices and kernel file systems of its own. Gives all of it as one detached
/// tree, which is to be exported.
pub fn arrange_share(prepared: &Prepared, kernel: &KernelSpec) -> Result<OwnedFd, LaunchError> {
    enter_root(prepared.root.as_fd()).map_err(launch_error(Stage::Rootfs, "/"))?;
    for path in ["/proc", "/sys", "/dev"] {
        // The guest mounts on them; a root file system that cannot be written would not let it make them.
        match fs::create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(launch_error(Stage::Mount, path)(error));
            }
            _ => {}
        }
    }
    arrange_contents(prepared, kernel)?;
    // What a change puts in or takes out later is so for who exports the copy, too.
    make_all_shared().map_err(launch_error(Stage::Mount, "/"))?;
    clone_tree(Path::new("/"), true).map_err(launch_error(Stage::Rootfs, "/"))
}

/// Those of the namespaces that are the instance's own; before they can no longer be written.
fn set_sysctls(kernel: &KernelSpec) -> Result<(), LaunchError> {
    for (name, value) in &kernel.sysctls {
        let path = Path::new("/proc/sys").join(name.replace('.', "/"));
        open(&path, OFlags::empty())
            .and_then(|_| fs::write(&path, value))
            .map_err(launch_error(Stage::Sysctl, name))?;
    }
    Ok(())
}

fn arrange_dev(devices: &[(PathBuf, OwnedFd)], shm_bytes: Option<u64>) -> Result<(), LaunchError> {
    let no_exec = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let closed = no_exec | MountAttrFlags::MOUNT_ATTR_NODEV;
    let shm_size = shm_bytes.unwrap_or(64 << 20).to_string();
    type Options<'a> = &'a [(&'static str, &'a str)];
    let filesystems: [(&str, &str, Options<'_>, MountAttrFlags); 4] = [
        ("/dev", "tmpfs", &[("mode", "755"), ("size", "65536k")], MountAttrFlags::MOUNT_ATTR_NOSUID),
        ("/dev/pts", "devpts", &[("mode", "0620"), ("ptmxmode", "0666"), ("gid", "5")], no_exec),
        ("/dev/shm", "tmpfs", &[("mode", "1777"), ("size", &shm_size)], closed),
        ("/dev/mqueue", "mqueue", &[], closed),
    ];
    for (path, kind, options, attributes) in filesystems {
        let options: Vec<_> =
            options.iter().map(|(key, value)| FsOption::Text(key, Path::new(*value))).collect();
        let mount = new_filesystem(kind, &options, attributes).map_err(launch_error(Stage::Mount, path))?;
        place_on_directory(&mount, Path::new(path))?;
    }
    for (path, tree) in devices {
        fs::File::create(path).map_err(launch_error(Stage::Mount, path))?;
        place(tree, path)?;
    }
    for (path, target) in LINKS {
        symlink(target, path).map_err(launch_error(Stage::Mount, path))?;
    }
    Ok(())
}

fn open(path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    // Magic links are symbolic links too: none is followed, anywhere in the path.
    Ok(openat2(CWD, path, flags | OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::NO_SYMLINKS)?)
}

fn place(mount: &OwnedFd, path: &Path) -> Result<(), LaunchError> {
    open(path, OFlags::empty())
        .and_then(|target| attach_on(mount.as_fd(), target.as_fd()))
        .map_err(launch_error(Stage::Mount, path))
}

fn place_on_directory(mount: &OwnedFd, path: &Path) -> Result<(), LaunchError> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(launch_error(Stage::Mount, path)(error));
        }
        _ => {}
    }
    open(path, OFlags::DIRECTORY)
        .and_then(|target| attach_on(mount.as_fd(), target.as_fd()))
        .map_err(launch_error(Stage::Mount, path))
}

/// Puts a file at a path. A symbolic link there gives way: many an image has `/etc/resolv.conf` as a link to nowhere.
fn place_on_file(mount: &OwnedFd, path: &Path) -> Result<(), LaunchError> {
    let prepare = || {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
            open(parent, OFlags::DIRECTORY)?;
        }
        match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.file_type().is_symlink() => fs::remove_file(path)?,
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        fs::File::create_new(path)?.set_permissions(fs::Permissions::from_mode(0o644))
    };
    prepare().map_err(launch_error(Stage::Mount, path))?;
    place(mount, path)
}

/// What is written to /proc later must reach the kernel's, not a file of the image's (CVE-2025-52881).
fn must_be_procfs() -> Result<(), LaunchError> {
    let at = |error: rustix::io::Errno| launch_error(Stage::Mount, "/proc")(error.into());
    let statfs = rustix::fs::statfs("/proc").map_err(at)?;
    if statfs.f_type == libc::PROC_SUPER_MAGIC { Ok(()) } else { Err(at(rustix::io::Errno::NOTDIR)) }
}

fn make_read_only(path: &Path) -> Result<(), LaunchError> {
    let make = || {
        let tree = clone_tree(path, false)?;
        add_flags(tree.as_fd(), MountAttrFlags::MOUNT_ATTR_RDONLY.bits().into(), false)?;
        let target = open(path, OFlags::empty())?;
        attach_on(tree.as_fd(), target.as_fd())
    };
    ignore_absent(make()).map_err(launch_error(Stage::Mount, path))
}

fn mask(path: &Path) -> Result<(), LaunchError> {
    let hide = || {
        let target = open(path, OFlags::empty())?;
        if fs::symlink_metadata(path)?.is_dir() {
            let empty = new_filesystem("tmpfs", &[FsOption::Flag("ro")], MountAttrFlags::MOUNT_ATTR_RDONLY)?;
            return attach_on(empty.as_fd(), target.as_fd());
        }
        // The one of the host that was put there just now, and that no program has had a chance to change (CVE-2025-31133).
        let null = clone_tree(Path::new("/dev/null"), false)?;
        attach_on(null.as_fd(), target.as_fd())
    };
    ignore_absent(hide()).map_err(launch_error(Stage::Mount, path))
}

/// Kernels differ in what they have.
fn ignore_absent(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
