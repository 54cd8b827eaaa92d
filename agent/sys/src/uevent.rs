//! What the kernel says of devices that come and go.
//!
//! Messages of the netlink family `NETLINK_KOBJECT_UEVENT`: lines `KEY=value`, each ended by a zero byte. Those of group 1 are
//! the kernel's; those of group 2 are udev's, which follow when its links are made.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};

const KERNEL: u32 = 1;
const UDEV: u32 = 2;

/// The end of a socket where they come in. It does not block.
#[derive(Debug)]
pub struct Uevents(OwnedFd);

impl Uevents {
    /// Opens one.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let protocol = SockProtocol::NetlinkKObjectUEvent;
        let fd = socket(AddressFamily::Netlink, SockType::Datagram, flags, protocol)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, KERNEL | UDEV))?;
        Ok(Self(fd))
    }

    /// Whether any message that waits is of a device with a node. That some were lost counts as one.
    ///
    /// # Errors
    /// What the kernel says; `WouldBlock` where none waits.
    pub fn drain(&self) -> io::Result<bool> {
        let mut buffer = [0; 8192];
        let (mut any, mut concerns) = (false, false);
        loop {
            match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(length) => {
                    let mut lines = buffer[..length].split(|byte| *byte == 0);
                    concerns |= lines.any(|line| line.starts_with(b"DEVNAME="));
                }
                Err(nix::Error::ENOBUFS) => concerns = true,
                Err(nix::Error::EINTR) => continue,
                Err(nix::Error::EAGAIN) if any => return Ok(concerns),
                Err(error) => return Err(error.into()),
            }
            any = true;
        }
    }
}

impl AsFd for Uevents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Uevents {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.0.as_raw_fd()
    }
}
