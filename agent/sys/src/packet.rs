//! A packet socket for DHCP: it can speak before its link has an address.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// IPv4 packets to and from one link of the namespace that it was opened in; of what comes, only UDP to port 68.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
    link: u32,
}

/// Classic BPF: what came as unfragmented UDP over IPv4 to port 68, of any header length; else nothing. What goes out through the
/// link is seen on the same socket, and a guest says what it likes: it is no answer.
const FILTER: [libc::sock_filter; 12] = [
    instruction(0x30, 0, 0, SKF_AD_PKTTYPE),
    instruction(0x15, 9, 0, PACKET_OUTGOING),
    instruction(0x28, 0, 0, SKF_AD_PROTOCOL),
    instruction(0x15, 0, 7, ETH_P_IP as u32), // IPv4?
    instruction(0x30, 0, 0, 9),               // the protocol
    instruction(0x15, 0, 5, 17),              // UDP?
    instruction(0x28, 0, 0, 6),               // flags and offset
    instruction(0x45, 3, 0, 0x3fff),          // a fragment?
    instruction(0xb1, 0, 0, 0),               // x = the header's length
    instruction(0x48, 0, 0, 2),               // the destination port
    instruction(0x15, 1, 0, 68),
    instruction(0x06, 0, 0, 0),
];
const ACCEPT: libc::sock_filter = instruction(0x06, 0, 0, 0xffff);

const fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

const ETH_P_IP: u16 = 0x0800;
const ETH_P_ALL: u16 = 0x0003;

/// Where a program finds the kind of a packet's protocol.
const SKF_AD_PROTOCOL: u32 = 0xffff_f000;
/// Where it finds whose a packet is.
const SKF_AD_PKTTYPE: u32 = 0xffff_f004;
const PACKET_OUTGOING: u32 = 4;

impl PacketSocket {
    /// Opens a socket on the link of this number, in the calling thread's network namespace.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open(link: u32) -> io::Result<Self> {
        Self::open_for(link, ETH_P_IP)
    }

    /// As [`Self::open`], on a link whose packets go to a descriptor: of what the kernel itself would take it sees none.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open_before(link: u32) -> io::Result<Self> {
        Self::open_for(link, ETH_P_ALL)
    }

    #[allow(unsafe_code)]
    fn open_for(link: u32, protocol: u16) -> io::Result<Self> {
        // SAFETY: no memory is passed.
        let raw = unsafe {
            libc::socket(libc::AF_PACKET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0)
        };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made it for us.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        let mut code: Vec<_> = FILTER.to_vec();
        code.push(ACCEPT);
        let program =
            libc::sock_fprog { len: u16::try_from(code.len()).unwrap_or(0), filter: code.as_mut_ptr() };
        // SAFETY: the program and its instructions live through the call, and the length is the program's.
        let set = unsafe {
            libc::setsockopt(
                raw,
                libc::SOL_SOCKET,
                libc::SO_ATTACH_FILTER,
                (&raw const program).cast(),
                size_of::<libc::sock_fprog>() as libc::socklen_t,
            )
        };
        if set < 0 {
            return Err(io::Error::last_os_error());
        }
        let address = link_address(link, protocol, EVERYONE);
        // SAFETY: the address lives through the call, and the length is its own.
        let bound = unsafe { libc::bind(raw, (&raw const address).cast(), ADDRESS_LENGTH) };
        if bound < 0 { Err(io::Error::last_os_error()) } else { Ok(Self { fd, link }) }
    }

    /// Sends an IPv4 packet to all on the link.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn broadcast(&self, packet: &[u8]) -> io::Result<()> {
        self.send(packet, EVERYONE)
    }

    /// Sends an IPv4 packet to the one of this hardware address.
    ///
    /// # Errors
    /// What the kernel says.
    #[allow(unsafe_code)]
    pub fn send(&self, packet: &[u8], to: [u8; 6]) -> io::Result<()> {
        let address = link_address(self.link, ETH_P_IP, to);
        // SAFETY: packet and address live through the call, and the lengths are theirs.
        let sent = unsafe {
            libc::sendto(
                self.fd.as_raw_fd(),
                packet.as_ptr().cast(),
                packet.len(),
                libc::MSG_NOSIGNAL,
                (&raw const address).cast(),
                ADDRESS_LENGTH,
            )
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Takes the next IPv4 packet; one that is longer than the buffer is cut. Gives its length, and the hardware address that it
    /// came from.
    ///
    /// # Errors
    /// `WouldBlock` where there is none, or what the kernel says.
    #[allow(unsafe_code)]
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, [u8; 6])> {
        let mut address = link_address(self.link, ETH_P_IP, EVERYONE);
        let mut address_length = ADDRESS_LENGTH;
        // SAFETY: buffer and address live through the call, which writes no more than their lengths.
        let length = unsafe {
            libc::recvfrom(
                self.fd.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                0,
                (&raw mut address).cast(),
                &raw mut address_length,
            )
        };
        let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
        let [a, b, c, d, e, f, ..] = address.sll_addr;
        Ok((length, [a, b, c, d, e, f]))
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

const ADDRESS_LENGTH: libc::socklen_t = size_of::<libc::sockaddr_ll>() as libc::socklen_t;

const EVERYONE: [u8; 6] = [0xff; 6];

fn link_address(link: u32, protocol: u16, [a, b, c, d, e, f]: [u8; 6]) -> libc::sockaddr_ll {
    libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: protocol.to_be(),
        sll_ifindex: i32::try_from(link).unwrap_or(0),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: [a, b, c, d, e, f, 0, 0],
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::{Duration, Instant};

    use nix::poll::{PollFd, PollFlags, poll};
    use nix::sched::{CloneFlags, unshare};

    use super::*;
    use crate::netlink::{Netlink, VethEnd, VethSpec};

    /// UDP from port 67 to port 68, with one byte.
    fn packet(mark: u8) -> Vec<u8> {
        let ip = [0x45, 0, 0, 29, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        [&ip[..], &[0, 67, 0, 68, 0, 9, 0, 0, mark]].concat()
    }

    /// What comes there first. It is said again until something does: the kernel sends nothing yet on a link that has just come up.
    fn heard(socket: &PacketSocket, say: impl Fn()) -> u8 {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            say();
            let mut waits = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
            if poll(&mut waits, 20_u16).unwrap() == 1 {
                let mut buffer = [0; 64];
                let (length, _) = socket.receive(&mut buffer).unwrap();
                return buffer[length - 1];
            }
            assert!(Instant::now() < deadline, "nothing came");
        }
    }

    #[test]
    fn what_goes_out_is_no_answer() {
        let inside = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            let mut netlink = Netlink::open().unwrap();
            let end = |name| VethEnd { name, mac: None };
            let pair =
                VethSpec { host: end("a"), master: None, peer: end("b"), peer_namespace: None, mtu: None };
            netlink.create_veth(&pair).unwrap();
            let [a, b] = ["a", "b"].map(|name| {
                netlink.set_up(name).unwrap();
                netlink.link(name).unwrap().unwrap().index
            });
            let (listens, guest) = (PacketSocket::open_before(a).unwrap(), PacketSocket::open(a).unwrap());
            let server = PacketSocket::open(b).unwrap();
            assert_eq!(heard(&server, || guest.broadcast(&packet(1)).unwrap()), 1);
            assert_eq!(heard(&listens, || server.broadcast(&packet(2)).unwrap()), 2);
        });
        inside.join().unwrap();
    }
}
