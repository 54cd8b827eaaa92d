//! What is taken away of nftables, as it happens.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
};

use netlink_packet_core::NetlinkBuffer;
use netlink_sys::{Socket, protocols::NETLINK_NETFILTER};

use super::error::{Cause, NetlinkError, Operation};

/// `NFNLGRP_NFTABLES`: whatever changes in nftables.
const GROUP: u32 = 7;
/// `NFNL_SUBSYS_NFTABLES`, in the upper half of a message's type.
pub(super) const SUBSYSTEM: u16 = 10;
/// `NFT_MSG_DELTABLE`, `NFT_MSG_DELCHAIN`, `NFT_MSG_DELRULE`. Of each, the first attribute names the table.
const REMOVALS: [u16; 3] = [2, 5, 8];
const NAME: u16 = 1;
/// What stands before the attributes: `struct nfgenmsg`.
const HEADER: usize = 4;

/// Hears of tables, chains and rules of nftables that are taken away, by whomever, in the network namespace that it was
/// opened in. Elements of sets do not count. It can be waited for: when it is readable, something changed.
#[derive(Debug)]
pub struct RulesetWatch {
    socket: Socket,
}

/// What was taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// Something of a table of this name.
    Of(String),
    /// More than was listened to: it could be of any.
    Unknown,
}

impl RulesetWatch {
    /// Begins to listen.
    ///
    /// # Errors
    /// If the kernel gives no socket, or has no nftables.
    pub fn open() -> Result<Self, NetlinkError> {
        let failed =
            |error| NetlinkError::new(Operation::Open, "a socket for nftables", Cause::Exchange(error));
        let mut socket = Socket::new(NETLINK_NETFILTER).map_err(failed)?;
        socket.bind_auto().map_err(failed)?;
        socket.add_membership(GROUP).map_err(failed)?;
        socket.set_non_blocking(true).map_err(failed)?;
        Ok(Self { socket })
    }

    /// What was taken away since it was asked last; never waits.
    ///
    /// # Errors
    /// If the socket fails.
    pub fn removed(&mut self) -> io::Result<Vec<Removed>> {
        let mut removed = Vec::new();
        loop {
            match self.socket.recv_from_full() {
                Ok((datagram, _)) => read(&datagram, &mut removed),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(removed),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Some messages did not fit in; those after them do.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => removed.push(Removed::Unknown),
                Err(error) => return Err(error),
            }
        }
    }
}

impl AsRawFd for RulesetWatch {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl AsFd for RulesetWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn read(mut datagram: &[u8], removed: &mut Vec<Removed>) {
    while !datagram.is_empty() {
        let Ok(message) = NetlinkBuffer::new_checked(datagram) else {
            removed.push(Removed::Unknown);
            return;
        };
        let kind = message.message_type();
        if kind >> 8 == SUBSYSTEM && REMOVALS.contains(&(kind & 0xff)) {
            let of = table(message.payload()).map_or(Removed::Unknown, Removed::Of);
            if removed.last() != Some(&of) {
                removed.push(of);
            }
        }
        let length = (message.length() as usize).next_multiple_of(4).min(datagram.len());
        datagram = datagram.get(length..).unwrap_or_default();
    }
}

/// The table that a message is about.
fn table(payload: &[u8]) -> Option<String> {
    let mut attributes = payload.get(HEADER..)?;
    loop {
        let length = usize::from(u16::from_ne_bytes(attributes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(attributes.get(2..4)?.try_into().ok()?);
        let value = attributes.get(4..length)?;
        if kind == NAME {
            let text = value.split(|byte| *byte == 0).next()?;
            return String::from_utf8(text.to_vec()).ok();
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn message(kind: u16, attributes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(20 + attributes.len()).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend((SUBSYSTEM << 8 | kind).to_ne_bytes());
        bytes.extend([0; 14]);
        bytes.extend(attributes);
        bytes
    }

    #[test]
    fn removals_are_told_with_their_table() {
        let named = [attribute(7, b"xy"), attribute(NAME, b"berthabcd\0")].concat();
        let datagram = [message(0, &named), message(2, &named), message(8, &named), message(5, b"")].concat();
        let mut removed = Vec::new();
        read(&datagram, &mut removed);
        assert_eq!(removed, [Removed::Of("berthabcd".to_owned()), Removed::Unknown]);
    }

    #[test]
    fn what_cannot_be_read_ends() {
        for bad in [&[1, 2, 3][..], &[0; 40], &message(2, &[0, 0, 1, 0])] {
            let mut removed = Vec::new();
            read(bad, &mut removed);
            assert!(removed.iter().all(|it| *it == Removed::Unknown), "{removed:?}");
        }
    }
}
