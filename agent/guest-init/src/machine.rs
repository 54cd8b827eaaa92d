//! Becoming the machine that the host asks for: root file system, devices, names.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use berth_guest_protocol::ROOT_TAG;
use berth_guest_protocol::message::GuestSpec;
use berth_process::failure::{errno_at, launch_error};
use berth_runtime::launch::{LaunchError, Stage};
use berth_sys::mount::{FsOption, add_flags, attach, attach_on, clone_tree, new_filesystem};
use rustix::mount::MountAttrFlags;

use crate::network::Network;

/// Where the root file system is mounted until it is the root.
const NEW_ROOT: &str = "/root";

/// The device nodes that every instance has.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

const LINKS: [(&str, &str); 5] = [
    ("/dev/ptmx", "pts/ptmx"),
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];

/// The kernel's settings are the machine's; a workload changes them by the launch spec alone, as in a container.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Becomes the machine. After an error there is nothing to be done but to say so and end.
pub fn become_machine(spec: &GuestSpec, network: &mut Network) -> Result<(), LaunchError> {
    nix::unistd::sethostname(&spec.hostname).map_err(errno_at(Stage::Hostname, &spec.hostname))?;
    network.connect(&spec.interfaces)?;
    let devices = device_nodes()?;
    enter_root()?;
    arrange_dev(&devices, spec.shm_bytes)?;
    for (name, value) in &spec.sysctls {
        fs::write(Path::new("/proc/sys").join(name.replace('.', "/")), value)
            .map_err(launch_error(Stage::Sysctl, name))?;
    }
    READ_ONLY.iter().try_for_each(|path| make_read_only(Path::new(path)))
}

/// The kernel's own nodes, taken before its /dev is out of reach: a workload gets these and no others.
fn device_nodes() -> Result<Vec<(PathBuf, OwnedFd)>, LaunchError> {
    let node = |name: &&str| {
        let path = Path::new("/dev").join(name);
        let tree = clone_tree(&path, false).map_err(launch_error(Stage::Mount, &path))?;
        Ok((path, tree))
    };
    DEVICES.iter().map(node).collect()
}

fn plain() -> MountAttrFlags {
    MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC
}

fn enter_root() -> Result<(), LaunchError> {
    let at = || launch_error(Stage::Rootfs, "/");
    let source = [FsOption::Text("source", Path::new(ROOT_TAG))];
    let root = new_filesystem("virtiofs", &source, MountAttrFlags::MOUNT_ATTR_NODEV).map_err(at())?;
    ignore_existing(fs::create_dir(NEW_ROOT)).map_err(at())?;
    attach(root.as_fd(), Path::new(NEW_ROOT)).map_err(at())?;
    // The initramfs is no mount that could be pivoted away: the new root is moved over it.
    nix::unistd::chdir(NEW_ROOT).map_err(errno_at(Stage::Rootfs, "/"))?;
    rustix::mount::mount_move(".", "/").map_err(|error| at()(error.into()))?;
    nix::unistd::chroot(".").map_err(errno_at(Stage::Rootfs, "/"))?;
    nix::unistd::chdir("/").map_err(errno_at(Stage::Rootfs, "/"))?;
    let proc = new_filesystem("proc", &[], plain()).map_err(launch_error(Stage::Mount, "/proc"))?;
    place(&proc, Path::new("/proc"))?;
    let sys = new_filesystem("sysfs", &[], plain() | MountAttrFlags::MOUNT_ATTR_RDONLY);
    place(&sys.map_err(launch_error(Stage::Mount, "/sys"))?, Path::new("/sys"))
}

fn arrange_dev(devices: &[(PathBuf, OwnedFd)], shm_bytes: Option<u64>) -> Result<(), LaunchError> {
    let no_exec = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let shm_size = shm_bytes.unwrap_or(64 << 20).to_string();
    type Options<'a> = &'a [(&'static str, &'a str)];
    // No node but those that are put there is one: a program that may make nodes makes none that is live.
    let filesystems: [(&str, &str, Options<'_>, MountAttrFlags); 4] = [
        ("/dev", "tmpfs", &[("mode", "755"), ("size", "65536k")], plain()),
        ("/dev/pts", "devpts", &[("mode", "0620"), ("ptmxmode", "0666"), ("gid", "5")], no_exec),
        ("/dev/shm", "tmpfs", &[("mode", "1777"), ("size", &shm_size)], plain()),
        ("/dev/mqueue", "mqueue", &[], plain()),
    ];
    for (path, kind, options, attributes) in filesystems {
        let options: Vec<_> =
            options.iter().map(|(key, value)| FsOption::Text(key, Path::new(*value))).collect();
        let mount = new_filesystem(kind, &options, attributes).map_err(launch_error(Stage::Mount, path))?;
        place(&mount, Path::new(path))?;
    }
    for (path, tree) in devices {
        fs::File::create(path).map_err(launch_error(Stage::Mount, path))?;
        attach(tree.as_fd(), path).map_err(launch_error(Stage::Mount, path))?;
    }
    for (path, target) in LINKS {
        symlink(target, path).map_err(launch_error(Stage::Mount, path))?;
    }
    Ok(())
}

/// The host is out of reach of any path here, so that a link of the image's leads nowhere but into the image.
fn place(mount: &OwnedFd, path: &Path) -> Result<(), LaunchError> {
    ignore_existing(fs::create_dir(path))
        .and_then(|()| attach(mount.as_fd(), path))
        .map_err(launch_error(Stage::Mount, path))
}

fn ignore_existing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

fn make_read_only(path: &Path) -> Result<(), LaunchError> {
    let make = || {
        let tree = clone_tree(path, false)?;
        add_flags(tree.as_fd(), MountAttrFlags::MOUNT_ATTR_RDONLY.bits().into(), false)?;
        attach_on(tree.as_fd(), fs::File::open(path)?.as_fd())
    };
    match make() {
        // Kernels differ in what they have.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.map_err(launch_error(Stage::Mount, path)),
    }
}
