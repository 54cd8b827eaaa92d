//! The exchange of requests and answers.

use std::{fmt, io};

use netlink_packet_core::{
    ErrorBuffer, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR,
    NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::errno::Errno;

use super::error::{Cause, NetlinkError, Operation};

/// The kernel sends a dump in datagrams of at most 32 KiB; only a single larger message may exceed that.
const BUFFER: usize = 64 * 1024;

/// How often a listing is begun anew because the tables changed under it.
const LISTING_ATTEMPTS: u32 = 16;

/// An rtnetlink socket, bound to the network namespace that it was opened in.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

/// What one datagram said of the whole answer.
#[derive(Debug, Default, PartialEq, Eq)]
struct Progress {
    /// It is complete.
    finished: bool,
    /// It is a listing during which the tables changed.
    interrupted: bool,
}

impl Netlink {
    /// Opens a socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// If the kernel gives no socket.
    pub fn open() -> Result<Self, NetlinkError> {
        let exchange = |error| NetlinkError::new(Operation::Open, "a netlink socket", Cause::Exchange(error));
        let mut socket = Socket::new(NETLINK_ROUTE).map_err(exchange)?;
        socket.bind_auto().map_err(exchange)?;
        // Connected to the kernel, the socket takes messages from nobody else.
        socket.connect(&SocketAddr::new(0, 0)).map_err(exchange)?;
        Ok(Self { socket, sequence: 0, buffer: vec![0; BUFFER] })
    }

    /// Sends a request that answers with nothing but whether it was done.
    pub(super) fn request(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
        operation: Operation,
        object: impl fmt::Display,
    ) -> Result<(), NetlinkError> {
        self.exchange(message, NLM_F_ACK | flags, |_, _| Ok(()))
            .map(drop)
            .map_err(|cause| NetlinkError::new(operation, object, cause))
    }

    /// Sends a request for one object, and gives the payload of the answer to `read`.
    pub(super) fn query<T>(
        &mut self,
        message: RouteNetlinkMessage,
        mut read: impl FnMut(u16, &[u8]) -> Result<Option<T>, Cause>,
    ) -> Result<Option<T>, Cause> {
        let mut found = None;
        self.exchange(message, NLM_F_ACK, |kind, payload| {
            if let Some(value) = read(kind, payload)? {
                found = Some(value);
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Lists objects. A listing during which the tables changed may lack entries, so it is begun anew.
    pub(super) fn list<T>(
        &mut self,
        message: &RouteNetlinkMessage,
        operation: Operation,
        what: &str,
        mut read: impl FnMut(u16, &[u8]) -> Result<Option<T>, Cause>,
    ) -> Result<Vec<T>, NetlinkError> {
        for _ in 0..LISTING_ATTEMPTS {
            let mut found = Vec::new();
            let interrupted = self
                .exchange(message.clone(), NLM_F_DUMP, |kind, payload| {
                    found.extend(read(kind, payload)?);
                    Ok(())
                })
                .map_err(|cause| NetlinkError::new(operation, what, cause))?;
            if !interrupted {
                return Ok(found);
            }
        }
        Err(NetlinkError::new(operation, what, Cause::Unstable))
    }

    /// One request and all of its answer; true if a listing was interrupted.
    fn exchange(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
        mut handle: impl FnMut(u16, &[u8]) -> Result<(), Cause>,
    ) -> Result<bool, Cause> {
        self.sequence = self.sequence.wrapping_add(1);
        self.send(message, flags)?;
        let mut interrupted = false;
        let mut outcome = Ok(());
        loop {
            let length = self.receive()?;
            let datagram = self.buffer.get(..length).unwrap_or_default();
            // After a failure to read one message the rest is still drained, so that it is not taken for the
            // answer to the next request.
            let progress = read_datagram(datagram, self.sequence, |kind, payload| {
                if outcome.is_ok() {
                    outcome = handle(kind, payload);
                }
            })?;
            interrupted |= progress.interrupted;
            if progress.finished {
                return outcome.map(|()| interrupted);
            }
        }
    }

    fn send(&self, message: RouteNetlinkMessage, flags: u16) -> Result<(), Cause> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        retry(|| self.socket.send(&bytes, 0)).map(drop).map_err(Cause::Exchange)
    }

    fn receive(&mut self) -> Result<usize, Cause> {
        let Self { socket, buffer, .. } = self;
        let length =
            retry(|| socket.recv(&mut buffer.as_mut_slice(), libc::MSG_TRUNC)).map_err(Cause::Exchange)?;
        if length > buffer.len() {
            return Err(Cause::Exchange(io::Error::from_raw_os_error(libc::EMSGSIZE)));
        }
        Ok(length)
    }
}

fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

/// Reads the messages of one datagram that answer request `sequence`.
fn read_datagram(
    mut datagram: &[u8],
    sequence: u32,
    mut handle: impl FnMut(u16, &[u8]),
) -> Result<Progress, Cause> {
    let mut progress = Progress::default();
    while !datagram.is_empty() {
        let message = NetlinkBuffer::new_checked(datagram).map_err(Cause::Malformed)?;
        // Messages begin at multiples of four; the last one need not be padded.
        let length = (message.length() as usize).next_multiple_of(4).min(datagram.len());
        let answer = message.sequence_number() == sequence;
        progress.interrupted |= message.flags() & NLM_F_DUMP_INTR != 0;
        match message.message_type() {
            _ if !answer => {}
            // Both carry an error number first; a kernel may leave it out at the end of a listing.
            NLMSG_DONE if message.payload().is_empty() => progress.finished = true,
            NLMSG_ERROR | NLMSG_DONE => {
                let error = ErrorBuffer::new_checked(message.payload()).map_err(Cause::Malformed)?;
                if let Some(code) = error.code().filter(|code| code.get() < 0) {
                    return Err(Cause::Refused(Errno::from_raw(code.get().wrapping_neg())));
                }
                progress.finished = true;
            }
            kind => handle(kind, message.payload()),
        }
        datagram = datagram.get(length..).unwrap_or_default();
    }
    Ok(progress)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let length = 16 + payload.len() as u32;
        let mut bytes = Vec::new();
        bytes.extend(length.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(0u16.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend(0u32.to_ne_bytes());
        bytes.extend(payload);
        bytes
    }

    fn outcome(datagram: &[u8]) -> Result<Progress, Cause> {
        read_datagram(datagram, 7, |_, _| {})
    }

    #[test]
    fn a_refusal_is_the_kernels_error_number() {
        let refused = outcome(&message(NLMSG_ERROR, 7, &(-libc::EEXIST).to_ne_bytes()));
        assert!(matches!(refused, Err(Cause::Refused(Errno::EEXIST))));
    }

    #[test]
    fn an_answer_to_an_earlier_request_is_passed_over() {
        let mut datagram = message(NLMSG_ERROR, 6, &(-libc::EEXIST).to_ne_bytes());
        assert!(!outcome(&datagram).unwrap().finished);
        datagram.extend(message(NLMSG_ERROR, 7, &0i32.to_ne_bytes()));
        assert_eq!(outcome(&datagram).unwrap(), Progress { finished: true, interrupted: false });
    }

    #[test]
    fn answers_that_break_the_framing_are_errors() {
        let mut short = message(16, 7, &[0; 16]);
        short.truncate(20);
        assert!(matches!(outcome(&short), Err(Cause::Malformed(_))));
        assert!(matches!(outcome(&message(NLMSG_ERROR, 7, &[1, 2])), Err(Cause::Malformed(_))));
        assert!(matches!(outcome(&[1, 2, 3]), Err(Cause::Malformed(_))));
        // A message that says it has no length would never end.
        let mut empty = message(16, 7, &[]);
        empty[..4].fill(0);
        assert!(matches!(outcome(&empty), Err(Cause::Malformed(_))));
    }
}
