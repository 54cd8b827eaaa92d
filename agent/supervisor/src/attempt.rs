//! One try of a health check: a program beside the workload, or a connection inside its network namespace.

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use berth_process::program::Stdio;
use berth_runtime::health::Probe;
use berth_sys::process::{Child, signal_pidfd};
use nix::sys::signal::Signal;
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
            Probe::Http { port, path } => (*port, request(*port, path)),
        };
        let addresses = loopback.then_some(IpAddr::V4(Ipv4Addr::LOCALHOST)).into_iter().chain(own);
        let mut rest: Vec<_> = addresses.map(|address| SocketAddr::new(address, port)).collect();
        if rest.is_empty() {
            return Err(io::Error::other("it has no address"));
        }
        let socket = next(&mut rest, network)?;
        Ok(Self { socket, rest, request, sent: 0, answer: Vec::new(), connected: false })
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
                return Ok(Some(verdict));
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

fn request(port: u16, path: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nUser-Agent: berth-health\r\nAccept: */*\r\nConnection: \
         close\r\n\r\n"
    )
    .into_bytes()
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

/// What the first line of an answer says, once it is whole.
fn judge(answer: &[u8]) -> Option<Verdict> {
    const LONGEST: usize = 1024;
    let Some(end) = answer.iter().position(|byte| *byte == b'\n') else {
        let long = answer.len() > LONGEST;
        return long.then(|| Verdict::Ill("the answer is not HTTP".to_owned()));
    };
    let line = String::from_utf8_lossy(&answer[..end]);
    let line = line.trim_end();
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)?.parse::<u16>().ok());
    Some(match status {
        Some(200..=399) => Verdict::Well(line.to_owned()),
        Some(_) => Verdict::Ill(line.to_owned()),
        None => Verdict::Ill("the answer is not HTTP".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(answer: &[u8]) -> Option<bool> {
        judge(answer).map(|verdict| matches!(verdict, Verdict::Well(_)))
    }

    #[test]
    fn the_status_of_an_answer_is_its_verdict() {
        assert_eq!(said(b"HTTP/1.1 20"), None);
        assert_eq!(said(b"HTTP/1.1 200 OK\r\n"), Some(true));
        assert_eq!(said(b"HTTP/1.0 301 Moved\r\nLocation"), Some(true));
        assert_eq!(said(b"HTTP/1.1 503 Busy\r\n"), Some(false));
        assert_eq!(said(b"SSH-2.0\n"), Some(false));
        assert_eq!(said(&[b'x'; 2000]), Some(false));
    }
}
