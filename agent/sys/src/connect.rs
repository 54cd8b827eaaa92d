//! A TCP connection to the first of several places where somebody listens, made without waiting.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::vec;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

/// One that is under way, in the network namespace of the thread that began it.
#[derive(Debug)]
pub struct Connecting {
    socket: OwnedFd,
    rest: vec::IntoIter<SocketAddr>,
    /// What the first place said that did not take it.
    refusal: Option<Errno>,
}

impl Connecting {
    /// Begins at the first that does not refuse at once. On the loopback a refusal comes at once.
    ///
    /// # Errors
    /// What the first of them said, where all refuse.
    pub fn begin(places: Vec<SocketAddr>) -> io::Result<Self> {
        let (mut rest, mut refusal) = (places.into_iter(), None);
        let socket = next(&mut rest, &mut refusal)?;
        Ok(Self { socket, rest, refusal })
    }

    /// Goes on as far as it can without waiting, in the same network namespace; whether it has come about. Until then it
    /// is to be waited for until it can be written to.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub fn progress(&mut self) -> io::Result<bool> {
        loop {
            match sockopt::socket_error(&self.socket)? {
                // No error, and no peer: it is under way.
                Ok(()) => match rustix::net::getpeername(&self.socket) {
                    // Nobody listens, and its own port happens to be that one: TCP lets it meet itself.
                    Ok(Some(peer)) if peer == rustix::net::getsockname(&self.socket)? => {
                        self.refuse(Errno::CONNREFUSED)?;
                    }
                    peer => return Ok(peer.is_ok()),
                },
                Err(error) => self.refuse(error)?,
            }
        }
    }

    fn refuse(&mut self, error: Errno) -> io::Result<()> {
        self.refusal.get_or_insert(error);
        self.socket = next(&mut self.rest, &mut self.refusal)?;
        Ok(())
    }

    /// The connection, which does not block.
    #[must_use]
    pub fn into_socket(self) -> OwnedFd {
        self.socket
    }
}

impl AsFd for Connecting {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn next(rest: &mut vec::IntoIter<SocketAddr>, refusal: &mut Option<Errno>) -> io::Result<OwnedFd> {
    for place in rest {
        match connect(place) {
            Ok(socket) => return Ok(socket),
            Err(error) => drop(refusal.get_or_insert(error)),
        }
    }
    Err(refusal.unwrap_or(Errno::ADDRNOTAVAIL).into())
}

fn connect(place: SocketAddr) -> rustix::io::Result<OwnedFd> {
    let family = if place.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, &place) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};

    fn reached(places: &[SocketAddr]) -> io::Result<SocketAddr> {
        let mut connecting = Connecting::begin(places.to_vec())?;
        while !connecting.progress()? {
            let mut fds = [nix::poll::PollFd::new(connecting.socket.as_fd(), nix::poll::PollFlags::POLLOUT)];
            nix::poll::poll(&mut fds, nix::poll::PollTimeout::NONE)?;
        }
        std::net::TcpStream::from(connecting.into_socket()).peer_addr()
    }

    #[test]
    fn a_connection_that_meets_itself_is_none() {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap();
        rustix::net::bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let itself = rustix::net::getsockname(&socket).unwrap();
        assert_eq!(rustix::net::connect(&socket, &itself), Err(Errno::INPROGRESS));
        let mut itself = Connecting { socket, rest: Vec::new().into_iter(), refusal: None };
        assert_eq!(itself.progress().unwrap_err().raw_os_error(), Some(libc::ECONNREFUSED));
    }

    #[test]
    fn the_first_place_where_somebody_listens_is_taken_and_the_first_refusal_is_told() {
        let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let at = |address: [u8; 4]| SocketAddr::from((address, port));
        let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
        let (nobody, somebody) = (at([127, 0, 0, 3]), at([127, 0, 0, 2]));
        assert_eq!(reached(&[nobody, v6, somebody, at([127, 0, 0, 4])]).unwrap(), somebody);
        // Nobody is there for another reason.
        let nowhere = at([255, 255, 255, 255]);
        let said = |places: &[SocketAddr]| reached(places).unwrap_err().raw_os_error();
        assert_eq!(said(&[nobody, nowhere]), Some(libc::ECONNREFUSED));
        assert_eq!(said(&[nowhere, nobody]), Some(libc::ENETUNREACH));
        assert_eq!(said(&[]), Some(libc::EADDRNOTAVAIL));
    }
}
