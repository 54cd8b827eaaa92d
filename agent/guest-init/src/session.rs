//! A program that runs in the guest, or a connection to a port of it, and its streams.
//!
//! ```text
//! a program:    start -> Started said -> streams -> ended, and all sent -> Exited to be said
//! a connection: connect -> under way -> Started said -> streams -> the other side ended it -> Exited to be said
//!                                  \--nobody listens, signalled--> Failed to be said
//! ```

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use berth_guest_protocol::frame::{MAX_DATA, Stream};
use berth_guest_protocol::link::Guest;
use berth_guest_protocol::message::{Size, ToHost};
use berth_process::failure::{FailurePipe, launch_error};
use berth_process::program::{Stdio, become_program};
use berth_process::rlimits;
use berth_runtime::launch::{LaunchError, Stage};
use berth_runtime::spec::ProcessSpec;
use berth_sys::connect::Connecting;
use berth_sys::process::{resize_terminal, signal_pidfd, spawn};
use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use rustix::net::Shutdown;

/// What is not reached.
const PORT: &str = "a port of the machine's";

/// Lasts until what it is of has ended and all that came of it is sent.
pub struct Session {
    number: u16,
    kind: Kind,
    /// Closed once the input is at its end and passed on.
    stdin: Option<File>,
    pending: VecDeque<u8>,
    input_ended: bool,
    outputs: Vec<(Stream, File)>,
    /// How it ended.
    last: Option<ToHost>,
}

enum Kind {
    Program {
        pid: Pid,
        pidfd: OwnedFd,
        is_terminal: bool,
    },
    /// A connection that is under way.
    Connecting(Connecting),
    Connection,
}

/// The ends of a program's streams that stay here.
struct Ends {
    stdin: Option<File>,
    outputs: Vec<(Stream, File)>,
    /// Sends the terminal's master.
    master: Option<OwnedFd>,
}

impl Session {
    /// Starts a program. With no terminal and `with_input` false it reads from /dev/null, as a workload does.
    pub fn start(
        number: u16,
        process: &ProcessSpec,
        terminal: Option<Size>,
        with_input: bool,
    ) -> Result<Self, LaunchError> {
        let at = || launch_error(Stage::Exec, "a pipe");
        let (mut ends, stdio) = streams(terminal.is_some(), with_input).map_err(at())?;
        let failures = FailurePipe::new().map_err(at())?;
        let child = spawn(CloneFlags::empty(), None, || {
            rlimits::raise(&process.rlimits);
            become_program(process, &stdio, &[], &failures)
        })
        .map_err(launch_error(Stage::Exec, "the program"))?;
        drop(stdio);
        if let Err(error) = failures.wait(Stage::Exec) {
            let _ = nix::sys::wait::waitpid(child.pid, None);
            return Err(error);
        }
        if let Some(socket) = ends.master.take() {
            ends.open_terminal(&socket, terminal).map_err(launch_error(Stage::Exec, "/dev/ptmx"))?;
        }
        let files = ends.outputs.iter().map(|(_, file)| file).chain(&ends.stdin);
        files
            .into_iter()
            .try_for_each(|file| rustix::io::ioctl_fionbio(file, true))
            .map_err(|error| at()(error.into()))?;
        let kind = Kind::Program { pid: child.pid, pidfd: child.pidfd, is_terminal: terminal.is_some() };
        Ok(Self { stdin: ends.stdin, outputs: ends.outputs, ..Self::of(number, kind) })
    }

    /// Begins to connect to the first of these places where somebody listens. It says itself when that has come about.
    pub fn connect(number: u16, places: Vec<SocketAddr>, link: &mut Guest) -> Result<Self, LaunchError> {
        let to = Connecting::begin(places).map_err(launch_error(Stage::Connect, PORT))?;
        let mut session = Self::of(number, Kind::Connecting(to));
        // On the loopback it has.
        session.write(link);
        Ok(session)
    }

    fn of(number: u16, kind: Kind) -> Self {
        let (pending, outputs) = (VecDeque::new(), Vec::new());
        Self { number, kind, stdin: None, pending, input_ended: false, outputs, last: None }
    }

    /// Whether this is its program's.
    pub fn is_of(&self, process: Pid) -> bool {
        matches!(self.kind, Kind::Program { pid, .. } if pid == process)
    }

    /// Input; none is its end.
    pub fn input(&mut self, bytes: &[u8], link: &mut Guest) {
        if bytes.is_empty() {
            self.input_ended = true;
        } else if self.stdin.is_some() || matches!(self.kind, Kind::Connecting(_)) {
            // Bounded by the credit that the host had.
            self.pending.extend(bytes);
        } else {
            link.consumed(self.number, bytes.len());
        }
        self.write(link);
    }

    /// What to wait for before [`Self::write`].
    pub fn wants_to_write(&self) -> Option<BorrowedFd<'_>> {
        if let Kind::Connecting(to) = &self.kind {
            return Some(to.as_fd());
        }
        self.stdin.as_ref().filter(|_| !self.pending.is_empty()).map(AsFd::as_fd)
    }

    /// Passes input on as far as it is taken; a connection comes about first.
    pub fn write(&mut self, link: &mut Guest) {
        self.go_on_connecting(link);
        while let Some(file) = &mut self.stdin
            && !self.pending.is_empty()
        {
            match file.write(self.pending.as_slices().0) {
                Ok(length) => {
                    self.pending.drain(..length);
                    link.consumed(self.number, length);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    // Nobody reads any more: what else comes is let go.
                    link.consumed(self.number, self.pending.len());
                    self.pending.clear();
                    self.stdin = None;
                }
            }
        }
        if self.input_ended {
            self.end_input();
        }
    }

    fn end_input(&mut self) {
        match (&self.kind, &self.stdin) {
            // A terminal has no end of its own; its reader hears of it by ^D.
            (Kind::Program { is_terminal: true, .. } | Kind::Connecting(_), _) | (_, None) => {}
            (Kind::Program { .. }, Some(_)) => self.stdin = None,
            (Kind::Connection, Some(socket)) => {
                // What is wrong with it is seen at its output.
                let _ = rustix::net::shutdown(socket, Shutdown::Write);
                self.stdin = None;
            }
        }
    }

    fn go_on_connecting(&mut self, link: &mut Guest) {
        let Kind::Connecting(to) = &mut self.kind else { return };
        match to.progress() {
            Ok(false) => {}
            Ok(true) => self.connected(link),
            Err(error) => self.fail(error),
        }
    }

    fn connected(&mut self, link: &mut Guest) {
        let Kind::Connecting(to) = std::mem::replace(&mut self.kind, Kind::Connection) else { return };
        let output = File::from(to.into_socket());
        match output.try_clone() {
            Ok(input) => {
                (self.stdin, self.outputs) = (Some(input), vec![(Stream::Stdout, output)]);
                link.say(&ToHost::Started { session: self.number });
            }
            Err(error) => self.fail(error),
        }
    }

    /// There is no connection, and there will be none.
    fn fail(&mut self, error: io::Error) {
        (self.kind, self.pending) = (Kind::Connection, VecDeque::new());
        let error = launch_error(Stage::Connect, PORT)(error);
        self.last = Some(ToHost::Failed { session: self.number, error });
    }

    /// The outputs that may be read now.
    pub fn readable(&self, link: &mut Guest) -> Vec<(Stream, BorrowedFd<'_>)> {
        let open = self.outputs.iter();
        open.filter(|(stream, _)| link.output_room(self.number, *stream) > 0)
            .map(|(stream, file)| (*stream, file.as_fd()))
            .collect()
    }

    /// Sends what the program wrote, as far as the host takes it.
    pub fn read(&mut self, stream: Stream, link: &mut Guest) {
        let Some(index) = self.outputs.iter().position(|(known, _)| *known == stream) else { return };
        let mut buffer = [0; MAX_DATA];
        let room = link.output_room(self.number, stream).min(MAX_DATA);
        if room == 0 {
            return;
        }
        match self.outputs[index].1.read(&mut buffer[..room]) {
            Ok(length @ 1..) => link.data(self.number, stream, &buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // Its program has ended and wrote no more: who else holds the pipe is not waited for.
                if self.last.is_some() {
                    self.outputs.remove(index);
                }
            }
            // A terminal says EIO when its last program has gone.
            end => {
                self.outputs.remove(index);
                link.data(self.number, stream, b"");
                if matches!(self.kind, Kind::Connection) {
                    self.ended(end.err().and_then(|error| error.raw_os_error()).unwrap_or(0), None);
                }
            }
        }
    }

    /// Signals its program; ends its connection.
    pub fn signal(&mut self, signal: i32) {
        match &self.kind {
            Kind::Program { pidfd, .. } => {
                if let Ok(signal) = Signal::try_from(signal) {
                    let _ = signal_pidfd(pidfd.as_fd(), signal);
                }
            }
            Kind::Connecting(_) => self.fail(Errno::ECANCELED.into()),
            Kind::Connection => {
                (self.stdin, self.outputs) = (None, Vec::new());
                self.ended(128 + signal, Some(signal));
            }
        }
    }

    pub fn resize(&self, size: Size) {
        if matches!(self.kind, Kind::Program { is_terminal: true, .. })
            && let Some((_, master)) = self.outputs.first()
        {
            let _ = resize_terminal(master.as_fd(), size.rows, size.columns);
        }
    }

    /// Its program was reaped, or its connection ended.
    pub fn ended(&mut self, code: i32, signal: Option<i32>) {
        self.last.get_or_insert(ToHost::Exited { session: self.number, code, signal });
    }

    /// Its last word, once all is sent.
    pub fn last(&self) -> Option<ToHost> {
        self.last.clone().filter(|_| self.outputs.is_empty())
    }

    /// Whether it has ended, and only the outputs are left to be sent.
    pub fn has_ended(&self) -> bool {
        self.last.is_some()
    }
}

fn streams(terminal: bool, with_input: bool) -> io::Result<(Ends, Stdio)> {
    if terminal {
        let (here, there) = std::os::unix::net::UnixStream::pair()?;
        let ends = Ends { stdin: None, outputs: Vec::new(), master: Some(here.into()) };
        return Ok((ends, Stdio::Terminal { master_to: there.into() }));
    }
    let (stdout, stdout_writer) = io::pipe()?;
    let (stderr, stderr_writer) = io::pipe()?;
    let file = |reader: io::PipeReader| File::from(OwnedFd::from(reader));
    let outputs = vec![(Stream::Stdout, file(stdout)), (Stream::Stderr, file(stderr))];
    let (stdout, stderr) = (stdout_writer.into(), stderr_writer.into());
    if !with_input {
        return Ok((Ends { stdin: None, outputs, master: None }, Stdio::Log { stdout, stderr }));
    }
    let (stdin, stdin_writer) = io::pipe()?;
    let ends = Ends { stdin: Some(OwnedFd::from(stdin_writer).into()), outputs, master: None };
    Ok((ends, Stdio::given(stdin.into(), stdout, stderr, 0)?))
}

impl Ends {
    fn open_terminal(&mut self, socket: &OwnedFd, size: Option<Size>) -> io::Result<()> {
        let (_, descriptors) = berth_sys::socket::receive_with_descriptors(socket.as_fd(), &mut [0; 1])?;
        let master = descriptors.into_iter().next().ok_or(io::ErrorKind::UnexpectedEof)?;
        if let Some(size) = size {
            resize_terminal(master.as_fd(), size.rows, size.columns)?;
        }
        self.stdin = Some(master.try_clone()?.into());
        self.outputs.push((Stream::Stdout, master.into()));
        Ok(())
    }
}
