//! The exchange with the kernel.

use std::io;

use netlink_packet_core::{ErrorBuffer, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use nix::{
    errno::Errno,
    sys::socket::{setsockopt, sockopt::SndBufForce},
};

use super::{Batch, refusal};
use crate::netlink::{Cause, NetlinkError, Operation};

/// `struct nfgenmsg`, before the attributes.
const HEADER: usize = 4;
/// As much as a batch may have: the kernel takes it as one message, and by default a fifth of a megabyte of it.
const LARGEST: usize = 16 << 20;

/// Where batches go: nftables of the network namespace that it was opened in.
///
/// It is kept for the next batch: who closes it waits until the kernel has freed what was taken out.
#[derive(Debug)]
pub struct Nftables {
    socket: Socket,
    buffer: Vec<u8>,
}

/// Why requests were not done.
pub(super) struct Failed {
    pub(super) cause: Cause,
    /// The number of the one that the kernel refused.
    message: Option<u32>,
}

impl From<Cause> for Failed {
    fn from(cause: Cause) -> Self {
        Self { cause, message: None }
    }
}

impl Nftables {
    /// Of the calling thread's network namespace.
    ///
    /// # Errors
    /// If the kernel gives no socket.
    pub fn open() -> Result<Self, NetlinkError> {
        let failed =
            |error| NetlinkError::new(Operation::Open, "a socket for nftables", Cause::Exchange(error));
        let mut socket = Socket::new(NETLINK_NETFILTER).map_err(failed)?;
        socket.bind_auto().map_err(failed)?;
        // What is refused need not be sent back.
        socket.set_cap_ack(true).map_err(failed)?;
        setsockopt(&socket, SndBufForce, &LARGEST).map_err(|errno| failed(errno.into()))?;
        Ok(Self { socket, buffer: vec![0; 64 * 1024] })
    }

    /// Has the kernel make the changes.
    ///
    /// # Errors
    /// If the kernel refuses any; then none is made.
    pub fn apply(&mut self, batch: Batch) -> Result<(), NetlinkError> {
        let Some(bytes) = batch.finish() else { return Ok(()) };
        self.exchange(&bytes, |_, _| {}).map_err(|Failed { cause, message }| {
            let object = message.and_then(|message| refusal::object(&bytes, message));
            let object = object.unwrap_or_else(|| "nftables".to_owned());
            NetlinkError::new(Operation::ChangeRules, object, cause)
        })
    }

    /// Sends requests and reads what the kernel says of them: it has begun to when the sending returns, and is never waited
    /// for.
    pub(super) fn exchange(
        &mut self,
        requests: &[u8],
        mut handle: impl FnMut(u16, &[u8]),
    ) -> Result<(), Failed> {
        let sent = self.socket.send_to(requests, &SocketAddr::new(0, 0), 0).map_err(Cause::Exchange)?;
        if sent != requests.len() {
            return Err(Cause::Exchange(io::ErrorKind::WriteZero.into()).into());
        }
        let mut refused = None;
        let mut finished = false;
        loop {
            let length = match self.socket.recv(&mut self.buffer.as_mut_slice(), libc::MSG_DONTWAIT) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // More refusals than there was room for: the first of them are there.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return match refused {
                        Some(failed) => Err(failed),
                        None if finished => Ok(()),
                        None => Err(Cause::Exchange(error).into()),
                    };
                }
                Err(error) => return Err(Cause::Exchange(error).into()),
            };
            let mut datagram = self.buffer.get(..length).unwrap_or_default();
            while !datagram.is_empty() {
                let message = NetlinkBuffer::new_checked(datagram).map_err(Cause::Malformed)?;
                match message.message_type() {
                    NLMSG_DONE => finished = true,
                    NLMSG_ERROR => {
                        let error = ErrorBuffer::new_checked(message.payload()).map_err(Cause::Malformed)?;
                        match error.code() {
                            // The first is what the others come of.
                            Some(code) => {
                                let cause = Cause::Refused(Errno::from_raw(code.get().wrapping_neg()));
                                let message = Some(message.sequence_number());
                                refused.get_or_insert(Failed { cause, message });
                            }
                            None => finished = true,
                        }
                    }
                    kind => handle(kind & 0xff, message.payload().get(HEADER..).unwrap_or_default()),
                }
                let length = (message.length() as usize).next_multiple_of(4).min(datagram.len());
                datagram = datagram.get(length..).unwrap_or_default();
            }
        }
    }
}
