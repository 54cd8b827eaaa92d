//! One an instance: starts, watches, logs and restarts its workload, and outlives the agent.
//!
//! It is single-threaded and static. What it holds is the instance's for as long as the instance is wanted running: the
//! mount namespace with the root file system, the user and network namespaces, the control group, the log. All of it goes
//! when this process goes, however it goes.
//!
//! ```text
//! main -> host::Host (namespaces, cgroup, rootfs, interfaces) -> supervise::Supervisor (event loop)
//!                                                                   | container::init   pid 1, reaps
//!                                                                   | container::session the workload, each exec
//!                                                                   | machine           QEMU, and the guest's pid 1 over a channel
//!                                                                   | control, log
//! ```

mod attempt;
mod container;
mod control;
mod dhcp;
mod host;
mod interfaces;
mod log;
mod machine;
mod probe;
mod supervise;

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use berth_process::failure;
use berth_runtime::launch::{LaunchError, Report, Stage};
use berth_runtime::spec::LaunchSpec;

use crate::failure::launch_error;
use crate::host::Host;
use crate::supervise::Supervisor;

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|word| word == "probe") {
        return probe::run();
    }
    let Some((spec_fd, report_fd)) = descriptors() else {
        let _ = std::io::stderr().write_all(
            b"berth-supervisor is started by berthd: berth-supervisor SPEC_FD REPORT_FD | probe\n",
        );
        return ExitCode::from(2);
    };
    // Fails only where this is a session leader already.
    let _ = nix::unistd::setsid();
    match start(spec_fd) {
        Ok(supervisor) => {
            supervisor.run(report_fd);
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = report(report_fd, &Report::Failed(error));
            ExitCode::FAILURE
        }
    }
}

fn descriptors() -> Option<(OwnedFd, OwnedFd)> {
    let mut numbers = std::env::args().skip(1).map(|argument| argument.parse().ok());
    let (spec, report) = (numbers.next()??, numbers.next()??);
    Some((berth_sys::process::inherited(spec).ok()?, berth_sys::process::inherited(report).ok()?))
}

fn start(spec_fd: OwnedFd) -> Result<Supervisor, LaunchError> {
    let spec = read_spec(spec_fd)?;
    let host = Host::set_up(&spec)?;
    match Supervisor::start(spec, host) {
        Ok(started) => Ok(started),
        Err(failed) => {
            let (host, error) = *failed;
            host.tear_down();
            Err(error)
        }
    }
}

fn read_spec(fd: OwnedFd) -> Result<LaunchSpec, LaunchError> {
    let mut text = Vec::new();
    std::fs::File::from(fd).read_to_end(&mut text).map_err(launch_error(Stage::Spec, "spec.json"))?;
    serde_json::from_slice(&text)
        .map_err(|error| launch_error(Stage::Spec, "spec.json")(std::io::Error::other(error)))
}

/// Tells the agent how the start went. It may be gone by now: then nobody waits for it, and the next agent asks on the control
/// socket.
fn report(fd: OwnedFd, report: &Report) -> std::io::Result<()> {
    let mut text = serde_json::to_vec(report)?;
    text.push(b'\n');
    std::fs::File::from(fd).write_all(&text)
}
