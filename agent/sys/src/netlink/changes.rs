//! Being told that addresses or links change.

use std::os::fd::{AsFd, BorrowedFd};

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::error::{Cause, NetlinkError, Operation};

/// `RTMGRP_IPV4_IFADDR` and `RTMGRP_IPV6_IFADDR`.
const ADDRESSES: u32 = 0x10 | 0x100;

/// `RTMGRP_LINK`.
const LINKS: u32 = 0x1;

/// A socket that becomes ready when something of its network namespace comes or goes.
#[derive(Debug)]
pub struct Changes(Socket);

impl Changes {
    /// Of addresses in the calling thread's network namespace, from now on.
    ///
    /// # Errors
    /// If the kernel gives no socket.
    pub fn of_addresses() -> Result<Self, NetlinkError> {
        Self::open(ADDRESSES)
    }

    /// Of links in the calling thread's network namespace, from now on.
    ///
    /// # Errors
    /// If the kernel gives no socket.
    pub fn of_links() -> Result<Self, NetlinkError> {
        Self::open(LINKS)
    }

    fn open(groups: u32) -> Result<Self, NetlinkError> {
        let exchange = |error| NetlinkError::new(Operation::Open, "a netlink socket", Cause::Exchange(error));
        let mut socket = Socket::new(NETLINK_ROUTE).map_err(exchange)?;
        socket.bind(&SocketAddr::new(0, groups)).map_err(exchange)?;
        socket.set_non_blocking(true).map_err(exchange)?;
        Ok(Self(socket))
    }

    /// Takes what has come, so that the socket is ready again only for what comes later. What changed is for what
    /// there is now to say: more changes than fit are told as one.
    pub fn drain(&self) {
        let mut buffer = [0_u8; 8192];
        // A few at a time: whoever changes things without end must not keep the caller from everything else.
        for _ in 0..64 {
            match self.0.recv(&mut &mut buffer[..], 0) {
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => {}
                Err(_) => break,
            }
        }
    }
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
