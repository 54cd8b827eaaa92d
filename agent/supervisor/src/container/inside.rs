//! A process of the container's own, for as long as one piece of work takes.

use std::os::fd::AsFd;

use berth_runtime::launch::{LaunchError, Stage};
use berth_sys::process::{enter, spawn};
use nix::sched::CloneFlags;
use nix::sys::wait::waitpid;

use super::init::{Init, become_root};
use crate::failure::{FailurePipe, errno_at, launch_error};

const CONTAINER: &str = "the container";

/// Does `work` in the container and as its root; what it sends is the error. The number is the process's exit code, which
/// nobody reads.
pub fn inside(init: &Init, stage: Stage, work: impl Fn(&FailurePipe) -> i32) -> Result<(), LaunchError> {
    let failures = FailurePipe::new().map_err(launch_error(stage, CONTAINER))?;
    let outer = spawn(CloneFlags::empty(), None, || {
        let enter_and_work = || {
            enter(init.pidfd.as_fd(), init.namespaces).map_err(launch_error(Stage::Namespaces, CONTAINER))?;
            become_root().map_err(errno_at(Stage::Namespaces, CONTAINER))?;
            // Only a child is in the container's pid namespace, for whose numbers its /proc is.
            let child = spawn(CloneFlags::empty(), None, || work(&failures))
                .map_err(launch_error(Stage::Init, CONTAINER))?;
            waitpid(child.pid, None).map_err(errno_at(Stage::Init, CONTAINER))?;
            Ok(())
        };
        let result: Result<(), LaunchError> = enter_and_work();
        result.map_or_else(
            |error| {
                failures.send(&error);
                1
            },
            |()| 0,
        )
    });
    let outer = outer.map_err(launch_error(stage, CONTAINER))?;
    waitpid(outer.pid, None).map_err(errno_at(Stage::Init, CONTAINER))?;
    failures.wait(stage)
}
