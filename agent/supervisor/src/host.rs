//! The host's side of an instance: its namespaces, control group, root file system and interfaces.
//!
//! Everything here belongs to this process or carries the instance's name; [`Host::tear_down`] removes what would outlive
//! the process.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use berth_runtime::launch::{LaunchError, Stage};
use berth_runtime::spec::{CgroupSpec, InterfaceSpec, LaunchSpec};
use berth_storage::rootfs;
use berth_sys::cgroup::{Cgroup, CgroupError, Device, Layout, Limits};
use berth_sys::process::{IdMap, Namespaces, make_namespaces};
use nix::sched::CloneFlags;

use crate::container::attach::Ground;
use crate::failure::{errno_at, launch_error};
use crate::interfaces::{self, Interfaces};
use crate::machine::taps::Taps;

/// What the supervisor holds for its instance.
pub struct Host {
    /// Of the instance.
    pub namespaces: Namespaces,
    /// Of the instance.
    pub cgroup: Cgroup,
    /// Where the root file system is mounted, in this process's mount namespace only.
    pub rootfs: PathBuf,
    /// The interfaces of a machine.
    pub taps: Taps,
    interfaces: Interfaces,
    /// This process's own network namespace, from which a machine is reached.
    outside: Option<OwnedFd>,
}

/// The limits of a spec as the control group takes them.
pub fn limits(spec: &CgroupSpec) -> Limits {
    Limits {
        cpu_millis: spec.cpu_millis,
        cpuset: spec.cpuset.clone(),
        memory_bytes: spec.memory_bytes,
        swap_bytes: spec.swap_bytes,
        pids: spec.pids,
        io_weight: spec.io_weight,
    }
}

impl Host {
    /// Makes all of it. What was made before a failure is removed again.
    pub fn set_up(spec: &LaunchSpec) -> Result<Self, LaunchError> {
        nix::sched::unshare(CloneFlags::CLONE_NEWNS).map_err(errno_at(Stage::Namespaces, &spec.id))?;
        berth_sys::mount::make_all_slave().map_err(launch_error(Stage::Namespaces, &spec.id))?;
        let map = IdMap { host_base: spec.ids.host_base, count: spec.ids.count };
        let map = (!spec.shares.users).then_some(map);
        let namespaces =
            make_namespaces(map, !spec.shares.network).map_err(launch_error(Stage::Namespaces, &spec.id))?;
        let rootfs = mount_rootfs(spec, &namespaces)?;
        hand_over_files(spec)?;
        let cgroup = make_cgroup(&spec.cgroup)?;
        let (interfaces, taps) = (Interfaces::default(), Taps::default());
        let mut host = Self { namespaces, cgroup, rootfs, taps, interfaces, outside: None };
        match host.prepare_devices(spec).and_then(|()| host.connect(spec)) {
            Ok(()) => Ok(host),
            Err(error) => {
                host.tear_down();
                Err(error)
            }
        }
    }

    fn prepare_devices(&self, spec: &LaunchSpec) -> Result<(), LaunchError> {
        if !spec.kernel.privileged {
            // The host's root can make any device node: the list is what keeps it from them.
            let unlisted = spec.shares.users && !self.cgroup.lists_devices();
            let missing = io::Error::from_raw_os_error(libc::ENOSYS);
            return if unlisted { Err(launch_error(Stage::Cgroup, "devices")(missing)) } else { Ok(()) };
        }
        self.cgroup.allow_all_devices().map_err(|error| cgroup_error(&error))
    }

    fn connect(&mut self, spec: &LaunchSpec) -> Result<(), LaunchError> {
        if spec.shares.network {
            return Ok(());
        }
        if spec.vm.is_some() {
            let own = "/proc/self/ns/net";
            let outside = fs::File::open(own).map_err(launch_error(Stage::Network, own))?;
            self.outside = Some(outside.into());
            return self.taps.change(&spec.networks, &self.namespaces.network);
        }
        inside(&self.namespaces.network, || interfaces::prepare(spec.ids))
            .map_err(launch_error(Stage::Network, "the network namespace"))??;
        self.interfaces.change(&spec.networks, &self.namespaces.network)
    }

    /// The network namespace from which the workload is reached at its addresses.
    pub fn where_it_is_reached(&self) -> &OwnedFd {
        self.outside.as_ref().unwrap_or(&self.namespaces.network)
    }

    /// Makes the interfaces these: all of it, or nothing. No QEMU has those of a machine at this time.
    pub fn change_interfaces(&mut self, wanted: &[InterfaceSpec]) -> Result<(), LaunchError> {
        if self.outside.is_some() {
            return self.taps.change(wanted, &self.namespaces.network);
        }
        self.interfaces.change(wanted, &self.namespaces.network)
    }

    /// Where things of the host's are opened for the instance.
    pub fn ground<'a>(&'a self, spec: &'a LaunchSpec) -> Ground<'a> {
        let user_namespace = self.namespaces.user.as_ref().map(AsFd::as_fd);
        Ground { user_namespace, host_base: spec.ids.host_base, run_dir: &spec.run_dir }
    }

    /// Lets the instance's programs use devices.
    pub fn allow_devices(&self, devices: impl IntoIterator<Item = Device>) -> Result<(), LaunchError> {
        devices
            .into_iter()
            .try_for_each(|device| self.cgroup.allow_device(device).map_err(|error| cgroup_error(&error)))
    }

    /// Removes what would outlive this process.
    pub fn tear_down(mut self) {
        self.interfaces.remove_all();
        for slot in self.taps.beyond(&[]) {
            let _ = self.taps.remove(slot, &self.namespaces.network);
        }
        // A failure below leaves something that the next start of this instance, or the agent, removes.
        let _ = self.cgroup.kill();
        let _ = self.cgroup.remove();
    }
}

fn mount_rootfs(spec: &LaunchSpec, namespaces: &Namespaces) -> Result<PathBuf, LaunchError> {
    let target = spec.run_dir.join("rootfs");
    match fs::create_dir(&target) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(launch_error(Stage::Rootfs, target)(error));
        }
        _ => {}
    }
    let user_namespace = namespaces.user.as_ref().map(AsFd::as_fd);
    rootfs::mount(&spec.rootfs, user_namespace, spec.ids.host_base, &target).map_err(|error| {
        LaunchError {
            stage: Stage::Rootfs,
            errno: error.source.raw_os_error().unwrap_or(0),
            path: error.path,
        }
    })?;
    Ok(target)
}

/// The agent's files belong to the instance's root inside, as in any other container.
fn hand_over_files(spec: &LaunchSpec) -> Result<(), LaunchError> {
    for file in &spec.files {
        let owner = Some(spec.ids.host_base);
        std::os::unix::fs::chown(&file.source, owner, owner)
            .map_err(launch_error(Stage::Mount, &file.source))?;
    }
    Ok(())
}

fn make_cgroup(spec: &CgroupSpec) -> Result<Cgroup, LaunchError> {
    let make = || {
        let layout = Layout::detect()?;
        // A group of this name can only be left from a supervisor of this instance that was killed.
        let stale = Cgroup::existing(layout.clone(), &spec.parent, &spec.name);
        if !stale.processes()?.is_empty() {
            stale.kill()?;
        }
        Cgroup::create(layout, &spec.parent, &spec.name, &limits(spec))
    };
    make().map_err(|error| cgroup_error(&error))
}

/// What a control group could not do.
pub fn cgroup_error(error: &CgroupError) -> LaunchError {
    LaunchError {
        stage: Stage::Cgroup,
        errno: error.source.raw_os_error().unwrap_or(0),
        path: error.path.clone(),
    }
}

/// Runs `body` in a network namespace and comes back: this process has one thread only.
pub fn inside<T>(namespace: &OwnedFd, body: impl FnOnce() -> T) -> io::Result<T> {
    let home = fs::File::open("/proc/self/ns/net")?;
    berth_sys::process::enter(namespace.as_fd(), CloneFlags::CLONE_NEWNET)?;
    let result = body();
    berth_sys::process::enter(home.as_fd(), CloneFlags::CLONE_NEWNET)?;
    Ok(result)
}
