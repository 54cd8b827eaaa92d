//! What a machine's guest says, and what becomes of it.

use std::os::fd::OwnedFd;

use berth_guest_protocol::frame::Stream as GuestStream;
use berth_guest_protocol::link::Event as GuestEvent;
use berth_guest_protocol::message::Size;
use berth_runtime::control::{Event, Response};
use berth_runtime::launch::LaunchError;
use berth_runtime::spec::ProcessSpec;
use nix::sys::signal::Signal;

use super::{Supervisor, Workload};
use crate::control::Exec;
use crate::log::Stream;
use crate::machine::{Flow, Machine, Pump, TOO_MANY, is_workload};

/// Of a terminal whose caller has not said its size yet.
const SIZE: Size = Size { rows: 24, columns: 80 };

impl Supervisor {
    pub(super) fn running_machine(&self) -> Option<&Machine> {
        match &self.workload {
            Workload::Running(running) => running.shown_machine(),
            _ => None,
        }
    }

    /// virtiofsd has ended. With QEMU, that is as it should be; what QEMU said last is read before.
    pub(super) fn share_ended(&mut self) {
        self.guest_spoke();
        if let Some(machine) = self.machine()
            && machine.needs_share()
        {
            machine.share_ended();
        }
        self.end_failed_machine();
    }

    pub(super) fn machine(&mut self) -> Option<&mut Machine> {
        match &mut self.workload {
            Workload::Running(running) => running.machine(),
            _ => None,
        }
    }

    /// Reads the channel, and does what follows from it.
    pub(super) fn guest_spoke(&mut self) {
        let events = self.machine().map(Machine::read).unwrap_or_default();
        for event in events {
            self.guest_event(event);
        }
        self.end_failed_machine();
    }

    /// One that has failed has nothing more to say.
    pub(super) fn end_failed_machine(&mut self) {
        if let Workload::Running(running) = &mut self.workload
            && running.machine().is_some_and(|machine| machine.has_failed())
        {
            running.kill();
        }
    }

    fn guest_event(&mut self, event: GuestEvent) {
        match event {
            GuestEvent::Booted => {
                let interfaces = self.guest_interfaces(&self.spec.networks);
                let Workload::Running(running) = &mut self.workload else { return };
                if let Some(machine) = running.machine() {
                    machine.instruct(&self.spec, interfaces);
                }
            }
            GuestEvent::Started { session } if is_workload(session) => self.guest_is_up(),
            GuestEvent::Started { session } => self.guest_program_started(session),
            GuestEvent::Failed { session, error } if is_workload(session) => {
                if let Some(machine) = self.machine() {
                    machine.refused(error);
                }
            }
            GuestEvent::Failed { session, error } => self.guest_program_failed(session, error),
            GuestEvent::Data { session, stream, bytes } => self.guest_wrote(session, stream, &bytes),
            GuestEvent::Exited { session, code, signal } if is_workload(session) => {
                if let Some(machine) = self.machine() {
                    machine.exited(code, signal);
                }
            }
            GuestEvent::Exited { session, code, .. } => self.guest_program_ended(session, code),
            GuestEvent::Has => self.guest_has_resources(),
            GuestEvent::Connected(outcome) => self.guest_is_connected(outcome),
            GuestEvent::Addresses(interfaces) => self.guest_has_addresses(&interfaces),
            GuestEvent::Stats(stats) => self.guest_uses(stats),
            // Where a caller's is asked for it is seen.
            GuestEvent::InputTaken { session } => self.check_may_say_more(session),
        }
    }

    fn guest_is_up(&mut self) {
        let Workload::Running(running) = &mut self.workload else { return };
        running.went_up();
        let event = Event::Started {
            pid: running.pid(),
            started_at_ms: running.started_at_ms,
            restarts: self.restarts,
        };
        crate::container::files::written(&mut self.spec.writes);
        self.tell_started();
        self.announce(&event);
        self.watch_health();
    }

    fn guest_wrote(&mut self, session: u16, stream: GuestStream, bytes: &[u8]) {
        let Workload::Running(running) = &mut self.workload else { return };
        let Some(machine) = running.machine() else { return };
        if is_workload(session) {
            let stream_of_log = match stream {
                GuestStream::Stderr => Stream::Stderr,
                GuestStream::Stdin | GuestStream::Stdout => Stream::Stdout,
            };
            self.log.write(stream_of_log, bytes);
            machine.link.consumed(session, stream, bytes.len());
            return;
        }
        let pumps = self.connections.iter_mut().filter_map(|connection| connection.pump());
        if let Some(pump) = pumps.into_iter().find(|pump| pump.session == session) {
            pump.take(stream, bytes, &mut machine.link);
            return;
        }
        if !self.check_heard(session, stream, bytes)
            && let Some(machine) = self.machine()
        {
            // Of a program that nobody waits for any more.
            machine.link.consumed(session, stream, bytes.len());
        }
    }

    fn connection_of(&self, session: u16) -> Option<usize> {
        let is_it = |exec: &Exec| match exec {
            Exec::Process(_) => false,
            Exec::Guest(pump) => pump.session == session,
            Exec::Reach(tried) => *tried == session,
        };
        self.connections.iter().position(|connection| connection.exec.as_ref().is_some_and(is_it))
    }

    fn guest_program_started(&mut self, session: u16) {
        let Some(index) = self.connection_of(session) else { return self.check_started(session) };
        let pid = match &self.workload {
            Workload::Running(running) => running.pid(),
            _ => return,
        };
        if let Some(pump) = self.connections[index].pump() {
            pump.started();
            self.connections[index].send(&Response::ExecStarted { pid });
        } else {
            self.connections[index].exec = None;
            self.connections[index].send(&Response::Done);
            self.end_session(session);
        }
    }

    /// It is of no more use to anyone.
    fn end_session(&mut self, session: u16) {
        if let Some(machine) = self.machine() {
            machine.link.signal(session, Signal::SIGKILL as i32);
        }
    }

    /// Ends connections that are tried for a caller who has gone.
    pub(super) fn abandon_unheard(&mut self) {
        let gone = self.connections.iter_mut().filter(|connection| !connection.is_open());
        let tried = gone.filter_map(|connection| match connection.exec {
            Some(Exec::Reach(session)) => {
                connection.exec = None;
                Some(session)
            }
            _ => None,
        });
        for session in tried.collect::<Vec<_>>() {
            self.end_session(session);
        }
    }

    fn guest_program_failed(&mut self, session: u16, error: LaunchError) {
        match self.connection_of(session) {
            Some(index) => {
                let response = match self.connections[index].exec.take() {
                    Some(Exec::Reach(_)) => Response::Refused { reason: error.to_string() },
                    _ => Response::ExecFailed(error),
                };
                self.connections[index].send(&response);
            }
            None => self.check_ended(session, Err(error)),
        }
    }

    fn guest_program_ended(&mut self, session: u16, code: i32) {
        match self.connection_of(session) {
            Some(index) => {
                if let Some(pump) = self.connections[index].pump() {
                    pump.end(code);
                }
                self.pump(index, None);
            }
            None => self.check_ended(session, Ok(code)),
        }
    }

    /// Moves what can be moved of a program's streams; tells its end when all is there.
    pub(super) fn pump(&mut self, index: usize, flow: Option<Flow>) {
        let Workload::Running(running) = &mut self.workload else { return };
        let Some(machine) = running.machine() else { return };
        let connection = &mut self.connections[index];
        let Some(pump) = connection.pump() else { return };
        if let Some(flow) = flow {
            pump.progress(flow, &mut machine.link);
        }
        if let Some(code) = pump.finished() {
            // Its streams end before its end is told.
            connection.exec = None;
            connection.send(&Response::ExecExited { code });
        }
    }

    /// Runs a program in the guest; the answer comes when the guest has said how that went.
    pub(super) fn exec_in_guest(
        &mut self,
        index: usize,
        process: &ProcessSpec,
        descriptors: Vec<OwnedFd>,
    ) -> Option<Response> {
        let refused = |reason: &str| Some(Response::Refused { reason: reason.into() });
        let Some(machine) = self.machine() else { return refused("the instance is not running") };
        if !machine.is_up() {
            return refused("the machine is booting");
        }
        let terminal = (descriptors.len() == 1).then_some(SIZE);
        let session = match machine.link.exec(process.clone(), terminal) {
            Ok(Some(session)) => session,
            Ok(None) => return refused(TOO_MANY),
            Err(error) => return refused(&error.to_string()),
        };
        let pump = match <[OwnedFd; 3]>::try_from(descriptors) {
            Ok(three) => Pump::pipes(session, three),
            Err(rest) => match rest.into_iter().next() {
                Some(master_to) => Pump::terminal(session, master_to),
                None => Err(std::io::ErrorKind::InvalidInput.into()),
            },
        };
        match pump {
            Ok(pump) => {
                self.connections[index].exec = Some(Exec::Guest(pump));
                None
            }
            Err(error) => {
                machine.link.signal(session, Signal::SIGKILL as i32);
                refused(&error.to_string())
            }
        }
    }

    pub(super) fn resize(&mut self, index: usize, size: Size) -> Response {
        let session = self.connections[index].pump().map(|pump| pump.session);
        match (session, self.machine()) {
            (Some(session), Some(machine)) => {
                machine.link.resize(session, size);
                Response::Done
            }
            _ => Response::Refused { reason: "nothing runs on this connection".into() },
        }
    }
}
