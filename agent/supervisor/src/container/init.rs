//! Pid 1 of a container and the workload beside it.
//!
//! Pid 1 arranges the mounts, then reaps whatever is left to it, until it is killed. The workload is not its child but the
//! supervisor's, as every exec is. Pid 1 executes nothing of the image, holds no descriptor of the host's, and dies with the
//! supervisor; with it goes all that runs in the container.
//!
//! ```text
//! supervisor -> outer: joins the control group, enters or makes every namespace, and goes
//!            -> pid 1 (cloned by outer): mounts, "ready", reaps
//!            -> the workload (cloned by outer once pid 1 is ready): becomes its user, executes
//! ```

use std::cell::Cell;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use berth_process::program::{Stdio, become_program};
use berth_process::rlimits;
use berth_runtime::launch::{LaunchError, Stage};
use berth_runtime::spec::LaunchSpec;
use berth_sys::process::{Child, enter, open_pidfd, spawn};
use nix::sched::CloneFlags;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Gid, Pid, Uid};

use super::Profile;
use super::attach::Attached;
use super::mounts::{self, Prepared};
use crate::failure::{FailurePipe, errno_at, launch_error};
use crate::host::{Host, cgroup_error};

/// The first process of a container.
pub struct Init {
    /// On the host.
    pub pid: Pid,
    /// Readable when it has ended.
    pub pidfd: OwnedFd,
    /// Those of its namespaces that are entered to be where it is. The kernel lets nobody enter the user namespace that he
    /// is in.
    pub namespaces: CloneFlags,
    /// What users mount in it, as it is now.
    pub mounts: Vec<Attached>,
}

/// All of a container's namespaces.
pub const ALL: CloneFlags = FRESH.union(CloneFlags::CLONE_NEWUSER).union(CloneFlags::CLONE_NEWNET);

/// The namespaces that each start of a workload makes anew; user and network are the supervisor's.
pub const FRESH: CloneFlags = CloneFlags::CLONE_NEWPID
    .union(CloneFlags::CLONE_NEWNS)
    .union(CloneFlags::CLONE_NEWIPC)
    .union(CloneFlags::CLONE_NEWUTS)
    .union(CloneFlags::CLONE_NEWCGROUP);

/// What the processes of a start share with the supervisor while it lasts.
struct Start<'a> {
    spec: &'a LaunchSpec,
    host: &'a Host,
    profile: &'a Profile,
    stdio: &'a Stdio,
    /// Taken by the outer process, so that the workload has none of it.
    prepared: Cell<Option<Prepared>>,
    failures: FailurePipe,
}

/// Starts pid 1 and the workload beside it, and waits until the workload's program was executed.
pub fn start(
    spec: &LaunchSpec,
    host: &Host,
    profile: &Profile,
    stdio: &Stdio,
) -> Result<(Init, Child), LaunchError> {
    let at = |stage| launch_error(stage, &spec.id);
    let prepared = Prepared::open(&host.rootfs, spec, host.ground(spec))?;
    host.allow_devices(prepared.devices())?;
    let failures = FailurePipe::new().map_err(at(Stage::Init))?;
    let start = Start { spec, host, profile, stdio, prepared: Cell::new(Some(prepared)), failures };
    let (reader, writer) = std::io::pipe().map_err(at(Stage::Init))?;
    let cgroup = host.cgroup.open().map_err(|error| cgroup_error(&error))?;
    let outer = spawn(CloneFlags::empty(), cgroup.as_ref().map(AsFd::as_fd), || match start.both(&writer) {
        Ok(()) => 0,
        Err(error) => {
            start.failures.send(&error);
            1
        }
    })
    .map_err(at(Stage::Init))?;
    drop(writer);
    nix::sys::wait::waitpid(outer.pid, None).map_err(errno_at(Stage::Init, &spec.id))?;
    let mut pids = read_pids(reader.into()).into_iter();
    let (init, workload) = (pids.next(), pids.next());
    let failed = start.failures.wait(Stage::Init).err();
    match (failed, init, workload) {
        (None, Some(init), Some(workload)) => match start.prepared.take().map(Prepared::settle).transpose() {
            Ok(mounts) => {
                let pidfd = |pid| open_pidfd(pid).map_err(at(Stage::Init));
                let mounts = mounts.unwrap_or_default();
                let child = Child { pid: workload, pidfd: pidfd(workload)? };
                let mut namespaces = ALL;
                namespaces.set(CloneFlags::CLONE_NEWUSER, host.namespaces.user.is_some());
                Ok((Init { pid: init, pidfd: pidfd(init)?, namespaces, mounts }, child))
            }
            Err(error) => {
                give_up(Some(init), Some(workload));
                Err(error)
            }
        },
        (failed, init, workload) => {
            give_up(init, workload);
            Err(failed.unwrap_or(LaunchError { stage: Stage::Init, errno: 0, path: (&spec.id).into() }))
        }
    }
}

/// Both are children that nobody has waited for yet: their numbers are still theirs.
fn give_up(init: Option<Pid>, workload: Option<Pid>) {
    if let Some(init) = init {
        let _ = nix::sys::signal::kill(init, Signal::SIGKILL);
    }
    // Pid 1 goes only after all others of its namespace were waited for.
    for pid in workload.into_iter().chain(init) {
        let _ = nix::sys::wait::waitpid(pid, None);
    }
}

/// Reads the numbers that an outer process left behind.
pub fn read_pids(reader: OwnedFd) -> Vec<Pid> {
    let mut bytes = Vec::new();
    // What came before an error still counts.
    let _ = std::fs::File::from(reader).read_to_end(&mut bytes);
    let (numbers, _) = bytes.as_chunks();
    numbers.iter().map(|number| Pid::from_raw(i32::from_ne_bytes(*number))).collect()
}

/// Tells the supervisor the number of a process that will be its child.
pub fn write_pid(mut writer: &std::io::PipeWriter, pid: Pid) {
    // Without a reader there is no supervisor, and without it no container.
    let _ = writer.write_all(&pid.as_raw().to_ne_bytes());
}

impl Start<'_> {
    /// In the outer process: its two children become the supervisor's.
    fn both(&self, pids: &std::io::PipeWriter) -> Result<(), LaunchError> {
        let at = |stage| launch_error(stage, &self.spec.id);
        join_cgroup(self.host)?;
        rlimits::raise(&self.spec.process.rlimits);
        let namespaces = &self.host.namespaces;
        enter(namespaces.network.as_fd(), CloneFlags::CLONE_NEWNET).map_err(at(Stage::Namespaces))?;
        if let Some(user) = &namespaces.user {
            enter(user.as_fd(), CloneFlags::CLONE_NEWUSER).map_err(at(Stage::Namespaces))?;
        }
        become_root().map_err(errno_at(Stage::Namespaces, &self.spec.id))?;
        let mut fresh = FRESH;
        fresh.set(CloneFlags::CLONE_NEWPID, !self.spec.shares.pids);
        nix::sched::unshare(fresh).map_err(errno_at(Stage::Namespaces, &self.spec.id))?;
        let (mut ready, is_ready) = std::io::pipe().map_err(at(Stage::Init))?;
        let prepared = self.prepared.take();
        let init = spawn(CloneFlags::CLONE_PARENT, None, || self.init(prepared.as_ref(), &is_ready))
            .map_err(at(Stage::Init))?;
        write_pid(pids, init.pid);
        drop((prepared, is_ready));
        // Its root becomes this process's too. Where it fails, it says why itself.
        if ready.read_exact(&mut [0]).is_err() {
            return Ok(());
        }
        let workload = spawn(CloneFlags::CLONE_PARENT, None, || {
            become_program(&self.spec.process, self.stdio, self.profile.programs(), &self.failures)
        })
        .map_err(at(Stage::Exec))?;
        write_pid(pids, workload.pid);
        Ok(())
    }

    fn init(&self, prepared: Option<&Prepared>, mut ready: &std::io::PipeWriter) -> i32 {
        match self.arrange(prepared) {
            Ok(()) => {
                let _ = ready.write_all(&[1]);
                stay()
            }
            Err(error) => {
                self.failures.send(&error);
                1
            }
        }
    }

    fn arrange(&self, prepared: Option<&Prepared>) -> Result<(), LaunchError> {
        let Self { spec, .. } = self;
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(errno_at(Stage::Init, &spec.id))?;
        nix::unistd::sethostname(&spec.hostname).map_err(errno_at(Stage::Hostname, &spec.hostname))?;
        berth_sys::mount::make_all_private().map_err(launch_error(Stage::Mount, "/"))?;
        prepared.map_or(Ok(()), |prepared| mounts::arrange(prepared, &spec.kernel))
    }
}

/// On version 1 a process joins by writing itself; on version 2 it began there.
pub fn join_cgroup(host: &Host) -> Result<(), LaunchError> {
    if host.cgroup.open().map_err(|error| cgroup_error(&error))?.is_none() {
        host.cgroup.join().map_err(|error| cgroup_error(&error))?;
    }
    Ok(())
}

/// Root of the user namespace that was entered, with none of the host's groups.
pub fn become_root() -> nix::Result<()> {
    let root = Uid::from_raw(0);
    let group = Gid::from_raw(0);
    nix::unistd::setgroups(&[])?;
    nix::unistd::setresgid(group, group, group)?;
    nix::unistd::setresuid(root, root, root)
}

/// Closes all that came from the supervisor, and reaps from then on.
pub fn stay() -> i32 {
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
