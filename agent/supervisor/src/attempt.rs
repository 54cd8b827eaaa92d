//! One try of a health check: a program beside the workload, or a connection inside its network namespace.

use std::ffi::CString;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use berth_process::program::Stdio;
use berth_runtime::health::{Probe, judge, request};
use berth_sys::process::{Child, close_on_exec_from, default_signals, signal_pidfd, spawn};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::host::inside;

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
pub const MAX_OUTPUT: usize = 4096;

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

/// A connection, tried on one of the instance's addresses after the other.
pub struct Stream {
    socket: OwnedFd,
    rest: Vec<SocketAddr>,
    /// Empty for a connection alone.
    request: Vec<u8>,
    sent: usize,
    answer: Vec<u8>,
    connected: bool,
}

impl Stream {
    /// Begins with the loopback, where that is the workload's.
    pub fn new(
        probe: &Probe,
        loopback: bool,
        own: impl Iterator<Item = IpAddr>,
        network: &OwnedFd,
    ) -> io::Result<Self> {
        let (port, request) = match probe {
            Probe::Exec { .. } => (0, Vec::new()),
            Probe::Tcp { port } => (*port, Vec::new()),
            Probe::Http { port, tls: Some(_), .. } => (*port, Vec::new()),
            Probe::Http { port, path, tls: None } => (*port, request(*port, path)),
        };
        let addresses = loopback.then_some(IpAddr::V4(Ipv4Addr::LOCALHOST)).into_iter().chain(own);
        let mut rest: Vec<_> = addresses.map(|address| SocketAddr::new(address, port)).collect();
        if rest.is_empty() {
            return Err(io::Error::other("it has no address"));
        }
        let socket = next(&mut rest, network)?;
        Ok(Self { socket, rest, request, sent: 0, answer: Vec::new(), connected: false })
    }

    /// For who speaks on a connection that has come about.
    pub fn into_socket(self) -> OwnedFd {
        self.socket
    }

    pub fn is_writing(&self) -> bool {
        !self.connected || self.sent < self.request.len()
    }

    /// Goes on as far as it can without waiting.
    pub fn progress(&mut self, network: &OwnedFd) -> Option<Verdict> {
        match self.go_on(network) {
            Ok(verdict) => verdict,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => Some(Verdict::Ill(error.to_string())),
        }
    }

    fn go_on(&mut self, network: &OwnedFd) -> io::Result<Option<Verdict>> {
        while !self.connected {
            match sockopt::socket_error(&self.socket)? {
                // No error, and no peer: it is under way.
                Ok(()) => match rustix::net::getpeername(&self.socket) {
                    Ok(_) => self.connected = true,
                    Err(_) => return Ok(None),
                },
                Err(error) if self.rest.is_empty() => return Err(error.into()),
                Err(_) => self.socket = next(&mut self.rest, network)?,
            }
        }
        if self.request.is_empty() {
            return Ok(Some(Verdict::Well("connected".to_owned())));
        }
        while self.sent < self.request.len() {
            self.sent += rustix::io::write(&self.socket, &self.request[self.sent..])?;
        }
        let mut buffer = [0; 512];
        loop {
            if let Some(verdict) = judge(&self.answer) {
                return Ok(Some(verdict.map_or_else(Verdict::Ill, Verdict::Well)));
            }
            match rustix::io::read(&self.socket, &mut buffer)? {
                0 => return Ok(Some(Verdict::Ill("the connection ended without an answer".to_owned()))),
                length => self.answer.extend_from_slice(&buffer[..length]),
            }
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A connection on its way to the first of the addresses that does not refuse at once. On the loopback a refusal comes at
/// once.
fn next(addresses: &mut Vec<SocketAddr>, network: &OwnedFd) -> io::Result<OwnedFd> {
    loop {
        let to = addresses.remove(0);
        match connect(to, network) {
            Err(_) if !addresses.is_empty() => {}
            result => return result,
        }
    }
}

fn connect(to: SocketAddr, network: &OwnedFd) -> io::Result<OwnedFd> {
    inside(network, || {
        let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        match rustix::net::connect(&socket, &to) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(socket),
            Err(error) => Err(error.into()),
        }
    })?
}
