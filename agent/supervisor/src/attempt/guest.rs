//! A try in a machine's guest, whose pid 1 runs a program for it, or connects to a port from inside.
//!
//! ```text
//! begin --Started--> the request is said --data--> a verdict          Failed, Exited --> a verdict
//!               \--over TLS--> a program of the host's speaks on it, and its end is the verdict
//! ```

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

use berth_guest_protocol::frame::Stream as GuestStream;
use berth_guest_protocol::link::Host as Link;
use berth_runtime::health::Probe;
use berth_runtime::launch::LaunchError;
use berth_runtime::spec::ProcessSpec;
use nix::sys::signal::Signal;

use super::{Exec, MAX_OUTPUT, Talk, Verdict, over_tls};
use crate::machine::{Flow, Pump, TOO_MANY};
use crate::supervise::pipe;

/// A session of the guest's.
pub struct InGuest {
    session: u16,
    kind: Kind,
    /// It has ended, and its number may be another's.
    is_over: bool,
}

enum Kind {
    /// And what it has said.
    Program(Vec<u8>),
    Connection(Talk),
    /// Over TLS, once there is a connection.
    Tls(Option<Tls>),
}

/// A program that speaks TLS, and what carries its streams to and from the guest.
struct Tls {
    program: Exec,
    /// Until the connection has ended and all of it has been taken.
    pump: Option<Pump>,
}

impl InGuest {
    /// `process` is what a program beside the workload is like.
    pub fn begin(probe: &Probe, process: &ProcessSpec, link: &mut Link) -> Result<Self, String> {
        let (session, kind) = match probe {
            Probe::Exec { argv } => {
                let process = ProcessSpec { argv: argv.clone(), ..process.clone() };
                let session = link.exec(process, None).map_err(|error| error.to_string())?.ok_or(TOO_MANY)?;
                // It reads nothing.
                link.input(session, b"");
                (session, Kind::Program(Vec::new()))
            }
            Probe::Http { port, .. } | Probe::Tcp { port } => {
                let session = link.connect(*port, true).ok_or(TOO_MANY)?;
                let over_tls = matches!(probe, Probe::Http { tls: Some(_), .. });
                (session, if over_tls { Kind::Tls(None) } else { Kind::Connection(Talk::new(probe)) })
            }
        };
        Ok(Self { session, kind, is_over: false })
    }

    pub fn session(&self) -> u16 {
        self.session
    }

    /// What to wait for, and whether until it can be written to.
    pub fn waits_for(&self, link: &Link) -> Vec<(BorrowedFd<'_>, bool)> {
        let Kind::Tls(Some(tls)) = &self.kind else { return Vec::new() };
        let streams = tls.pump.iter().flat_map(|pump| pump.waits_for(link));
        let streams = streams.map(|(flow, fd)| (fd, matches!(flow, Flow::Out(_))));
        tls.program.waits_for().map(|fd| (fd, false)).chain(streams).collect()
    }

    /// The program was executed, or the connection has come about.
    pub fn started(&mut self, probe: &Probe, link: &mut Link) -> Option<Verdict> {
        match (&mut self.kind, probe) {
            (Kind::Connection(talk), _) => {
                let verdict = talk.begun();
                self.say_more(link);
                verdict
            }
            (Kind::Tls(tls), Probe::Http { port, path, tls: Some(program) }) => {
                match Tls::start(self.session, program, *port, path) {
                    Ok(started) => *tls = Some(started),
                    Err(error) => return Some(Verdict::Ill(error.to_string())),
                }
                None
            }
            _ => None,
        }
    }

    /// Says as much of the request as the guest takes now.
    pub fn say_more(&mut self, link: &mut Link) {
        if let Kind::Connection(talk) = &mut self.kind {
            let length = talk.left().len().min(link.input_room(self.session));
            // Nothing would be the end of it.
            if length > 0 {
                link.input(self.session, &talk.left()[..length]);
                talk.said(length);
            }
        }
    }

    /// Something was written; none is its end.
    pub fn heard(&mut self, stream: GuestStream, bytes: &[u8], link: &mut Link) -> Option<Verdict> {
        let verdict = match &mut self.kind {
            Kind::Tls(Some(Tls { pump: Some(pump), .. })) => {
                // It is taken from the guest when the program takes it.
                pump.take(stream, bytes, link);
                return None;
            }
            Kind::Tls(_) => None,
            Kind::Program(text) => {
                let room = MAX_OUTPUT.saturating_sub(text.len()).min(bytes.len());
                text.extend_from_slice(&bytes[..room]);
                None
            }
            Kind::Connection(talk) => talk.heard(bytes),
        };
        link.consumed(self.session, stream, bytes.len());
        verdict
    }

    /// The session has ended, or never began.
    pub fn ended(&mut self, result: Result<i32, LaunchError>, link: &mut Link) -> Option<Verdict> {
        self.is_over = true;
        match (&mut self.kind, result) {
            (Kind::Program(text), Ok(code)) => {
                Some(Verdict::of(code, String::from_utf8_lossy(text).into_owned()))
            }
            (Kind::Program(_), Err(error)) => Some(Verdict::Ill(error.to_string())),
            // As it is told of a container's.
            (_, Err(LaunchError { errno: errno @ 1.., .. })) | (Kind::Connection(_), Ok(errno @ 1..)) => {
                Some(Verdict::Ill(io::Error::from_raw_os_error(errno).to_string()))
            }
            (_, Err(_)) => Some(Verdict::Ill("the machine does not connect".to_owned())),
            (Kind::Connection(_), Ok(_)) => Some(Talk::ended()),
            (Kind::Tls(tls), Ok(code)) => {
                let tls = tls.as_mut()?;
                if let Some(pump) = &mut tls.pump {
                    pump.end(code);
                }
                tls.carry(link);
                None
            }
        }
    }

    /// Something that is waited for has happened.
    pub fn progress(&mut self, link: &mut Link) -> Option<Verdict> {
        let Kind::Tls(Some(tls)) = &mut self.kind else { return None };
        tls.carry(link);
        tls.program.progress()
    }

    /// Ends it, if it has not ended.
    pub fn abandon(self, link: Option<&mut Link>) {
        if let Kind::Tls(Some(tls)) = self.kind {
            tls.program.kill();
        }
        if let Some(link) = link.filter(|_| !self.is_over) {
            link.signal(self.session, Signal::SIGKILL as i32);
        }
    }
}

impl Tls {
    fn start(session: u16, program: &Path, port: u16, path: &str) -> io::Result<Self> {
        let (pump, theirs) = Pump::connection(session)?;
        let (reader, writer) = pipe(0)?;
        let child = over_tls(program, port, path, &theirs, &writer)?;
        Ok(Self { program: Exec::new(child, reader), pump: Some(pump) })
    }

    /// Moves what can be moved; with the last of it the program sees the connection's end.
    fn carry(&mut self, link: &mut Link) {
        let Some(pump) = &mut self.pump else { return };
        pump.progress(Flow::In, link);
        pump.progress(Flow::Out(GuestStream::Stdout), link);
        if pump.finished().is_some() {
            self.pump = None;
        }
    }
}
