//! The event loop.
//!
//! ```text
//! Waiting --Start--> Running --the workload ended, or Shutdown--> all killed, last words sent, power off
//!    \--it could not be started--> Failed sent, power off
//! ```

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use berth_guest_protocol::frame::{Frame, Stream};
use berth_guest_protocol::link::Guest;
use berth_guest_protocol::message::{GuestSpec, Resources as Wanted, Stats, ToGuest, ToHost};
use berth_guest_protocol::{VERSION, WORKLOAD};
use berth_process::failure::errno_at;
use berth_runtime::launch::{LaunchError, Stage};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::boot::Booted;
use crate::machine::become_machine;
use crate::network::Network;
use crate::resources::{INTERVAL_MS, Resources};
use crate::session::Session;

/// Beyond this, no more output of programs is taken until the host has read some: the credit of one stream.
const MAX_BACKLOG: usize = 256 * 1024;

struct Server {
    port: OwnedFd,
    link: Guest,
    signals: SignalFd,
    sessions: BTreeMap<u16, Session>,
    resources: Resources,
    /// What the host has asked for and is not so yet, under its number.
    wanted: Option<(u32, Wanted)>,
    network: Network,
    /// The machine's end.
    over: bool,
}

#[derive(Clone, Copy)]
enum Token {
    Port,
    Signals,
    /// A device or an address came or went.
    Links,
    Input(u16),
    Output(u16, Stream),
}

/// Serves the port until the workload has ended and the host has been told.
pub fn serve(booted: Booted) {
    let Ok(signals) = child_signals() else { return };
    let Booted { port, resources, network } = booted;
    let (link, sessions) = (Guest::new(), BTreeMap::new());
    let mut server = Server { port, link, signals, sessions, resources, wanted: None, network, over: false };
    while !server.over {
        server.turn();
    }
    server.flush();
}

fn child_signals() -> Result<SignalFd, LaunchError> {
    let at = || errno_at(Stage::Init, "signals");
    // A reader who is gone is an error to be seen, not an end.
    let _ = berth_sys::process::ignore_broken_pipes();
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.thread_block().map_err(at())?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map_err(at())
}

impl Server {
    fn turn(&mut self) {
        for (token, flags) in self.wait() {
            match token {
                Token::Port => {
                    if flags.contains(PollFlags::POLLOUT) {
                        self.write();
                    }
                    if flags.intersects(PollFlags::POLLIN | PollFlags::POLLHUP) {
                        self.read();
                    }
                }
                Token::Signals => {
                    while let Ok(Some(_)) = self.signals.read_signal() {}
                    self.reap();
                }
                // What has come is looked at below.
                Token::Links => self.network.noticed(),
                Token::Input(number) => {
                    if let Some(session) = self.sessions.get_mut(&number) {
                        session.write(&mut self.link);
                    }
                }
                Token::Output(number, stream) => {
                    if let Some(session) = self.sessions.get_mut(&number) {
                        session.read(stream, &mut self.link);
                    }
                }
            }
        }
        self.settle();
        self.close_ended();
        self.write();
    }

    fn settle(&mut self) {
        if let Some((number, _)) = self.wanted.take_if(|(_, wanted)| self.resources.settle(*wanted)) {
            self.link.say(&ToHost::Has { number });
        }
        if let Some((number, outcome)) = self.network.settle() {
            self.link.say(&ToHost::Connected { number, error: outcome.err() });
        }
        // A host that does not read hears of what there is when it does.
        if self.link.output().len() <= MAX_BACKLOG
            && let Some(interfaces) = self.network.news()
        {
            self.link.say(&ToHost::Addresses { interfaces });
        }
    }

    fn wait(&mut self) -> Vec<(Token, PollFlags)> {
        let mut tokens: Vec<(Token, BorrowedFd<'_>, PollFlags)> = Vec::new();
        let mut port = PollFlags::POLLIN;
        if !self.link.output().is_empty() {
            port |= PollFlags::POLLOUT;
        }
        tokens.push((Token::Port, self.port.as_fd(), port));
        tokens.push((Token::Signals, self.signals.as_fd(), PollFlags::POLLIN));
        tokens.extend(self.network.waits_for().map(|fd| (Token::Links, fd, PollFlags::POLLIN)));
        let is_full = self.link.output().len() > MAX_BACKLOG;
        let mut ended = false;
        for (number, session) in &self.sessions {
            if let Some(fd) = session.wants_to_write() {
                tokens.push((Token::Input(*number), fd, PollFlags::POLLOUT));
            }
            if !is_full {
                let readable = session.readable(&mut self.link);
                ended |= session.has_ended() && !readable.is_empty();
                tokens.extend(
                    readable
                        .into_iter()
                        .map(|(stream, fd)| (Token::Output(*number, stream), fd, PollFlags::POLLIN)),
                );
            }
        }
        let mut polled: Vec<_> = tokens.iter().map(|(_, fd, flags)| PollFd::new(*fd, *flags)).collect();
        // What an ended program left is read until there is no more, which no event tells.
        let timeout = match &self.wanted {
            _ if ended => PollTimeout::ZERO,
            Some(_) => PollTimeout::from(INTERVAL_MS),
            None => PollTimeout::NONE,
        };
        if poll(&mut polled, timeout).is_err() {
            return Vec::new();
        }
        let happened = polled.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        let ready = tokens.iter().zip(happened).filter(|((token, ..), flags)| {
            let of_ended = |number| self.sessions.get(&number).is_some_and(Session::has_ended);
            !flags.is_empty() || matches!(token, Token::Output(number, _) if of_ended(*number))
        });
        ready.map(|((token, ..), flags)| (*token, flags)).collect()
    }

    fn read(&mut self) {
        let mut buffer = [0; 64 * 1024];
        let length = match nix::unistd::read(&self.port, &mut buffer) {
            Ok(length) => length,
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => return,
            Err(_) => 0,
        };
        // The supervisor is gone, or talks nonsense: so is what the machine is for.
        let frames =
            if length == 0 { Vec::new() } else { self.link.feed(&buffer[..length]).unwrap_or_default() };
        self.over |= length == 0;
        for frame in frames {
            match frame {
                Frame::Message(message) => self.answer(message),
                Frame::Data { session, bytes, .. } => {
                    if let Some(session) = self.sessions.get_mut(&session) {
                        session.input(&bytes, &mut self.link);
                    }
                }
            }
        }
    }

    fn write(&mut self) {
        while !self.link.output().is_empty() {
            match nix::unistd::write(&self.port, self.link.output()) {
                Ok(length) => self.link.sent(length),
                Err(nix::errno::Errno::EINTR) => {}
                Err(_) => return,
            }
        }
    }

    /// Waits until the host has all.
    fn flush(&mut self) {
        while !self.link.output().is_empty() {
            let mut port = [PollFd::new(self.port.as_fd(), PollFlags::POLLOUT)];
            if poll(&mut port, PollTimeout::NONE).is_err() {
                continue;
            }
            let flags = port[0].revents().unwrap_or(PollFlags::empty());
            if flags.intersects(PollFlags::POLLHUP | PollFlags::POLLERR) {
                return;
            }
            self.write();
        }
    }

    fn answer(&mut self, message: ToGuest) {
        match message {
            ToGuest::Start(spec) => self.start(&spec),
            ToGuest::Exec { session, process, terminal } => {
                let started = Session::start(session, &process, terminal, true);
                self.note(session, started);
            }
            ToGuest::Connect { session, port, loopback } => {
                let places = self.network.places(port, loopback);
                match Session::connect(session, places, &mut self.link) {
                    Ok(connection) => {
                        self.sessions.insert(session, connection);
                    }
                    Err(error) => self.link.close(session, &ToHost::Failed { session, error }),
                }
            }
            ToGuest::Signal { session, signal } => {
                if let Some(session) = self.sessions.get_mut(&session) {
                    session.signal(signal);
                }
            }
            ToGuest::Resize { session, size } => {
                if let Some(session) = self.sessions.get(&session) {
                    session.resize(size);
                }
            }
            // The link has taken it.
            ToGuest::Credit { .. } => {}
            ToGuest::Resources { number, resources } => self.wanted = Some((number, resources)),
            ToGuest::Interfaces { number, interfaces } => self.network.ask(number, interfaces),
            ToGuest::Forget => self.resources.forget(),
            ToGuest::Stats => self.link.say(&ToHost::Stats(stats())),
            ToGuest::Shutdown => self.over = true,
        }
    }

    fn start(&mut self, spec: &GuestSpec) {
        let started = if spec.version == VERSION {
            let ready = self.resources.await_all(spec.resources);
            let ready = ready.and_then(|()| become_machine(spec, &mut self.network));
            ready.and_then(|()| Session::start(WORKLOAD, &spec.process, None, false))
        } else {
            Err(LaunchError { stage: Stage::Spec, errno: 0, path: "the guest's protocol".into() })
        };
        self.over |= started.is_err();
        self.note(WORKLOAD, started);
    }

    fn note(&mut self, number: u16, started: Result<Session, LaunchError>) {
        match started {
            Ok(session) => {
                self.sessions.insert(number, session);
                self.link.say(&ToHost::Started { session: number });
            }
            Err(error) => self.link.close(number, &ToHost::Failed { session: number, error }),
        }
    }

    fn reap(&mut self) {
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            let (pid, code, signal) = match status {
                WaitStatus::Exited(pid, code) => (pid, code, None),
                WaitStatus::Signaled(pid, signal, _) => (pid, 128 + signal as i32, Some(signal as i32)),
                WaitStatus::StillAlive => return,
                _ => continue,
            };
            // All others are orphans.
            if let Some(session) = self.sessions.values_mut().find(|session| session.is_of(pid)) {
                session.ended(code, signal);
            }
        }
    }

    fn close_ended(&mut self) {
        let ended: Vec<_> =
            self.sessions.iter().filter_map(|(number, session)| Some((*number, session.last()?))).collect();
        for (number, last) in ended {
            if number == WORKLOAD {
                self.end_all();
            }
            self.sessions.remove(&number);
            self.link.close(number, &last);
            self.over |= number == WORKLOAD;
        }
    }

    /// The workload has ended: so does all else, and it is on the host's disks before the host is told.
    fn end_all(&mut self) {
        let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
        while let Ok(status) = waitpid(None, None) {
            let (pid, code) = match status {
                WaitStatus::Exited(pid, code) => (pid, code),
                WaitStatus::Signaled(pid, signal, _) => (pid, 128 + signal as i32),
                _ => continue,
            };
            if let Some((number, _)) = self
                .sessions
                .extract_if(.., |number, session| *number != WORKLOAD && session.is_of(pid))
                .next()
            {
                self.link.close(number, &ToHost::Exited { session: number, code, signal: None });
            }
        }
        nix::unistd::sync();
    }
}

fn stats() -> Stats {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let memory = read("/proc/meminfo");
    let of = |key: &str| {
        let line = memory.lines().find_map(|line| line.strip_prefix(key))?;
        Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
    };
    let total = of("MemTotal:").unwrap_or(0);
    let mut stats = Stats {
        memory_total: total,
        memory_bytes: total.saturating_sub(of("MemAvailable:").unwrap_or(0)),
        ..Stats::default()
    };
    // "0.00 0.01 0.05 1/62 1234": those that run, and all.
    let tasks = read("/proc/loadavg")
        .split_whitespace()
        .nth(3)
        .and_then(|field| field.split_once('/')?.1.parse().ok());
    stats.pids = tasks.unwrap_or(0);
    for line in read("/proc/net/dev").lines() {
        let Some((name, numbers)) = line.split_once(':') else { continue };
        let number = |index| numbers.split_whitespace().nth(index)?.parse::<u64>().ok();
        if name.trim() != "lo" {
            stats.received_bytes += number(0).unwrap_or(0);
            stats.sent_bytes += number(8).unwrap_or(0);
        }
    }
    stats
}
