//! A process on its way to the program that it becomes: its streams, directory, user and privileges.

use std::ffi::{CString, OsStr};
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use berth_runtime::launch::{LaunchError, Stage};
use berth_runtime::spec::ProcessSpec;
use berth_runtime::text::Text;
use berth_sys::process::{close_on_exec_from, take_terminal};
use nix::sys::signal::SigSet;
use nix::unistd::{Gid, Uid};

use crate::failure::{FailurePipe, errno_at, launch_error};
use crate::users::{self, User};
use crate::{Filter, privileges, rlimits};

/// Where a program's standard input, output and error go.
pub enum Stdio {
    /// Nothing to read; output and error to pipes.
    Log { stdout: OwnedFd, stderr: OwnedFd },
    /// Descriptors of the caller's.
    Given { stdin: OwnedFd, stdout: OwnedFd, stderr: OwnedFd },
    /// A new terminal, whose master is sent over this socket.
    Terminal { master_to: OwnedFd },
}

impl Stdio {
    /// A caller's descriptors. Pipes become the instance's root's, so that a program can open /dev/stdout again; anything
    /// else stays whose it is.
    pub fn given(stdin: OwnedFd, stdout: OwnedFd, stderr: OwnedFd, root: u32) -> io::Result<Self> {
        for fd in [&stdin, &stdout, &stderr] {
            if is_pipe(fd) {
                std::os::unix::fs::fchown(fd, Some(root), Some(root))?;
            }
        }
        Ok(Self::Given { stdin, stdout, stderr })
    }
}

/// The PATH of a program whose environment has none, as Docker has it.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Executes the program, inside; comes back only when it could not, with the exit code for it.
pub fn become_program(
    process: &ProcessSpec,
    stdio: &Stdio,
    filters: &[Filter],
    failures: &FailurePipe,
) -> i32 {
    if let Err(error) = execute(process, stdio, filters) {
        failures.send(&error);
    }
    127
}

/// Becomes the program; returns only with the reason why not.
fn execute(process: &ProcessSpec, stdio: &Stdio, filters: &[Filter]) -> Result<(), LaunchError> {
    let user = users::find(&process.user, &process.groups)?;
    // Nothing of the supervisor's can be reached through /proc/self/fd once the program runs.
    close_on_exec_from(3).map_err(launch_error(Stage::Exec, "descriptors"))?;
    connect(stdio, &user)?;
    enter_working_dir(&process.working_dir)?;
    reset_signals()?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    let environment = environment(process, &user, matches!(stdio, Stdio::Terminal { .. }));
    rlimits::set(&process.rlimits)?;
    privileges::drop_to(&user, filters, process)?;
    run(&process.argv, &environment)
}

fn connect(stdio: &Stdio, user: &User) -> Result<(), LaunchError> {
    let at = |what: &'static str| errno_at(Stage::Exec, what);
    nix::unistd::setsid().map_err(at("a session"))?;
    let null;
    let slave;
    let (stdin, stdout, stderr) = match stdio {
        Stdio::Log { stdout, stderr } => {
            null =
                OwnedFd::from(fs::File::open("/dev/null").map_err(launch_error(Stage::Exec, "/dev/null"))?);
            (&null, stdout, stderr)
        }
        Stdio::Given { stdin, stdout, stderr } => (stdin, stdout, stderr),
        Stdio::Terminal { master_to } => {
            slave = open_terminal(master_to).map_err(launch_error(Stage::Exec, "/dev/ptmx"))?;
            (&slave, &slave, &slave)
        }
    };
    for fd in [stdin, stdout, stderr] {
        if matches!(stdio, Stdio::Terminal { .. }) || is_pipe(fd) {
            // So that a user other than root can open /dev/stdout again.
            let _ = nix::unistd::fchown(fd, Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid)));
        }
    }
    nix::unistd::dup2_stdin(stdin).map_err(at("standard input"))?;
    nix::unistd::dup2_stdout(stdout).map_err(at("standard output"))?;
    nix::unistd::dup2_stderr(stderr).map_err(at("standard error"))
}

fn is_pipe(fd: &OwnedFd) -> bool {
    rustix::fs::fstat(fd).is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_fifo())
}

fn open_terminal(master_to: &OwnedFd) -> io::Result<OwnedFd> {
    let flags =
        rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY | rustix::pty::OpenptFlags::CLOEXEC;
    let master = rustix::pty::openpt(flags)?;
    rustix::pty::unlockpt(&master)?;
    let name = rustix::pty::ptsname(&master, Vec::new())?;
    let slave = rustix::fs::open(
        &name,
        rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?;
    take_terminal(slave.as_fd())?;
    berth_sys::socket::send_with_descriptors(master_to.as_fd(), b"t", &[master.as_fd()])?;
    Ok(slave)
}

/// Makes the directory if it is absent, enters it, and sees that it is one of the container's (CVE-2024-21626).
fn enter_working_dir(path: &str) -> Result<(), LaunchError> {
    let path = Path::new(if path.is_empty() { "/" } else { path });
    let enter = || {
        if !path.is_absolute() {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        match std::env::set_current_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(path)?;
                std::env::set_current_dir(path)?;
            }
            result => result?,
        }
        let here = std::env::current_dir()?;
        if here.is_absolute() { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ENOENT)) }
    };
    enter().map_err(launch_error(Stage::WorkingDir, path))
}

fn reset_signals() -> Result<(), LaunchError> {
    berth_sys::process::default_signals().map_err(launch_error(Stage::Exec, "signals"))?;
    SigSet::empty().thread_set_mask().map_err(errno_at(Stage::Exec, "signals"))
}

fn environment(process: &ProcessSpec, user: &User, terminal: bool) -> Vec<(String, Text)> {
    let mut environment = process.environment.clone();
    let mut default = |key: &str, value: &str| {
        if !environment.iter().any(|(known, _)| known == key) {
            environment.push((key.to_owned(), value.into()));
        }
    };
    default("PATH", DEFAULT_PATH);
    default("HOME", &user.home);
    if terminal {
        default("TERM", "xterm");
    }
    environment
}

fn run(argv: &[Text], environment: &[(String, Text)]) -> Result<(), LaunchError> {
    let program = argv.first().map(Text::as_bytes).unwrap_or_default();
    let shown = Path::new(OsStr::from_bytes(program));
    let invalid = || LaunchError { stage: Stage::Exec, errno: libc::EINVAL, path: shown.into() };
    let to_c = |bytes: &[u8]| CString::new(bytes).map_err(|_| invalid());
    let arguments = argv.iter().map(|text| to_c(text.as_bytes())).collect::<Result<Vec<_>, _>>()?;
    let variable = |(key, value): &(String, Text)| to_c(&[key.as_bytes(), b"=", value.as_bytes()].concat());
    let variables = environment.iter().map(variable).collect::<Result<Vec<_>, _>>()?;
    let path = environment.iter().find(|(key, _)| key == "PATH");
    let path = path.map_or(DEFAULT_PATH.as_bytes(), |(_, path)| path.as_bytes());
    let mut reason = nix::errno::Errno::ENOENT;
    for candidate in candidates(program, path) {
        let file = to_c(candidate.as_os_str().as_bytes())?;
        let Err(errno) = nix::unistd::execve(&file, &arguments, &variables);
        match errno {
            nix::errno::Errno::ENOENT | nix::errno::Errno::ENOTDIR => {}
            // One that is there and cannot be run says more than that others are not there.
            errno => reason = errno,
        }
    }
    Err(errno_at(Stage::Exec, shown)(reason))
}

fn candidates(program: &[u8], path: &[u8]) -> Vec<PathBuf> {
    let program = Path::new(OsStr::from_bytes(program));
    if program.as_os_str().is_empty() {
        return Vec::new();
    }
    if program.as_os_str().as_bytes().contains(&b'/') {
        return vec![program.into()];
    }
    path.split(|byte| *byte == b':')
        .map(|directory| if directory.is_empty() { b"." } else { directory })
        .map(|directory| Path::new(OsStr::from_bytes(directory)).join(program))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_looked_up_in_its_own_path() {
        assert_eq!(candidates(b"/bin/sh", b"/a:/b"), [PathBuf::from("/bin/sh")]);
        assert_eq!(candidates(b"sh", b"/a::/b"), ["/a/sh", "./sh", "/b/sh"].map(PathBuf::from));
        assert!(candidates(b"", b"/a").is_empty());
    }
}
