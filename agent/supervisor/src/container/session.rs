//! A program in a container: the workload itself, and every exec beside it.
//!
//! An exec enters all of the container's namespaces through its pid 1; the workload is put into them as they are made. Both
//! have the same capabilities and the same filter, and both are the supervisor's children, so that their end is seen here.

use std::io;
use std::os::fd::AsFd;

use berth_process::program::{Stdio, become_program};
use berth_process::rlimits;
use berth_runtime::launch::{LaunchError, Stage};
use berth_runtime::spec::ProcessSpec;
use berth_runtime::text::Text;
use berth_sys::process::{Child, enter, open_pidfd, spawn};
use nix::sched::CloneFlags;

use super::init::{self, Init};
use super::seccomp::Profile;
use crate::failure::{FailurePipe, errno_at, launch_error};
use crate::host::{Host, cgroup_error};

/// Starts a program and waits until it was executed.
pub fn start(
    process: &ProcessSpec,
    stdio: &Stdio,
    init: &Init,
    host: &Host,
    profile: &Profile,
) -> Result<Child, LaunchError> {
    let name = process.argv.first().map(Text::shown).unwrap_or_default();
    let failures = FailurePipe::new().map_err(launch_error(Stage::Exec, &name))?;
    let (reader, writer) = io::pipe().map_err(launch_error(Stage::Exec, &name))?;
    let cgroup = host.cgroup.open().map_err(|error| cgroup_error(&error))?;
    let outer = spawn(CloneFlags::empty(), cgroup.as_ref().map(AsFd::as_fd), || {
        let entered =
            init::join_cgroup(host).and_then(|()| clone_inside(process, stdio, init, profile, &failures));
        match entered {
            Ok(child) => {
                init::write_pid(&writer, child.pid);
                0
            }
            Err(error) => {
                failures.send(&error);
                1
            }
        }
    })
    .map_err(launch_error(Stage::Exec, &name))?;
    drop(writer);
    nix::sys::wait::waitpid(outer.pid, None).map_err(errno_at(Stage::Exec, &name))?;
    let pid = init::read_pids(reader.into()).first().copied();
    match (failures.wait(Stage::Exec), pid) {
        (Ok(()), Some(pid)) => {
            Ok(Child { pid, pidfd: open_pidfd(pid).map_err(launch_error(Stage::Exec, &name))? })
        }
        (result, pid) => {
            if let Some(pid) = pid {
                let _ = nix::sys::wait::waitpid(pid, None);
            }
            Err(result.err().unwrap_or(LaunchError { stage: Stage::Exec, errno: 0, path: name.into() }))
        }
    }
}

fn clone_inside(
    process: &ProcessSpec,
    stdio: &Stdio,
    init: &Init,
    profile: &Profile,
    failures: &FailurePipe,
) -> Result<Child, LaunchError> {
    rlimits::raise(&process.rlimits);
    enter(init.pidfd.as_fd(), init.namespaces).map_err(launch_error(Stage::Namespaces, "the container"))?;
    init::become_root().map_err(errno_at(Stage::Namespaces, "the container"))?;
    spawn(CloneFlags::CLONE_PARENT, None, || become_program(process, stdio, profile.programs(), failures))
        .map_err(launch_error(Stage::Exec, "the program"))
}
