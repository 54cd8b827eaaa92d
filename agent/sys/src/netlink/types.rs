//! Plain data of the requests and answers.

use std::{
    fmt,
    net::IpAddr,
    os::fd::{AsRawFd, BorrowedFd},
    str::FromStr,
};

use netlink_packet_route::link::LinkAttribute;

/// A hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddress(pub [u8; 6]);

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// A text that is no hardware address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a MAC address: six hexadecimal bytes joined by colons are expected")]
pub struct InvalidMac(pub String);

impl FromStr for MacAddress {
    type Err = InvalidMac;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidMac(text.to_owned());
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(invalid)?;
            // from_str_radix takes a sign, a MAC address has none.
            if !part.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(invalid());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| invalid())?;
        }
        if parts.next().is_some() { Err(invalid()) } else { Ok(Self(bytes)) }
    }
}

/// A link's name that the kernel would take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkName<'a>(&'a str);

impl<'a> LinkName<'a> {
    /// `None` where the kernel would refuse the name. `%` is refused too: the kernel takes it for a pattern and
    /// would make a link of another name.
    #[must_use]
    pub fn new(name: &'a str) -> Option<Self> {
        let fits = (1..=15).contains(&name.len()) && name != "." && name != "..";
        let plain = name.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':' | b'%'));
        (fits && plain).then_some(Self(name))
    }

    pub(super) fn attribute(self) -> LinkAttribute {
        LinkAttribute::IfName(self.0.to_owned())
    }
}

/// A network namespace to put a link into.
#[derive(Debug, Clone, Copy)]
pub enum Namespace<'a> {
    /// By an open descriptor of it.
    Fd(BorrowedFd<'a>),
    /// By a process that is in it.
    Pid(u32),
}

impl Namespace<'_> {
    pub(super) fn attribute(self) -> LinkAttribute {
        match self {
            Self::Fd(fd) => LinkAttribute::NetNsFd(fd.as_raw_fd()),
            Self::Pid(pid) => LinkAttribute::NetNsPid(pid),
        }
    }
}

/// A bridge to be made.
#[derive(Debug, Clone, Copy)]
pub struct BridgeSpec<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its own MAC address. Given one, the bridge keeps it; else it takes that of its lowest port, and so changes
    /// it under the neighbours' feet as ports come and go.
    pub mac: Option<MacAddress>,
    /// Its MTU; the kernel's default if absent.
    pub mtu: Option<u32>,
}

/// One end of a veth pair.
#[derive(Debug, Clone, Copy)]
pub struct VethEnd<'a> {
    /// Its name, in the namespace where it ends up.
    pub name: &'a str,
    /// Its MAC address; random if absent.
    pub mac: Option<MacAddress>,
}

/// A pair of veths to be made: one end stays in the socket's namespace and is set up, the peer may go elsewhere and
/// is down (the kernel cannot set it up before the pair is whole).
#[derive(Debug, Clone, Copy)]
pub struct VethSpec<'a> {
    /// The end that stays here.
    pub host: VethEnd<'a>,
    /// The bridge that the host's end becomes a port of.
    pub master: Option<&'a str>,
    /// The other end.
    pub peer: VethEnd<'a>,
    /// Where the peer goes; it stays here if absent.
    pub peer_namespace: Option<Namespace<'a>>,
    /// The MTU of both ends; the kernel's default if absent.
    pub mtu: Option<u32>,
}

/// A macvlan to be made: a link with a MAC address of its own on top of another, which it reaches the same network by.
#[derive(Debug, Clone, Copy)]
pub struct MacvlanSpec<'a> {
    /// Its name, in the namespace where it ends up.
    pub name: &'a str,
    /// The link that it is on top of.
    pub parent: &'a str,
    /// Its MAC address; random if absent.
    pub mac: Option<MacAddress>,
    /// Where it goes; it stays here if absent.
    pub namespace: Option<Namespace<'a>>,
    /// Its MTU, at most its parent's; the parent's if absent.
    pub mtu: Option<u32>,
}

/// A VLAN of a link to be made: a link of its own.
#[derive(Debug, Clone, Copy)]
pub struct VlanSpec<'a> {
    /// Its name.
    pub name: &'a str,
    /// The link whose frames with the tag it has.
    pub parent: &'a str,
    /// The tag, 1 to 4094.
    pub id: u16,
}

/// A link as the kernel reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number, never used twice while the namespace lives.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// What made it: `bridge`, `veth`, … Nothing for a network card or the loopback.
    pub kind: Option<String>,
    /// Its hardware address, where it has one of six bytes.
    pub mac: Option<MacAddress>,
    /// Its MTU.
    pub mtu: u32,
    /// The number of the bridge that it is a port of.
    pub master: Option<u32>,
    /// Whether it is set to be up.
    pub up: bool,
}

/// An address of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The link's number.
    pub link: u32,
    /// The address.
    pub address: IpAddr,
    /// The length of its network's prefix.
    pub prefix_len: u8,
}

/// A route, of any table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Where it leads to; the default route is the unspecified address with a prefix of 0.
    pub destination: IpAddr,
    /// The length of the destination's prefix.
    pub prefix_len: u8,
    /// The next hop.
    pub gateway: Option<IpAddr>,
    /// The number of the link that it leaves by.
    pub link: Option<u32>,
    /// The table: 254 is main, 255 local.
    pub table: u32,
    /// Its priority; the lowest wins.
    pub metric: Option<u32>,
}
