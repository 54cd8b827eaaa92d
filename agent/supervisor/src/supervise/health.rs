//! The health check of a workload that runs.
//!
//! ```text
//! Resting --interval over--> Trying --ended, answered, or timed out--> Resting
//! ```

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use berth_runtime::control::Event;
use berth_runtime::health::{Health, HealthSpec, Probe, State};
use berth_runtime::launch::LaunchError;
use berth_runtime::spec::{InterfaceSpec, ProcessSpec};
use nix::sys::signal::Signal;

use super::{Supervisor, Workload, workload};
use crate::attempt::{self, Exec, Stream, Verdict};

/// What is known of a workload's health, and what is being tried.
pub struct Watch {
    spec: HealthSpec,
    health: Health,
    started: Instant,
    /// When the next try begins, or the present one has lasted too long.
    due: Instant,
    trying: Option<Trying>,
}

enum Trying {
    Exec(Exec),
    Guest { session: u16, text: Vec<u8> },
    Stream(Stream),
}

impl Watch {
    /// Of a workload that has just begun.
    pub fn new(spec: HealthSpec) -> Self {
        let (started, first) = (Instant::now(), Duration::from_millis(spec.interval_ms));
        Self { spec, health: Health::starting(), started, due: started + first, trying: None }
    }

    pub fn health(&self) -> &Health {
        &self.health
    }

    pub fn due(&self) -> Instant {
        self.due
    }

    /// What to wait for, and whether until it can be written to.
    pub fn waits_for(&self) -> Vec<(BorrowedFd<'_>, bool)> {
        match &self.trying {
            None | Some(Trying::Guest { .. }) => Vec::new(),
            Some(Trying::Exec(exec)) => exec.waits_for().map(|fd| (fd, false)).collect(),
            Some(Trying::Stream(stream)) => vec![(stream.as_fd(), stream.is_writing())],
        }
    }

    /// What is being tried is a connection on which TLS is to be spoken.
    fn is_for_tls(&self) -> bool {
        matches!(self.trying, Some(Trying::Stream(_)))
            && matches!(self.spec.probe, Probe::Http { tls: Some(_), .. })
    }

    /// Hands the connection, which has come about, to the program that speaks TLS on it.
    fn speak_tls(&mut self) -> io::Result<()> {
        let Probe::Http { port, path, tls: Some(program) } = &self.spec.probe else { return Ok(()) };
        let Some(Trying::Stream(stream)) = self.trying.take() else { return Ok(()) };
        let (reader, writer) = workload::pipe(0)?;
        let child = attempt::over_tls(program, *port, path, &stream.into_socket(), &writer)?;
        self.trying = Some(Trying::Exec(Exec::new(child, reader)));
        Ok(())
    }

    /// Ends what is being tried; nothing is concluded from it.
    pub fn abandon(&mut self) {
        if let Some(Trying::Exec(exec)) = self.trying.take() {
            exec.kill();
        }
    }

    /// A program in the guest has written something.
    pub fn heard(&mut self, from: u16, bytes: &[u8]) {
        if let Some(Trying::Guest { session, text }) = &mut self.trying
            && *session == from
        {
            let room = attempt::MAX_OUTPUT.saturating_sub(text.len()).min(bytes.len());
            text.extend_from_slice(&bytes[..room]);
        }
    }

    fn note(&mut self, verdict: Verdict) -> bool {
        self.abandon();
        self.due = Instant::now() + Duration::from_millis(self.spec.interval_ms);
        let early = self.started.elapsed() < Duration::from_millis(self.spec.start_period_ms);
        let before = self.health.state;
        let (succeeded, output) = match verdict {
            Verdict::Well(output) => (true, output),
            Verdict::Ill(output) => (false, output),
        };
        self.health.note(succeeded, output, early, self.spec.retries.max(1));
        self.health.state != before
    }
}

impl Supervisor {
    /// The health of a workload that runs, if there is a check.
    pub(super) fn health(&self) -> Option<&Health> {
        match &self.workload {
            Workload::Running(running) if !running.is_stopping() => self.check.as_ref().map(Watch::health),
            _ => None,
        }
    }

    /// A workload has begun, or its check is another.
    pub(super) fn watch_health(&mut self) {
        if let Some(check) = &mut self.check {
            check.abandon();
        }
        self.check = self.spec.health.clone().map(Watch::new);
    }

    /// A program in the guest has ended, or was not executed.
    pub(super) fn check_ended(&mut self, ended: u16, result: Result<i32, LaunchError>) {
        let Some(Watch { trying: Some(Trying::Guest { session, text }), .. }) = &self.check else { return };
        if *session == ended {
            let text = String::from_utf8_lossy(text).into_owned();
            let verdict = match result {
                Ok(code) => Verdict::of(code, text),
                Err(error) => Verdict::Ill(error.to_string()),
            };
            self.conclude(verdict);
        }
    }

    /// Something that the check waits for has happened.
    pub(super) fn check_progressed(&mut self) {
        let Some(check) = &mut self.check else { return };
        let verdict = match &mut check.trying {
            None | Some(Trying::Guest { .. }) => None,
            Some(Trying::Exec(exec)) => exec.progress(),
            Some(Trying::Stream(stream)) => stream.progress(self.host.where_it_is_reached()),
        };
        match verdict {
            Some(Verdict::Well(_)) if check.is_for_tls() => {
                if let Err(error) = check.speak_tls() {
                    self.conclude(Verdict::Ill(error.to_string()));
                }
            }
            Some(verdict) => self.conclude(verdict),
            None => {}
        }
    }

    /// Begins a try, or ends one that takes too long.
    pub(super) fn check_due(&mut self) {
        let Some(check) = &mut self.check else { return };
        if check.due > Instant::now() {
            return;
        }
        if let Some(trying) = &check.trying {
            if let Trying::Guest { session, .. } = trying
                && let Workload::Running(running) = &mut self.workload
                && let Some(machine) = running.machine()
            {
                machine.link.signal(*session, Signal::SIGKILL as i32);
            }
            let seconds = Duration::from_millis(check.spec.timeout_ms).as_secs_f64();
            self.conclude(Verdict::Ill(format!("no end within {seconds} s")));
            return;
        }
        check.due = Instant::now() + Duration::from_millis(check.spec.timeout_ms);
        let probe = check.spec.probe.clone();
        match self.begin(&probe) {
            Ok(trying) => {
                if let Some(check) = &mut self.check {
                    check.trying = Some(trying);
                }
                self.check_progressed();
            }
            Err(reason) => self.conclude(Verdict::Ill(reason)),
        }
    }

    fn begin(&mut self, probe: &Probe) -> Result<Trying, String> {
        let Workload::Running(running) = &mut self.workload else { return Err("it does not run".to_owned()) };
        let said = |error: io::Error| error.to_string();
        let launched = |error: LaunchError| error.to_string();
        match probe {
            Probe::Exec { argv } => {
                let process = ProcessSpec { argv: argv.clone(), ..self.spec.process.clone() };
                if let Some(machine) = running.machine() {
                    let session = machine.link.exec(process, None).map_err(|error| error.to_string())?;
                    let session = session.ok_or("too many programs run in the machine")?;
                    // It reads nothing.
                    machine.link.input(session, b"");
                    return Ok(Trying::Guest { session, text: Vec::new() });
                }
                let owner = self.spec.ids.host_base;
                let (output, stdio) = attempt::output(owner, workload::pipe).map_err(said)?;
                let started = crate::container::session::start(
                    &process,
                    &stdio,
                    running.init(),
                    &self.host,
                    &self.profile,
                );
                Ok(Trying::Exec(Exec::new(started.map_err(launched)?, output)))
            }
            Probe::Http { .. } | Probe::Tcp { .. } => {
                let own = self.spec.networks.iter().flat_map(own_addresses);
                let leases = self.leases.iter().filter_map(|client| Some(client.lease()?.address.into()));
                let own = own.chain(leases);
                // The loopback of a machine is its own.
                let loopback = self.spec.vm.is_none();
                let stream = Stream::new(probe, loopback, own, self.host.where_it_is_reached());
                stream.map(Trying::Stream).map_err(said)
            }
        }
    }

    fn conclude(&mut self, verdict: Verdict) {
        let Some(check) = &mut self.check else { return };
        if check.note(verdict) {
            let event = Event::Health(check.health.clone());
            self.announce(&event);
        }
    }

    /// For whoever watches from now on, after the present state.
    pub(super) fn present_health(&self) -> Option<Event> {
        self.health().filter(|health| health.state != State::Starting).cloned().map(Event::Health)
    }
}

fn own_addresses(interface: &InterfaceSpec) -> impl Iterator<Item = IpAddr> {
    let v4 = interface.ipv4_address.map(IpAddr::from);
    v4.into_iter().chain(interface.ipv6_address.map(IpAddr::from))
}
