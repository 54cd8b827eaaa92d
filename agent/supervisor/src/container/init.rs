//! Pid 1 of a container: arranges the mounts, then reaps whatever is left to it, until it is killed.
//!
//! The workload is not its child but the supervisor's, put beside it as every exec is. Pid 1 executes nothing of the image,
//! holds no descriptor of the host's, and dies with the supervisor; with it goes all that runs in the container.

use std::os::fd::{AsFd, OwnedFd};

use berth_runtime::launch::{LaunchError, Stage};
use berth_runtime::spec::LaunchSpec;
use berth_sys::process::{Child, enter, open_pidfd, spawn};
use nix::sched::CloneFlags;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Gid, Pid, Uid};

use super::mounts::{self, Prepared};
use crate::failure::{FailurePipe, errno_at, launch_error};
use crate::host::Host;

/// The first process of a container.
pub struct Init {
    /// On the host.
    pub pid: Pid,
    /// Readable when it has ended.
    pub pidfd: OwnedFd,
}

/// The namespaces that each start of a workload makes anew; user and network are the supervisor's.
const FRESH: CloneFlags = CloneFlags::CLONE_NEWPID
    .union(CloneFlags::CLONE_NEWNS)
    .union(CloneFlags::CLONE_NEWIPC)
    .union(CloneFlags::CLONE_NEWUTS)
    .union(CloneFlags::CLONE_NEWCGROUP);

/// Starts pid 1 and waits until the container is ready for programs.
pub fn start(spec: &LaunchSpec, host: &Host) -> Result<Init, LaunchError> {
    let at = |stage| launch_error(stage, &spec.id);
    let prepared = Prepared::open(&host.rootfs, &spec.files)?;
    let failures = FailurePipe::new().map_err(at(Stage::Init))?;
    let (reader, writer) = std::io::pipe().map_err(at(Stage::Init))?;
    let cgroup = host.cgroup.open().map_err(|error| cgroup_error(&error))?;
    let writer = OwnedFd::from(writer);
    // The outer process enters what exists, the inner one is made inside it; only the inner one stays.
    let outer = spawn(CloneFlags::empty(), cgroup.as_ref().map(AsFd::as_fd), || {
        match enter_and_clone(spec, host, &prepared, &failures) {
            Ok(child) => {
                let _ = crate::failure::write_to(&writer, &child.pid.as_raw().to_ne_bytes());
                0
            }
            Err(error) => {
                failures.send(&error);
                1
            }
        }
    })
    .map_err(at(Stage::Init))?;
    drop(writer);
    nix::sys::wait::waitpid(outer.pid, None).map_err(errno_at(Stage::Init, &spec.id))?;
    let pid = read_pid(reader.into());
    match (failures.wait(Stage::Init), pid) {
        (Ok(()), Some(pid)) => Ok(Init { pid, pidfd: open_pidfd(pid).map_err(at(Stage::Init))? }),
        (result, pid) => {
            if let Some(pid) = pid {
                let _ = nix::sys::wait::waitpid(pid, None);
            }
            Err(result.err().unwrap_or(LaunchError { stage: Stage::Init, errno: 0, path: (&spec.id).into() }))
        }
    }
}

/// Reads the number that the outer process left behind.
pub(super) fn read_pid(reader: OwnedFd) -> Option<Pid> {
    let mut bytes = [0; 4];
    std::io::Read::read_exact(&mut std::fs::File::from(reader), &mut bytes).ok()?;
    Some(Pid::from_raw(i32::from_ne_bytes(bytes)))
}

pub(super) fn cgroup_error(error: &berth_sys::cgroup::CgroupError) -> LaunchError {
    LaunchError {
        stage: Stage::Cgroup,
        errno: error.source.raw_os_error().unwrap_or(0),
        path: error.path.clone(),
    }
}

fn enter_and_clone(
    spec: &LaunchSpec,
    host: &Host,
    prepared: &Prepared,
    failures: &FailurePipe,
) -> Result<Child, LaunchError> {
    join_cgroup(host)?;
    let at = |stage| launch_error(stage, &spec.id);
    enter(host.namespaces.network.as_fd(), CloneFlags::CLONE_NEWNET).map_err(at(Stage::Namespaces))?;
    enter(host.namespaces.user.as_fd(), CloneFlags::CLONE_NEWUSER).map_err(at(Stage::Namespaces))?;
    become_root().map_err(errno_at(Stage::Namespaces, &spec.id))?;
    spawn(FRESH | CloneFlags::CLONE_PARENT, None, || match prepare(spec, prepared) {
        Ok(()) => stay(),
        Err(error) => {
            failures.send(&error);
            1
        }
    })
    .map_err(at(Stage::Init))
}

/// On version 1 a process joins by writing itself; on version 2 it began there.
pub(super) fn join_cgroup(host: &Host) -> Result<(), LaunchError> {
    if host.cgroup.open().map_err(|error| cgroup_error(&error))?.is_none() {
        host.cgroup.join().map_err(|error| cgroup_error(&error))?;
    }
    Ok(())
}

/// Root of the user namespace that was entered, with none of the host's groups.
pub(super) fn become_root() -> nix::Result<()> {
    let root = Uid::from_raw(0);
    let group = Gid::from_raw(0);
    nix::unistd::setgroups(&[])?;
    nix::unistd::setresgid(group, group, group)?;
    nix::unistd::setresuid(root, root, root)
}

fn prepare(spec: &LaunchSpec, prepared: &Prepared) -> Result<(), LaunchError> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(errno_at(Stage::Init, &spec.id))?;
    nix::unistd::sethostname(&spec.hostname).map_err(errno_at(Stage::Hostname, &spec.hostname))?;
    berth_sys::mount::make_all_private().map_err(launch_error(Stage::Mount, "/"))?;
    mounts::arrange(prepared)
}

/// Closes all that came from the supervisor, which says that the container is ready, and reaps from then on.
fn stay() -> i32 {
    berth_sys::process::close_all();
    let _ = nix::unistd::setsid();
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    let _ = signals.thread_block();
    loop {
        while matches!(
            nix::sys::wait::waitpid(None, Some(nix::sys::wait::WaitPidFlag::WNOHANG)),
            Ok(status) if status != nix::sys::wait::WaitStatus::StillAlive
        ) {}
        let _ = signals.wait();
    }
}
