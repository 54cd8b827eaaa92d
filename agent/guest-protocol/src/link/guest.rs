//! The guest's end.

use std::collections::BTreeMap;

use crate::flow::{ReceiveCredit, SendCredit};
use crate::frame::{self, Decoder, Frame, FrameError, Stream};
use crate::message::{ToGuest, ToHost};
use crate::{VERSION, WORKLOAD};

#[derive(Debug)]
struct GuestSession {
    stdin: ReceiveCredit,
    stdout: SendCredit,
    stderr: SendCredit,
}

/// The guest's end.
#[derive(Debug)]
pub struct Guest {
    decoder: Decoder<ToGuest>,
    sessions: BTreeMap<u16, GuestSession>,
    out: Vec<u8>,
}

impl Default for Guest {
    fn default() -> Self {
        Self::new()
    }
}

impl Guest {
    /// Says hello.
    #[must_use]
    pub fn new() -> Self {
        let mut guest =
            Self { decoder: Decoder::new(frame::MAX_TO_GUEST), sessions: BTreeMap::new(), out: Vec::new() };
        guest.say(&ToHost::Hello { version: VERSION });
        guest
    }

    /// Takes what was read from the port. `Start`, `Exec` and `Connect` open their sessions, which [`Self::close`] closes.
    ///
    /// # Errors
    /// Where it is no frame.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Frame<ToGuest>>, FrameError> {
        self.decoder.push(bytes);
        let mut frames = Vec::new();
        while let Some(frame) = self.decoder.next_frame()? {
            match &frame {
                Frame::Message(ToGuest::Credit { session, stream, bytes }) => {
                    if let Some(credit) = self.sending(*session, *stream) {
                        let _ = credit.grant(*bytes);
                    }
                }
                Frame::Data { session, bytes, .. } => {
                    let found = self.sessions.get_mut(session);
                    if found.and_then(|found| found.stdin.receive(bytes.len())).is_some() {
                        frames.push(frame);
                    }
                }
                Frame::Message(message) => {
                    // At once: its input may be in the same bytes.
                    match message {
                        ToGuest::Start(_) => self.open(WORKLOAD),
                        ToGuest::Exec { session, .. } | ToGuest::Connect { session, .. } => {
                            self.open(*session);
                        }
                        _ => {}
                    }
                    frames.push(frame);
                }
            }
        }
        Ok(frames)
    }

    fn open(&mut self, session: u16) {
        let (stdout, stderr) = (SendCredit::new(), SendCredit::new());
        self.sessions.insert(session, GuestSession { stdin: ReceiveCredit::new(), stdout, stderr });
    }

    /// A session's last word.
    pub fn close(&mut self, session: u16, last: &ToHost) {
        self.say(last);
        self.sessions.remove(&session);
    }

    fn sending(&mut self, session: u16, stream: Stream) -> Option<&mut SendCredit> {
        let found = self.sessions.get_mut(&session)?;
        match stream {
            Stream::Stdin => None,
            Stream::Stdout => Some(&mut found.stdout),
            Stream::Stderr => Some(&mut found.stderr),
        }
    }

    /// How much of an output may be sent now.
    pub fn output_room(&mut self, session: u16, stream: Stream) -> usize {
        self.sending(session, stream).map_or(0, |credit| credit.left())
    }

    /// Sends output, no more than [`Self::output_room`]; none is its end.
    pub fn data(&mut self, session: u16, stream: Stream, bytes: &[u8]) {
        if let Some(credit) = self.sending(session, stream) {
            let length = credit.take(bytes.len());
            frame::write_data(&mut self.out, session, stream, &bytes[..length]);
        }
    }

    /// Input was passed on.
    pub fn consumed(&mut self, session: u16, bytes: usize) {
        let found = self.sessions.get_mut(&session);
        if let Some(bytes) = found.and_then(|found| found.stdin.consume(bytes)) {
            self.say(&ToHost::Credit { session, stream: Stream::Stdin, bytes });
        }
    }

    /// Sends a message.
    pub fn say(&mut self, message: &ToHost) {
        // A path in an error is all that could be long, and no path is as long as this.
        let _ = frame::write_message(&mut self.out, message, frame::MAX_TO_HOST);
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
