//! The event loop and the states of a workload.
//!
//! ```text
//! Running --exit, policy says again--> Waiting --delay over--> Running
//!    |  \--Stop, SIGTERM--> Running(stopping) --exit, or killed at the deadline--> gone
//!    \--exit, policy says no more--> gone            Waiting --Stop--> gone
//! ```

mod guest;
mod health;
mod hotplug;
mod leases;
mod mounts;
mod requests;
mod resize;
mod usage;
mod workload;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use berth_runtime::control::{Event, Response};
use berth_runtime::exit::{self, ExitRecord};
use berth_runtime::launch::{LaunchError, Report, Stage};
use berth_runtime::spec::LaunchSpec;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use self::health::Watch;
use self::hotplug::Hotplug;
use self::leases::{Addresses, OfGuest};
use self::resize::Resizing;
use self::workload::{Running, Waiting};
pub use self::workload::{now_ms, pipe, reap};
use crate::container::Profile;
use crate::control::{self, Connection, Exec};
use crate::dhcp::Client;
use crate::failure::{errno_at, launch_error};
use crate::host::Host;
use crate::log::{Log, Stream};
use crate::machine::Flow;

/// A supervisor whose workload has been started.
pub struct Supervisor {
    spec: LaunchSpec,
    host: Host,
    log: Log,
    profile: Profile,
    signals: SignalFd,
    listener: UnixListener,
    connections: Vec<Connection>,
    workload: Workload,
    check: Option<Watch>,
    leases: Vec<Client>,
    addresses: Option<Addresses>,
    of_guest: OfGuest,
    resizing: Option<Resizing>,
    hotplug: Option<Hotplug>,
    restarts: u32,
    /// Failures in a row, for the delay.
    in_a_row: u32,
    /// Who waits to hear how the start went.
    starting: Option<OwnedFd>,
    /// Why it did not go well.
    failed: Option<LaunchError>,
}

enum Workload {
    Running(Running),
    Waiting(Waiting),
    Gone(ExitRecord),
}

/// What a descriptor that became ready stands for.
#[derive(Clone, Copy)]
enum Token {
    Signals,
    Listener,
    Output(Stream),
    Workload,
    Connection(usize),
    Exec(usize),
    Check { writing: bool },
    Lease(usize),
    Guest,
    Console,
    Share,
    Monitor,
    Pump(usize, Flow),
    Addresses,
}

impl Supervisor {
    /// Opens the log and the control socket and starts the workload; a machine is not up then.
    pub fn start(spec: LaunchSpec, host: Host) -> Result<Self, Box<(Host, LaunchError)>> {
        let parts = open_parts(&spec);
        let (log, profile, signals, listener) = match parts {
            Ok(parts) => parts,
            Err(error) => return Err(Box::new((host, error))),
        };
        let running = match Running::start(&spec, &host, &profile) {
            Ok(running) => running,
            Err(error) => {
                let _ = std::fs::remove_file(spec.run_dir.join(berth_runtime::control::SOCKET));
                return Err(Box::new((host, error)));
            }
        };
        let mut spec = spec;
        if running.is_up() {
            crate::container::files::written(&mut spec.writes);
        }
        // What an earlier run left is not this one's.
        let _ = std::fs::remove_file(spec.run_dir.join(exit::FILE));
        let mut supervisor = Self {
            spec,
            host,
            log,
            profile,
            signals,
            listener,
            connections: Vec::new(),
            workload: Workload::Running(running),
            check: None,
            leases: Vec::new(),
            addresses: None,
            of_guest: OfGuest::default(),
            resizing: None,
            hotplug: None,
            restarts: 0,
            in_a_row: 0,
            starting: None,
            failed: None,
        };
        if supervisor.spec.vm.is_none() {
            supervisor.watch_health();
        }
        // A machine boots meanwhile.
        supervisor.take_leases();
        Ok(supervisor)
    }

    /// Watches until the workload is gone for good. `report`: where to tell how the start went.
    pub fn run(mut self, report: OwnedFd) {
        self.starting = Some(report);
        if matches!(&self.workload, Workload::Running(running) if running.is_up()) {
            self.tell_started();
        }
        while !matches!(self.workload, Workload::Gone(_)) {
            let ready = self.wait();
            for (token, flags) in ready {
                self.handle(token, flags);
            }
            self.after_deadlines();
            self.resize_due();
            self.hotplug_due();
            self.leases_due();
            self.tell_leases();
            if let Some(machine) = self.machine() {
                machine.write();
            }
            self.drop_closed();
        }
        self.finish();
    }

    /// Tells who waits for it that the workload's program was executed.
    fn tell_started(&mut self) {
        if let (Workload::Running(running), Some(report)) = (&self.workload, self.starting.take()) {
            let (pid, started_at_ms) = (running.pid(), running.started_at_ms);
            let _ = crate::report(report, &Report::Started { pid, started_at_ms });
            berth_sys::process::give_back_unused_memory();
        }
    }

    fn wait(&self) -> Vec<(Token, PollFlags)> {
        let mut tokens =
            vec![(Token::Signals, self.signals.as_fd()), (Token::Listener, self.listener.as_fd())];
        if let Workload::Running(running) = &self.workload {
            tokens.extend(running.outputs().map(|(stream, fd)| (Token::Output(stream), fd)));
            tokens.push((Token::Workload, running.pidfd()));
            tokens.extend(running.machine_fds());
            let link = running.shown_machine().map(|machine| &machine.link);
            let check = self.check.iter().flat_map(|check| check.waits_for(link));
            tokens.extend(check.map(|(fd, writing)| (Token::Check { writing }, fd)));
        }
        tokens.extend(
            self.leases.iter().enumerate().map(|(index, client)| (Token::Lease(index), client.as_fd())),
        );
        tokens.extend(self.addresses.iter().map(|it| (Token::Addresses, it.changes.as_fd())));
        for (index, connection) in self.connections.iter().enumerate() {
            tokens.push((Token::Connection(index), connection.as_fd()));
            match &connection.exec {
                Some(Exec::Process(child)) => tokens.push((Token::Exec(index), child.pidfd.as_fd())),
                Some(Exec::Guest(pump)) => {
                    let link = self.running_machine().map(|machine| &machine.link);
                    let fds = link.map(|link| pump.waits_for(link)).unwrap_or_default();
                    tokens.extend(fds.into_iter().map(|(flow, fd)| (Token::Pump(index, flow), fd)));
                }
                // The guest tells.
                Some(Exec::Reach(_)) | None => {}
            }
        }
        let mut polled: Vec<PollFd<'_>> =
            tokens.iter().map(|(token, fd)| PollFd::new(*fd, self.interest(*token))).collect();
        if poll(&mut polled, self.timeout()).is_err() {
            return Vec::new();
        }
        let ready = |(index, (token, _)): (usize, &(Token, BorrowedFd<'_>))| {
            let flags = polled[index].revents()?;
            (!flags.is_empty()).then_some((*token, flags))
        };
        tokens.iter().enumerate().filter_map(ready).collect()
    }

    fn interest(&self, token: Token) -> PollFlags {
        match token {
            Token::Connection(index) if self.connections[index].has_output() => {
                PollFlags::POLLIN | PollFlags::POLLOUT
            }
            // A caller that hung up is kept only for its program: its socket would be ready for ever.
            Token::Connection(index) if !self.connections[index].is_open() => PollFlags::empty(),
            Token::Check { writing: true } | Token::Pump(_, Flow::Out(_)) => PollFlags::POLLOUT,
            Token::Guest if self.running_machine().is_some_and(|machine| machine.has_output()) => {
                PollFlags::POLLIN | PollFlags::POLLOUT
            }
            Token::Monitor if self.running_machine().is_some_and(|it| it.plug.monitor.has_output()) => {
                PollFlags::POLLIN | PollFlags::POLLOUT
            }
            _ => PollFlags::POLLIN,
        }
    }

    fn timeout(&self) -> PollTimeout {
        let deadline = match &self.workload {
            Workload::Running(running) if running.is_stopping() => running.deadline(),
            Workload::Running(running) if !running.is_up() => running.boot_deadline(),
            Workload::Running(_) => self.check.as_ref().map(Watch::due),
            Workload::Waiting(waiting) => Some(waiting.until),
            Workload::Gone(_) => None,
        };
        let lease = self.leases.iter().filter_map(Client::due).min();
        let addresses = self.addresses.as_ref().and_then(|addresses| addresses.due);
        let changes = self.resize_deadline().into_iter().chain(self.hotplug_deadline());
        let deadline = deadline.into_iter().chain(lease).chain(addresses).chain(changes).min();
        let Some(deadline) = deadline else { return PollTimeout::NONE };
        // Rounded up: waking a moment too early would only spin.
        let wait = deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX)
    }

    fn handle(&mut self, token: Token, flags: PollFlags) {
        match token {
            Token::Signals => {
                if let Ok(Some(_)) = self.signals.read_signal() {
                    self.stop(false, false);
                }
            }
            Token::Listener => self.connections.extend(Connection::accept(&self.listener)),
            Token::Output(stream) => {
                if let Workload::Running(running) = &mut self.workload {
                    running.drain(stream, &mut self.log);
                }
            }
            Token::Workload => self.workload_ended(),
            Token::Check { .. } => self.check_progressed(),
            Token::Addresses => self.address_changed(),
            Token::Lease(index) => self.lease_answered(index),
            Token::Connection(index) => {
                if flags.contains(PollFlags::POLLOUT) {
                    self.connections[index].flush();
                }
                for request in self.connections[index].read() {
                    self.answer(index, request);
                }
            }
            Token::Exec(index) => {
                if let Some(Exec::Process(child)) = self.connections[index].exec.take() {
                    let (code, _) = workload::reap(child.pid);
                    self.connections[index].send(&Response::ExecExited { code });
                }
            }
            Token::Guest => self.guest_spoke(),
            Token::Console => {
                if let Some(machine) = self.machine() {
                    machine.read_consoles();
                }
            }
            Token::Share => self.share_ended(),
            Token::Monitor => self.monitor_spoke(),
            Token::Pump(index, flow) => self.pump(index, Some(flow)),
        }
    }

    fn drop_closed(&mut self) {
        self.abandon_unheard();
        self.connections.retain(|connection| connection.is_open() || connection.exec.is_some());
    }

    fn announce(&mut self, event: &Event) {
        for connection in self.connections.iter_mut().filter(|connection| connection.watching) {
            connection.send(&Response::Event(event.clone()));
        }
    }

    fn finish(mut self) {
        let Workload::Gone(record) = &self.workload else { return };
        let record = record.clone();
        self.log.flush();
        let run_dir = self.spec.run_dir.clone();
        // A start that failed leaves nothing, unless nobody is there to be told why.
        let failed_start = self.starting.take().map(|report| (report, self.failed.take()));
        if failed_start.is_none() {
            keep(&record, &run_dir);
        }
        let mut connections = std::mem::take(&mut self.connections);
        self.give_leases_back(|_| true);
        // Removed before anyone is told: who hears that an instance is gone finds nothing of it.
        self.host.tear_down();
        let _ = std::fs::remove_file(run_dir.join(berth_runtime::control::SOCKET));
        if let Some((report, error)) = failed_start {
            let stopped = || LaunchError { stage: Stage::Boot, errno: 0, path: "it was stopped".into() };
            if crate::report(report, &Report::Failed(error.unwrap_or_else(stopped))).is_err() {
                keep(&record, &run_dir);
            }
        }
        for connection in connections.iter_mut().filter(|connection| connection.watching) {
            connection.send(&Response::Event(Event::Gone(record.clone())));
        }
    }
}

fn keep(record: &ExitRecord, run_dir: &std::path::Path) {
    if let Ok(text) = serde_json::to_vec(record) {
        // A disk that is full loses the reason; the agent then sees an end without one.
        let _ = berth_sys::fs::write_atomic(&run_dir.join(exit::FILE), &text, 0o600);
    }
}

type Parts = (Log, Profile, SignalFd, UnixListener);

fn open_parts(spec: &LaunchSpec) -> Result<Parts, LaunchError> {
    let log = Log::open(spec.log.clone()).map_err(launch_error(Stage::Log, &spec.log.directory))?;
    let profile = Profile::default_profile()?;
    berth_sys::process::ignore_broken_pipes().map_err(launch_error(Stage::Init, "signals"))?;
    let mut mask = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        mask.add(signal);
    }
    mask.thread_block().map_err(errno_at(Stage::Init, "signals"))?;
    let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(errno_at(Stage::Init, "signals"))?;
    let listener = control::listen(&spec.run_dir).map_err(launch_error(Stage::Control, &spec.run_dir))?;
    Ok((log, profile, signals, listener))
}
