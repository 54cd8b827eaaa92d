//! One end of the channel: frames, sessions and credit. [`Host`] is strict, [`Guest`] forgives what crossed an end.
//!
//! ```text
//! host: new -> Hello came -> start() -> exec(), connect()... -> Exited of session 0
//! ```

mod guest;

use std::collections::BTreeMap;

use berth_runtime::launch::LaunchError;
use berth_runtime::spec::ProcessSpec;

pub use self::guest::Guest;
use crate::flow::{ReceiveCredit, SendCredit};
use crate::frame::{self, Decoder, Frame, FrameError, Stream};
use crate::message::{GuestInterface, GuestSpec, OwnAddresses, Resources, Size, Stats, ToGuest, ToHost};
use crate::{VERSION, WORKLOAD};

/// The most programs and connections at a time.
pub const MAX_SESSIONS: usize = 256;

/// Why a channel is of no more use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Its bytes are no frames.
    #[error("the guest sends garbage")]
    Frame(#[source] FrameError),
    /// The other speaks another version.
    #[error("the guest speaks version {theirs} of the protocol, not {VERSION}")]
    Version {
        /// The other's.
        theirs: u32,
    },
    /// A message that does not belong there.
    #[error("the guest said {what} out of turn")]
    Turn {
        /// Which.
        what: &'static str,
    },
    /// A session that there is not.
    #[error("the guest speaks of session {session}, which there is not")]
    Session {
        /// Which.
        session: u16,
    },
    /// More than was granted.
    #[error("the guest exceeds its credit on session {session}")]
    Credit {
        /// Whose.
        session: u16,
    },
}

/// What the host hears.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The guest has booted and waits for [`Host::start`].
    Booted,
    /// A program was executed, or a connection has come about.
    Started {
        /// Whose.
        session: u16,
    },
    /// It was not.
    Failed {
        /// Whose.
        session: u16,
        /// Why.
        error: LaunchError,
    },
    /// Output; none is its end. To be acknowledged by [`Host::consumed`].
    Data {
        /// Whose.
        session: u16,
        /// Which.
        stream: Stream,
        /// It.
        bytes: Vec<u8>,
    },
    /// Input can be sent again.
    InputTaken {
        /// Whose.
        session: u16,
    },
    /// A program or a connection has ended.
    Exited {
        /// Whose.
        session: u16,
        /// As [`ToHost::Exited`] has it.
        code: i32,
        /// The signal that ended it.
        signal: Option<i32>,
    },
    /// To [`Host::stats`].
    Stats(Stats),
    /// It has what was asked for by [`Host::resources`] last.
    Has,
    /// It has the interfaces that were asked for by [`Host::interfaces`] last, or why not.
    Connected(Result<(), LaunchError>),
    /// What routers have given to its interfaces.
    Addresses(Vec<OwnAddresses>),
}

#[derive(Debug)]
struct HostSession {
    /// Its program was executed, as the guest says.
    started: bool,
    stdin: SendCredit,
    stdout: ReceiveCredit,
    stderr: ReceiveCredit,
}

/// The supervisor's end.
#[derive(Debug)]
pub struct Host {
    decoder: Decoder<ToHost>,
    sessions: BTreeMap<u16, HostSession>,
    greeted: bool,
    next: u16,
    /// How often resources were asked for.
    asked: u32,
    /// How often interfaces were.
    rewired: u32,
    out: Vec<u8>,
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

impl Host {
    /// Of a guest that has not said anything.
    #[must_use]
    pub fn new() -> Self {
        Self {
            decoder: Decoder::new(frame::MAX_TO_HOST),
            sessions: BTreeMap::new(),
            greeted: false,
            next: WORKLOAD,
            asked: 0,
            rewired: 0,
            out: Vec::new(),
        }
    }

    /// Takes what was read from the port.
    ///
    /// # Errors
    /// Whatever the guest does that it may not; the channel is of no more use.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Event>, LinkError> {
        self.decoder.push(bytes);
        let mut events = Vec::new();
        while let Some(frame) = self.decoder.next_frame().map_err(LinkError::Frame)? {
            match frame {
                Frame::Message(message) => events.extend(self.message(message)?),
                Frame::Data { session, stream, bytes } => {
                    let credit = self.receiving(session, stream)?;
                    credit.receive(bytes.len()).ok_or(LinkError::Credit { session })?;
                    events.push(Event::Data { session, stream, bytes });
                }
            }
        }
        Ok(events)
    }

    fn message(&mut self, message: ToHost) -> Result<Option<Event>, LinkError> {
        if let ToHost::Hello { version } = message {
            if self.greeted {
                return Err(LinkError::Turn { what: "hello" });
            }
            if version != VERSION {
                return Err(LinkError::Version { theirs: version });
            }
            self.greeted = true;
            return Ok(Some(Event::Booted));
        }
        if !self.greeted {
            return Err(LinkError::Turn { what: "something before hello" });
        }
        match message {
            ToHost::Hello { .. } => Err(LinkError::Turn { what: "hello" }),
            ToHost::Started { session } => {
                self.starting(session, "that a program was started")?.started = true;
                Ok(Some(Event::Started { session }))
            }
            ToHost::Failed { session, error } => {
                self.starting(session, "that a program was not started")?;
                self.sessions.remove(&session);
                Ok(Some(Event::Failed { session, error }))
            }
            ToHost::Exited { session, code, signal } => {
                self.running(session)?;
                self.sessions.remove(&session);
                Ok(Some(Event::Exited { session, code, signal }))
            }
            ToHost::Credit { session, stream: Stream::Stdin, bytes } => {
                self.running(session)?.stdin.grant(bytes).ok_or(LinkError::Credit { session })?;
                Ok(Some(Event::InputTaken { session }))
            }
            ToHost::Credit { .. } => Err(LinkError::Turn { what: "credit for an output of its own" }),
            ToHost::Stats(stats) => Ok(Some(Event::Stats(stats))),
            ToHost::Addresses { interfaces } => Ok(Some(Event::Addresses(interfaces))),
            ToHost::Has { number } if number > self.asked || number == 0 => {
                Err(LinkError::Turn { what: "that it has what it was not asked for" })
            }
            // Asked for something else meanwhile.
            ToHost::Has { number } => Ok((number == self.asked).then_some(Event::Has)),
            ToHost::Connected { number, .. } if number > self.rewired || number == 0 => {
                Err(LinkError::Turn { what: "that it has interfaces which it was not asked for" })
            }
            ToHost::Connected { number, error } => {
                let outcome = error.map_or(Ok(()), Err);
                Ok((number == self.rewired).then_some(Event::Connected(outcome)))
            }
        }
    }

    fn session(&mut self, session: u16) -> Result<&mut HostSession, LinkError> {
        self.sessions.get_mut(&session).ok_or(LinkError::Session { session })
    }

    fn starting(&mut self, session: u16, what: &'static str) -> Result<&mut HostSession, LinkError> {
        let found = self.session(session)?;
        if found.started { Err(LinkError::Turn { what }) } else { Ok(found) }
    }

    fn running(&mut self, session: u16) -> Result<&mut HostSession, LinkError> {
        let found = self.session(session)?;
        if found.started {
            Ok(found)
        } else {
            Err(LinkError::Turn { what: "something of a program that was not started" })
        }
    }

    fn receiving(&mut self, session: u16, stream: Stream) -> Result<&mut ReceiveCredit, LinkError> {
        let found = self.running(session)?;
        match stream {
            Stream::Stdin => Err(LinkError::Turn { what: "input" }),
            Stream::Stdout => Ok(&mut found.stdout),
            Stream::Stderr => Ok(&mut found.stderr),
        }
    }

    /// After [`Event::Booted`].
    ///
    /// # Errors
    /// Where it is longer than a message may be.
    pub fn start(&mut self, spec: GuestSpec) -> Result<(), FrameError> {
        self.send(&ToGuest::Start(Box::new(spec)))?;
        self.open(WORKLOAD);
        Ok(())
    }

    /// Begins a program beside the workload; `None` where there are too many.
    ///
    /// # Errors
    /// Where it is longer than a message may be.
    pub fn exec(&mut self, process: ProcessSpec, terminal: Option<Size>) -> Result<Option<u16>, FrameError> {
        let Some(session) = self.free() else { return Ok(None) };
        self.send(&ToGuest::Exec { session, process: Box::new(process), terminal })?;
        self.open(session);
        Ok(Some(session))
    }

    /// Connects to a port of the machine's, as [`ToGuest::Connect`] has it; `None` where there are too many sessions.
    pub fn connect(&mut self, port: u16, loopback: bool) -> Option<u16> {
        let session = self.free()?;
        self.send_short(&ToGuest::Connect { session, port, loopback });
        self.open(session);
        Some(session)
    }

    /// A number that no session has. It is long until it comes again: who speaks of the one before is not misunderstood.
    fn free(&mut self) -> Option<u16> {
        if self.sessions.len() >= MAX_SESSIONS {
            return None;
        }
        // Fewer run than there are numbers: one is free.
        while self.sessions.contains_key(&self.next) || self.next == WORKLOAD {
            self.next = self.next.wrapping_add(1);
        }
        let session = self.next;
        self.next = self.next.wrapping_add(1);
        Some(session)
    }

    fn open(&mut self, session: u16) {
        let (stdout, stderr) = (ReceiveCredit::new(), ReceiveCredit::new());
        let stdin = SendCredit::new();
        self.sessions.insert(session, HostSession { started: false, stdin, stdout, stderr });
    }

    /// Signals a program; a connection is ended by it.
    pub fn signal(&mut self, session: u16, signal: i32) {
        self.send_short(&ToGuest::Signal { session, signal });
    }

    /// Tells a program's terminal its size.
    pub fn resize(&mut self, session: u16, size: Size) {
        self.send_short(&ToGuest::Resize { session, size });
    }

    /// Asks what the guest uses.
    pub fn stats(&mut self) {
        self.send_short(&ToGuest::Stats);
    }

    /// Asks for so many processors and so much memory; [`Event::Has`] comes when the guest has them.
    pub fn resources(&mut self, resources: Resources) {
        self.asked = self.asked.saturating_add(1);
        self.send_short(&ToGuest::Resources { number: self.asked, resources });
    }

    /// Asks for these interfaces and no others; [`Event::Connected`] comes when the guest has them, or cannot.
    pub fn interfaces(&mut self, interfaces: Vec<GuestInterface>) {
        self.rewired = self.rewired.saturating_add(1);
        // There are few of them.
        self.send_short(&ToGuest::Interfaces { number: self.rewired, interfaces });
    }

    /// Tells that what is mounted in the root file system has changed.
    pub fn forget(&mut self) {
        self.send_short(&ToGuest::Forget);
    }

    /// Asks the guest to end.
    pub fn shut_down(&mut self) {
        self.send_short(&ToGuest::Shutdown);
    }

    /// How much input a session takes now.
    #[must_use]
    pub fn input_room(&self, session: u16) -> usize {
        self.sessions.get(&session).map_or(0, |session| session.stdin.left())
    }

    /// Sends input, no more than [`Self::input_room`]; none is its end.
    pub fn input(&mut self, session: u16, bytes: &[u8]) {
        if let Some(found) = self.sessions.get_mut(&session) {
            let length = found.stdin.take(bytes.len());
            frame::write_data(&mut self.out, session, Stream::Stdin, &bytes[..length]);
        }
    }

    /// Output was passed on: the guest may send as much again.
    pub fn consumed(&mut self, session: u16, stream: Stream, bytes: usize) {
        let granted = self.receiving(session, stream).ok().and_then(|credit| credit.consume(bytes));
        if let Some(bytes) = granted {
            self.send_short(&ToGuest::Credit { session, stream, bytes });
        }
    }

    fn send(&mut self, message: &ToGuest) -> Result<(), FrameError> {
        frame::write_message(&mut self.out, message, frame::MAX_TO_GUEST)
    }

    fn send_short(&mut self, message: &ToGuest) {
        // Numbers and names: never too long.
        let _ = self.send(message);
    }

    /// How much of a frame that is not whole yet is kept.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.decoder.buffered()
    }

    /// What is to be written to the port.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        &self.out
    }

    /// So much of it was.
    pub fn sent(&mut self, bytes: usize) {
        self.out.drain(..bytes.min(self.out.len()));
    }
}
