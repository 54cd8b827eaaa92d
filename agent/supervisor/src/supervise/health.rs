//! The health check of a workload that runs.
//!
//! ```text
//! Resting --interval over--> Trying --ended, answered, or timed out--> Resting
//! ```

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use berth_guest_protocol::frame::Stream as GuestStream;
use berth_guest_protocol::link::Host as Link;
use berth_runtime::control::Event;
use berth_runtime::health::{Health, HealthSpec, Probe, State};
use berth_runtime::launch::LaunchError;
use berth_runtime::spec::{InterfaceSpec, ProcessSpec};

use super::{Supervisor, Workload, workload};
use crate::attempt::{self, Exec, InGuest, Stream, Verdict};

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
    Guest(InGuest),
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

    /// What to wait for, and whether until it can be written to; `link` is the channel to the guest, if there is one.
    pub fn waits_for(&self, link: Option<&Link>) -> Vec<(BorrowedFd<'_>, bool)> {
        match &self.trying {
            None => Vec::new(),
            Some(Trying::Guest(guest)) => link.map(|link| guest.waits_for(link)).unwrap_or_default(),
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

    /// Notes how a try ended; whether the workload is otherwise than it was.
    fn note(&mut self, verdict: Verdict) -> bool {
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
        self.abandon_try();
        self.check = self.spec.health.clone().map(Watch::new);
    }

    /// Ends what is being tried; nothing is concluded from it.
    pub(super) fn abandon_try(&mut self) {
        match self.check.as_mut().and_then(|check| check.trying.take()) {
            Some(Trying::Exec(exec)) => exec.kill(),
            Some(Trying::Guest(guest)) => guest.abandon(self.machine().map(|machine| &mut machine.link)),
            Some(Trying::Stream(_)) | None => {}
        }
    }

    /// What is tried in the guest, of what it is a try, and the channel.
    fn guest_try(&mut self) -> Option<(&mut InGuest, &Probe, &mut Link)> {
        let Watch { trying: Some(Trying::Guest(guest)), spec, .. } = self.check.as_mut()? else {
            return None;
        };
        let Workload::Running(running) = &mut self.workload else { return None };
        Some((guest, &spec.probe, &mut running.machine()?.link))
    }

    /// As [`Self::guest_try`], of that session.
    fn guest_try_of(&mut self, session: u16) -> Option<(&mut InGuest, &Probe, &mut Link)> {
        self.guest_try().filter(|(guest, ..)| guest.session() == session)
    }

    /// A program in the guest was executed, or a connection has come about.
    pub(super) fn check_started(&mut self, session: u16) {
        let Some((guest, probe, link)) = self.guest_try_of(session) else { return };
        let verdict = guest.started(probe, link);
        self.conclude_if(verdict);
    }

    /// Something has come from the guest; whether it was the check's.
    pub(super) fn check_heard(&mut self, session: u16, stream: GuestStream, bytes: &[u8]) -> bool {
        let Some((guest, _, link)) = self.guest_try_of(session) else { return false };
        let verdict = guest.heard(stream, bytes, link);
        self.conclude_if(verdict);
        true
    }

    /// The guest takes input again.
    pub(super) fn check_may_say_more(&mut self, session: u16) {
        if let Some((guest, _, link)) = self.guest_try_of(session) {
            guest.say_more(link);
        }
    }

    /// A program or a connection in the guest has ended, or never began.
    pub(super) fn check_ended(&mut self, session: u16, result: Result<i32, LaunchError>) {
        let Some((guest, _, link)) = self.guest_try_of(session) else { return };
        let verdict = guest.ended(result, link);
        self.conclude_if(verdict);
    }

    /// Something that the check waits for has happened.
    pub(super) fn check_progressed(&mut self) {
        let in_guest = self.guest_try().and_then(|(guest, _, link)| guest.progress(link));
        let Some(check) = &mut self.check else { return };
        let verdict = match &mut check.trying {
            None => None,
            Some(Trying::Guest(_)) => in_guest,
            Some(Trying::Exec(exec)) => exec.progress(),
            Some(Trying::Stream(stream)) => stream.progress(self.host.where_it_is_reached()),
        };
        match verdict {
            Some(Verdict::Well(_)) if check.is_for_tls() => {
                if let Err(error) = check.speak_tls() {
                    self.conclude(Verdict::Ill(error.to_string()));
                }
            }
            verdict => self.conclude_if(verdict),
        }
    }

    /// Begins a try, or ends one that takes too long.
    pub(super) fn check_due(&mut self) {
        let Some(check) = &mut self.check else { return };
        if check.due > Instant::now() {
            return;
        }
        if check.trying.is_some() {
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
        if let Some(machine) = running.machine() {
            return InGuest::begin(probe, &self.spec.process, &mut machine.link).map(Trying::Guest);
        }
        match probe {
            Probe::Exec { argv } => {
                let process = ProcessSpec { argv: argv.clone(), ..self.spec.process.clone() };
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
                let stream = Stream::new(probe, own.chain(leases), self.host.where_it_is_reached());
                stream.map(Trying::Stream).map_err(said)
            }
        }
    }

    fn conclude_if(&mut self, verdict: Option<Verdict>) {
        if let Some(verdict) = verdict {
            self.conclude(verdict);
        }
    }

    fn conclude(&mut self, verdict: Verdict) {
        self.abandon_try();
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
