//! One try of a health check: a program beside the workload, a connection inside its network namespace, or either in a machine's
//! guest.

mod guest;
mod stream;

use std::ffi::CString;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use berth_process::program::Stdio;
use berth_runtime::health::{Probe, judge, request};
use berth_sys::process::{Child, close_on_exec_from, default_signals, signal_pidfd, spawn};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid};

pub use self::guest::InGuest;
pub use self::stream::Stream;

/// How a try ended, and what it said.
pub enum Verdict {
    Well(String),
    Ill(String),
}

impl Verdict {
    /// Of a program that has ended, and said something.
    pub fn of(code: i32, text: String) -> Self {
        if code == 0 { Self::Well(text) } else { Self::Ill(format!("exit code {code}: {text}")) }
    }
}

/// What is said on a connection, and heard; where the connection is all that is asked for, nothing.
struct Talk {
    request: Vec<u8>,
    sent: usize,
    answer: Vec<u8>,
}

impl Talk {
    /// What a program that speaks TLS says is its own.
    fn new(probe: &Probe) -> Self {
        let request = match probe {
            Probe::Http { port, path, tls: None } => request(*port, path),
            Probe::Http { tls: Some(_), .. } | Probe::Tcp { .. } | Probe::Exec { .. } => Vec::new(),
        };
        Self { request, sent: 0, answer: Vec::new() }
    }

    /// There is a connection.
    fn begun(&self) -> Option<Verdict> {
        self.request.is_empty().then(|| Verdict::Well("connected".to_owned()))
    }

    /// What is still to be said.
    fn left(&self) -> &[u8] {
        &self.request[self.sent..]
    }

    fn said(&mut self, bytes: usize) {
        self.sent += bytes;
    }

    fn heard(&mut self, bytes: &[u8]) -> Option<Verdict> {
        self.answer.extend_from_slice(bytes);
        Some(judge(&self.answer)?.map_or_else(Verdict::Ill, Verdict::Well))
    }

    /// The connection has ended.
    fn ended() -> Verdict {
        Verdict::Ill("the connection ended without an answer".to_owned())
    }
}

/// A program of the host's, as nobody, with the connection as its input and the pipe as its output.
pub fn over_tls(
    program: &Path,
    port: u16,
    path: &str,
    connection: &OwnedFd,
    output: &OwnedFd,
) -> io::Result<Child> {
    // Opened while that is allowed, wherever it is.
    let opened = std::fs::File::open(program)?;
    let c_string = |text: &[u8]| CString::new(text).map_err(io::Error::other);
    let arguments = [
        c_string(program.as_os_str().as_bytes())?,
        c_string(port.to_string().as_bytes())?,
        c_string(path.as_bytes())?,
    ];
    let become_it = || -> io::Result<()> {
        nix::unistd::dup2_stdin(connection)?;
        nix::unistd::dup2_stdout(output)?;
        nix::unistd::dup2_stderr(output)?;
        close_on_exec_from(3)?;
        default_signals()?;
        nix::sys::signal::SigSet::empty().thread_set_mask()?;
        let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        nix::unistd::setgroups(&[])?;
        nix::unistd::setresgid(gid, gid, gid)?;
        nix::unistd::setresuid(uid, uid, uid)?;
        nix::sys::prctl::set_no_new_privs()?;
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
        let environment: [CString; 0] = [];
        let Err(errno) = nix::unistd::fexecve(&opened, &arguments, &environment);
        Err(errno.into())
    };
    spawn(nix::sched::CloneFlags::empty(), None, || {
        if let Err(error) = become_it() {
            // Its words are the verdict's.
            let _ = rustix::io::write(output, format!("{}: {error}", program.display()).as_bytes());
        }
        127
    })
}

/// Owner of nothing.
const NOBODY: u32 = 65_534;

/// As much of what a try says is kept, in bytes.
const MAX_OUTPUT: usize = 4096;

/// A program that runs.
pub struct Exec {
    child: Option<Child>,
    output: std::fs::File,
    text: Vec<u8>,
}

/// A pipe for a program's output, and the program's ends of its streams.
pub fn output(
    owner: u32,
    pipe: impl Fn(u32) -> io::Result<(std::fs::File, OwnedFd)>,
) -> io::Result<(std::fs::File, Stdio)> {
    let (reader, writer) = pipe(owner)?;
    let stderr = writer.try_clone()?;
    Ok((reader, Stdio::Log { stdout: writer, stderr }))
}

impl Exec {
    pub fn new(child: Child, output: std::fs::File) -> Self {
        Self { child: Some(child), output, text: Vec::new() }
    }

    pub fn waits_for(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        // Not for the output alone: at its end it would be ready for ever.
        self.child.iter().map(|child| child.pidfd.as_fd())
    }

    /// Takes what it wrote; tells how it ended, if it has.
    pub fn progress(&mut self) -> Option<Verdict> {
        let ended = self.child.as_ref().is_some_and(|child| {
            let mut fds = [nix::poll::PollFd::new(child.pidfd.as_fd(), nix::poll::PollFlags::POLLIN)];
            nix::poll::poll(&mut fds, nix::poll::PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
        });
        if !ended {
            return None;
        }
        let mut buffer = [0; MAX_OUTPUT];
        while let Ok(length @ 1..) = self.output.read(&mut buffer) {
            let room = MAX_OUTPUT.saturating_sub(self.text.len()).min(length);
            self.text.extend_from_slice(&buffer[..room]);
        }
        let child = self.child.take()?;
        let (code, _) = crate::supervise::reap(child.pid);
        let text = String::from_utf8_lossy(&self.text).into_owned();
        Some(Verdict::of(code, text))
    }

    /// Ends it, if it has not ended.
    pub fn kill(self) {
        if let Some(child) = self.child {
            let _ = signal_pidfd(child.pidfd.as_fd(), Signal::SIGKILL);
            let _ = crate::supervise::reap(child.pid);
        }
    }
}
