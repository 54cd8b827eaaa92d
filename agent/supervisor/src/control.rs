//! Connections to the control socket: lines in, lines out, descriptors beside them.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use berth_runtime::control::{MAX_LINE, Request, Response, SOCKET};
use berth_sys::process::Child;
use berth_sys::socket::receive_with_descriptors;

use crate::machine::Pump;

/// What a reader may leave unread before it is given up, in bytes.
const MAX_UNREAD: usize = 1 << 20;

/// Opens the control socket of an instance; only root can connect.
pub fn listen(run_dir: &Path) -> io::Result<UnixListener> {
    let path = run_dir.join(SOCKET);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let before = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o177));
    let listener = UnixListener::bind(&path);
    nix::sys::stat::umask(before);
    let listener = listener?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// What a caller has started.
pub enum Exec {
    /// Of this host.
    Process(Child),
    /// Of a machine's guest.
    Guest(Pump),
    /// No program, but a connection in a machine's guest, of which it is to hear whether it came about.
    Reach(u16),
}

/// One caller.
pub struct Connection {
    stream: UnixStream,
    input: Vec<u8>,
    output: VecDeque<u8>,
    /// Descriptors that came and that no request has taken yet.
    pub descriptors: Vec<OwnedFd>,
    /// Whether it wants events.
    pub watching: bool,
    /// Whether it is to hear how an update went.
    pub awaits_update: bool,
    /// What it started.
    pub exec: Option<Exec>,
    open: bool,
}

impl Connection {
    /// Takes the next caller, if one waits.
    pub fn accept(listener: &UnixListener) -> Option<Self> {
        let (stream, _) = listener.accept().ok()?;
        stream.set_nonblocking(true).ok()?;
        Some(Self {
            stream,
            input: Vec::new(),
            output: VecDeque::new(),
            descriptors: Vec::new(),
            watching: false,
            awaits_update: false,
            exec: None,
            open: true,
        })
    }

    /// The streams of the program that it started in a guest.
    pub fn pump(&mut self) -> Option<&mut Pump> {
        match &mut self.exec {
            Some(Exec::Guest(pump)) => Some(pump),
            _ => None,
        }
    }

    /// Whether there is somebody to talk to, or a program of his to wait for.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Whether something waits to be sent.
    pub fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Reads what has come and returns the requests that are whole.
    pub fn read(&mut self) -> Vec<Request> {
        let mut buffer = [0; 16 * 1024];
        loop {
            match receive_with_descriptors(self.stream.as_fd(), &mut buffer) {
                Ok((0, _)) => {
                    self.open = false;
                    break;
                }
                Ok((length, descriptors)) => {
                    self.input.extend_from_slice(&buffer[..length]);
                    self.descriptors.extend(descriptors);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.open = false;
                    break;
                }
            }
        }
        self.take_requests()
    }

    fn take_requests(&mut self) -> Vec<Request> {
        let mut requests = Vec::new();
        while let Some(end) = self.input.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.input.drain(..=end).collect();
            match serde_json::from_slice(&line) {
                Ok(request) => requests.push(request),
                Err(error) => self.send(&Response::Refused { reason: format!("no such request: {error}") }),
            }
        }
        if self.input.len() > MAX_LINE {
            self.open = false;
        }
        requests
    }

    /// Queues an answer and sends what can be sent.
    pub fn send(&mut self, response: &Response) {
        if let Ok(line) = serde_json::to_vec(response) {
            self.output.extend(line);
            self.output.push_back(b'\n');
        }
        if self.output.len() > MAX_UNREAD {
            self.open = false;
        }
        self.flush();
    }

    /// Sends what can be sent without waiting.
    pub fn flush(&mut self) {
        while !self.output.is_empty() {
            let (front, _) = self.output.as_slices();
            match (&self.stream).write(front) {
                Ok(0) => break,
                Ok(length) => drop(self.output.drain(..length)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.open = false;
                    break;
                }
            }
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
