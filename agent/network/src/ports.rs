//! Ports of the host that are published.
//!
//! A translated port is not bound on the host: the kernel sends its packets on before it looks for a socket. So without
//! more a program could listen on the same port, be told that all is well, and never hear anything; nor would `ss` show
//! who has the port. Therefore the agent holds each published port with a listening socket of its own ([`HeldPort`]).
//! Other programs, and other agents, then fail loudly when they ask for the port, and `ss -lp` shows `berthd`.
//!
//! The socket never sees a packet while the firewall's table is in place. It goes when the agent goes: the port stays
//! published, since the table stays, and the agent that starts next holds it again, or learns who took it.

use std::{
    fmt, fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::RangeInclusive,
    os::fd::{AsRawFd, OwnedFd},
};

use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, sockopt};

use crate::firewall::{HostPort, Protocol};

/// A port that nobody else can bind while this lives.
#[derive(Debug)]
pub struct HeldPort {
    port: HostPort,
    _socket: OwnedFd,
}

impl HeldPort {
    /// Which it is.
    #[must_use]
    pub fn port(&self) -> HostPort {
        self.port
    }
}

/// The process that has a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// The name of its command.
    pub command: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (process {})", self.command, self.pid)
    }
}

/// Why a port cannot be published.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// Somebody has it.
    #[error("port {port} is in use{}", by(holder.as_ref()))]
    Taken {
        /// The port.
        port: HostPort,
        /// Who has it, if that can be seen.
        holder: Option<Holder>,
    },
    /// It is at an address that the host does not have.
    #[error("the host has no address {0}: use one that `ip address` shows, or 0.0.0.0 for all")]
    NoSuchAddress(IpAddr),
    /// All ports of a range are taken.
    #[error("no {protocol} port from {} to {} is free at {address}", range.start(), range.end())]
    NoneFree {
        /// The host's address.
        address: IpAddr,
        /// The protocol.
        protocol: Protocol,
        /// The range.
        range: RangeInclusive<u16>,
    },
    /// The kernel refused it for another reason.
    #[error("port {port} cannot be held")]
    Refused {
        /// The port.
        port: HostPort,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn by(holder: Option<&Holder>) -> String {
    holder.map(|holder| format!(" by {holder}")).unwrap_or_default()
}

/// Takes a port, so that nobody else can.
///
/// # Errors
/// If somebody has it, or the host does not have the address.
pub fn hold(port: HostPort) -> Result<HeldPort, PortError> {
    let bound = bind(SocketAddr::new(port.address, port.port), port.protocol);
    match bound {
        Ok(socket) => Ok(HeldPort { port, _socket: socket }),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            Err(PortError::Taken { port, holder: holder_of(port) })
        }
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
            Err(PortError::NoSuchAddress(port.address))
        }
        Err(source) => Err(PortError::Refused { port, source }),
    }
}

/// Binds without a packet of the other family ever counting: `::` would hold `0.0.0.0` as well.
fn bind(address: SocketAddr, protocol: Protocol) -> io::Result<OwnedFd> {
    let (family, storage) = match address {
        SocketAddr::V4(v4) => (AddressFamily::Inet, SockaddrStorage::from(v4)),
        SocketAddr::V6(v6) => (AddressFamily::Inet6, SockaddrStorage::from(v6)),
    };
    let kind = match protocol {
        Protocol::Tcp => SockType::Stream,
        Protocol::Udp => SockType::Datagram,
    };
    let socket = socket::socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
    if address.is_ipv6() {
        socket::setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
    }
    if protocol == Protocol::Tcp {
        // As the standard library's listeners have it: connections that are closing are in nobody's way.
        socket::setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    }
    socket::bind(socket.as_raw_fd(), &storage)?;
    if protocol == Protocol::Tcp {
        socket::listen(&socket, Backlog::new(128)?)?;
    }
    Ok(socket)
}

/// Tells whether a port could be taken now.
///
/// # Errors
/// Those of [`hold`].
pub fn check_free(address: IpAddr, port: u16, protocol: Protocol) -> Result<(), PortError> {
    hold(HostPort { address, protocol, port }).map(drop)
}

/// Takes the first free port of a range. `avoid` are ports that are spoken for, though nobody holds them now.
///
/// # Errors
/// If none is free, or the host does not have the address.
pub fn hold_any(
    address: IpAddr,
    protocol: Protocol,
    range: RangeInclusive<u16>,
    avoid: impl Fn(u16) -> bool,
) -> Result<HeldPort, PortError> {
    for port in range.clone().filter(|port| !avoid(*port)) {
        match hold(HostPort { address, protocol, port }) {
            Err(PortError::Taken { .. }) => {}
            outcome => return outcome,
        }
    }
    Err(PortError::NoneFree { address, protocol, range })
}

/// Finds the process whose socket has the port, as far as `/proc` shows it.
fn holder_of(port: HostPort) -> Option<Holder> {
    let tables: [&str; 2] = match port.protocol {
        Protocol::Tcp => ["tcp", "tcp6"],
        Protocol::Udp => ["udp", "udp6"],
    };
    let sockets =
        tables.iter().filter_map(|table| fs::read_to_string(format!("/proc/thread-self/net/{table}")).ok());
    let inode = sockets.flat_map(|table| inodes(&table, port)).next()?;
    process_with_socket(inode)
}

/// The inodes of the sockets of a table of `/proc/net` that are bound where they keep `port` from being bound.
fn inodes(table: &str, port: HostPort) -> Vec<u64> {
    const LISTENS: &str = "0A";
    let inode = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, state) = (socket_address(fields.next()?)?, fields.nth(1)?);
        let clashes = match local.ip() {
            IpAddr::V4(v4) => {
                port.address.is_ipv4()
                    && (v4 == port.address || v4.is_unspecified() || port.address.is_unspecified())
            }
            IpAddr::V6(v6) => {
                let mapped = v6.to_ipv4_mapped().map(IpAddr::V4) == Some(port.address);
                v6.is_unspecified()
                    || mapped
                    || v6 == port.address
                    || (port.address.is_ipv6() && port.address.is_unspecified())
            }
        };
        let open = port.protocol == Protocol::Udp || state == LISTENS;
        (open && clashes && local.port() == port.port).then(|| fields.nth(5)?.parse().ok())?
    };
    table.lines().skip(1).filter_map(inode).collect()
}

/// An address as `/proc/net/tcp` writes it: `0100007F:1F90`, each four bytes in the host's byte order.
fn socket_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word =
        |start: usize| Some(u32::from_str_radix(address.get(start..start + 8)?, 16).ok()?.to_ne_bytes());
    let ip = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(words.concat()).ok()?))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

fn process_with_socket(inode: u64) -> Option<Holder> {
    let link = format!("socket:[{inode}]");
    fs::read_dir("/proc").ok()?.filter_map(Result::ok).find_map(|process| {
        let pid = process.file_name().to_str()?.parse().ok()?;
        // A process may end while it is looked at.
        let mut files = fs::read_dir(process.path().join("fd")).ok()?.filter_map(Result::ok);
        files.find(|file| {
            fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == link.as_str())
        })?;
        let command = fs::read_to_string(process.path().join("comm")).ok()?.trim_end().to_owned();
        Some(Holder { pid, command })
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn loopback(port: u16, protocol: Protocol) -> HostPort {
        HostPort { address: Ipv4Addr::LOCALHOST.into(), protocol, port }
    }

    #[test]
    fn who_has_a_port_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = loopback(listener.local_addr().unwrap().port(), Protocol::Tcp);
        let error = hold(port).unwrap_err();
        let PortError::Taken { holder: Some(holder), .. } = &error else { panic!("{error:?}") };
        assert_eq!(holder.pid, std::process::id());
        let expected = format!("port 127.0.0.1:{}/tcp is in use by {}", port.port, holder);
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_listener_at_all_addresses_of_both_families_is_seen() {
        let listener = TcpListener::bind("[::]:0").unwrap();
        let error = hold(loopback(listener.local_addr().unwrap().port(), Protocol::Tcp)).unwrap_err();
        assert!(matches!(error, PortError::Taken { holder: Some(_), .. }), "{error:?}");
    }

    #[test]
    fn a_held_port_is_free_again_when_it_is_let_go() {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let held = hold_any(Ipv4Addr::LOCALHOST.into(), protocol, 20_000..=29_999, |_| false).unwrap();
            let port = held.port();
            assert!(matches!(hold(port), Err(PortError::Taken { .. })));
            let next =
                hold_any(Ipv4Addr::LOCALHOST.into(), protocol, port.port..=29_999, |p| p == port.port + 1)
                    .unwrap();
            assert!(next.port().port > port.port + 1);
            drop(held);
            check_free(port.address, port.port, protocol).unwrap();
        }
    }

    #[test]
    fn a_full_range_and_a_foreign_address_are_errors() {
        let held = hold_any(Ipv4Addr::LOCALHOST.into(), Protocol::Tcp, 20_000..=29_999, |_| false).unwrap();
        let port = held.port().port;
        let error = hold_any(Ipv4Addr::LOCALHOST.into(), Protocol::Tcp, port..=port, |_| false).unwrap_err();
        assert!(error.to_string().starts_with("no tcp port from"), "{error}");
        let foreign = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        let error = check_free(foreign, 8080, Protocol::Tcp).unwrap_err();
        assert!(matches!(error, PortError::NoSuchAddress(address) if address == foreign));
    }
}
