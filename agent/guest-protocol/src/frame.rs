//! Frames: eight bytes of header, then the payload.
//!
//! ```text
//! 0xBE | kind | session (2, little-endian) | length (4, little-endian) | payload
//! ```

use std::marker::PhantomData;

use serde::de::DeserializeOwned;

/// The first byte of every frame.
const MARK: u8 = 0xBE;

/// Of a header.
pub const HEADER: usize = 8;

/// The most bytes of a stream in one frame.
pub const MAX_DATA: usize = 32 * 1024;

/// The longest message to a guest: a program's arguments and environment have room.
pub const MAX_TO_GUEST: usize = 4 << 20;

/// The longest message of a guest's.
pub const MAX_TO_HOST: usize = 64 * 1024;

/// One of a program's standard streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stream {
    /// Towards the guest.
    Stdin,
    /// Towards the host.
    Stdout,
    /// Towards the host.
    Stderr,
}

/// Why bytes are no frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Something else than a frame.
    #[error("what should begin a frame is {0:#04x}")]
    NoFrame(u8),
    /// A kind of frame that there is not.
    #[error("there is no frame of kind {0}")]
    Kind(u8),
    /// A payload that is longer than any may be.
    #[error("a frame of {length} bytes, where {most} is the most")]
    TooLong {
        /// As its header says.
        length: usize,
        /// Of its kind.
        most: usize,
    },
    /// A message that cannot be read.
    #[error("a message that cannot be read: {0}")]
    Message(String),
}

/// What a frame carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame<M> {
    /// A message.
    Message(M),
    /// Bytes of a stream; none is its end.
    Data {
        /// Whose.
        session: u16,
        /// Which.
        stream: Stream,
        /// Them.
        bytes: Vec<u8>,
    },
}

const MESSAGE: u8 = 0;

impl Stream {
    fn kind(self) -> u8 {
        match self {
            Self::Stdin => 1,
            Self::Stdout => 2,
            Self::Stderr => 3,
        }
    }

    fn of(kind: u8) -> Option<Self> {
        [Self::Stdin, Self::Stdout, Self::Stderr].into_iter().find(|stream| stream.kind() == kind)
    }
}

fn header(kind: u8, session: u16, length: usize) -> [u8; HEADER] {
    let [a, b] = session.to_le_bytes();
    // Bounded by the callers.
    let [c, d, e, f] = u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    [MARK, kind, a, b, c, d, e, f]
}

/// Appends a message's frame. A message of this project's own types is always JSON.
///
/// # Errors
/// Where it is longer than the other side takes.
pub fn write_message(
    out: &mut Vec<u8>,
    message: &impl serde::Serialize,
    most: usize,
) -> Result<(), FrameError> {
    let text = serde_json::to_vec(message).map_err(|error| FrameError::Message(error.to_string()))?;
    if text.len() > most {
        return Err(FrameError::TooLong { length: text.len(), most });
    }
    out.extend_from_slice(&header(MESSAGE, 0, text.len()));
    out.extend_from_slice(&text);
    Ok(())
}

/// Appends bytes of a stream, in as many frames as they need; no bytes are the stream's end.
pub fn write_data(out: &mut Vec<u8>, session: u16, stream: Stream, bytes: &[u8]) {
    if bytes.is_empty() {
        out.extend_from_slice(&header(stream.kind(), session, 0));
    }
    for chunk in bytes.chunks(MAX_DATA) {
        out.extend_from_slice(&header(stream.kind(), session, chunk.len()));
        out.extend_from_slice(chunk);
    }
}

/// Takes bytes as they come, and gives frames. After an error it gives that error for ever: nothing after it has a meaning.
#[derive(Debug)]
pub struct Decoder<M> {
    buffer: Vec<u8>,
    most: usize,
    failed: Option<FrameError>,
    message: PhantomData<M>,
}

impl<M: DeserializeOwned> Decoder<M> {
    /// Of messages with at most `most` bytes.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { buffer: Vec::new(), most, failed: None, message: PhantomData }
    }

    /// Takes what was read. Call [`Self::next_frame`] until it has no more before the next bytes: then no more than one frame and
    /// one read are ever kept.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// How much is kept.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// The next whole frame.
    ///
    /// # Errors
    /// What is wrong with it, as soon as its header is there.
    pub fn next_frame(&mut self) -> Result<Option<Frame<M>>, FrameError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let result = self.take();
        if let Err(error) = &result {
            self.failed = Some(error.clone());
            self.buffer = Vec::new();
        }
        result
    }

    fn take(&mut self) -> Result<Option<Frame<M>>, FrameError> {
        match self.buffer.first() {
            Some(&MARK) => {}
            Some(other) => return Err(FrameError::NoFrame(*other)),
            None => return Ok(None),
        }
        let Some(&[_, kind, s0, s1, l0, l1, l2, l3]) = self.buffer.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let stream = Stream::of(kind);
        let most = match stream {
            Some(_) => MAX_DATA,
            None if kind == MESSAGE => self.most,
            None => return Err(FrameError::Kind(kind)),
        };
        let length = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
        if length > most {
            return Err(FrameError::TooLong { length, most });
        }
        let Some(payload) = self.buffer.get(HEADER..HEADER + length) else { return Ok(None) };
        let frame = match stream {
            Some(stream) => {
                Frame::Data { session: u16::from_le_bytes([s0, s1]), stream, bytes: payload.to_vec() }
            }
            None => Frame::Message(
                serde_json::from_slice(payload).map_err(|error| FrameError::Message(error.to_string()))?,
            ),
        };
        self.buffer.drain(..HEADER + length);
        Ok(Some(frame))
    }
}
