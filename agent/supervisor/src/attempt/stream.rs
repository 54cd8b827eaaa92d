//! A try inside a container's network namespace, from which its loopback is reached.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use berth_runtime::health::Probe;
use berth_sys::connect::Connecting;

use super::{Talk, Verdict};
use crate::host::inside;

/// A connection, tried on one of the instance's addresses after the other.
pub struct Stream {
    to: Connecting,
    connected: bool,
    talk: Talk,
}

impl Stream {
    /// Begins with the loopback.
    pub fn new(probe: &Probe, own: impl Iterator<Item = IpAddr>, network: &OwnedFd) -> io::Result<Self> {
        let port = match probe {
            Probe::Exec { .. } => 0,
            Probe::Tcp { port } | Probe::Http { port, .. } => *port,
        };
        let addresses = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()].into_iter().chain(own);
        let places = addresses.map(|address| SocketAddr::new(address, port)).collect();
        let to = inside(network, || Connecting::begin(places))??;
        Ok(Self { to, connected: false, talk: Talk::new(probe) })
    }

    /// For who speaks on a connection that has come about.
    pub fn into_socket(self) -> OwnedFd {
        self.to.into_socket()
    }

    pub fn is_writing(&self) -> bool {
        !self.connected || !self.talk.left().is_empty()
    }

    /// Goes on as far as it can without waiting.
    pub fn progress(&mut self, network: &OwnedFd) -> Option<Verdict> {
        match self.go_on(network) {
            Ok(verdict) => verdict,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => Some(Verdict::Ill(error.to_string())),
        }
    }

    fn go_on(&mut self, network: &OwnedFd) -> io::Result<Option<Verdict>> {
        if !self.connected {
            self.connected = inside(network, || self.to.progress())??;
            if !self.connected {
                return Ok(None);
            }
            if let Some(verdict) = self.talk.begun() {
                return Ok(Some(verdict));
            }
        }
        while !self.talk.left().is_empty() {
            let length = rustix::io::write(&self.to, self.talk.left())?;
            self.talk.said(length);
        }
        let mut buffer = [0; 512];
        loop {
            let length = rustix::io::read(&self.to, &mut buffer)?;
            if length == 0 {
                return Ok(Some(Talk::ended()));
            }
            if let Some(verdict) = self.talk.heard(&buffer[..length]) {
                return Ok(Some(verdict));
            }
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.to.as_fd()
    }
}
