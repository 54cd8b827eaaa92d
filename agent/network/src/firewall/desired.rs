//! What the tables should hold.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::RangeInclusive,
};

use berth_sys::netlink::MacAddress;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

/// A bridge's network as the rules see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// The bridge's name.
    pub bridge: String,
    /// Its IPv4 network.
    pub ipv4: Option<Ipv4Net>,
    /// Its IPv6 network. Where there is none, nothing of IPv6 leaves an instance.
    pub ipv6: Option<Ipv6Net>,
    /// Whether what leaves the network gets the host's address.
    pub nat: bool,
    /// Nothing is forwarded between it and anything else, neither the outside nor another network, nor through a
    /// published port: those lead into it from the host itself alone. Its instances reach each other and the host at
    /// the network's gateway address, where its names are. That is what Docker calls an internal network.
    pub isolated: bool,
    /// Those on it may ask the host for an address, each for itself.
    pub dhcp: bool,
    /// What may cross the network's border. What its own instances send each other is theirs to say, as is what the
    /// host itself sends.
    pub access: Access,
}

impl Network {
    /// An IPv4 network with NAT.
    #[must_use]
    pub fn new(bridge: String, subnet: Ipv4Net) -> Self {
        let access = Access::default();
        Self { bridge, ipv4: Some(subnet), ipv6: None, nat: true, isolated: false, dhcp: false, access }
    }

    pub(super) fn subnets(&self) -> impl Iterator<Item = IpNet> {
        self.ipv4.map(IpNet::V4).into_iter().chain(self.ipv6.map(IpNet::V6))
    }
}

/// An instance's interface: a port of a bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// The name of the host's end.
    pub name: String,
    /// The bridge that it is a port of.
    pub bridge: String,
    /// The instance's own MAC: it sends with no other.
    pub mac: MacAddress,
    /// Its own addresses: it sends with no others, but with the link-local one that follows from its MAC where it has
    /// an IPv6 address.
    pub addresses: Vec<IpAddr>,
    /// What may come in and go out, to and from neighbours as well.
    pub access: Access,
}

impl Interface {
    /// The IPv6 addresses that it sends with, its link-local one among them; none where it has no IPv6.
    pub(super) fn ipv6(&self) -> Vec<Ipv6Addr> {
        let own = self.addresses.iter().filter_map(|address| match address {
            IpAddr::V6(v6) => Some(*v6),
            IpAddr::V4(_) => None,
        });
        let mut all: Vec<_> = own.collect();
        if !all.is_empty() {
            all.push(link_local(self.mac));
        }
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// The link-local address that the kernel gives a link with this MAC.
#[must_use]
pub fn link_local(MacAddress([a, b, c, d, e, f]): MacAddress) -> Ipv6Addr {
    let word = |high, low| u16::from_be_bytes([high, low]);
    Ipv6Addr::new(0xfe80, 0, 0, 0, word(a ^ 2, b), word(c, 0xff), word(0xfe, d), word(e, f))
}

/// What is let through. Connections that are open go on, whatever a change of it says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Access {
    /// Nothing but this comes in; everything does where it is absent.
    pub ingress: Option<Vec<AccessRule>>,
    /// Nothing but this goes out; everything does where it is absent. Names and neighbour discovery at the gateway
    /// are always let through.
    pub egress: Option<Vec<AccessRule>>,
}

/// What one rule lets through.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AccessRule {
    /// Any if absent.
    pub protocol: Option<AccessProtocol>,
    /// The destination's ports; all if empty.
    pub ports: Vec<RangeInclusive<u16>>,
    /// The other side: whoever it is if absent, nobody if empty.
    pub peers: Option<Vec<IpNet>>,
}

/// A protocol that rules speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP of both families.
    Icmp,
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// Its name, as users and nft write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A port of the host that is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    /// The host's address; the unspecified one means all that it has of the family.
    pub address: IpAddr,
    /// The protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
}

impl HostPort {
    /// Whether rules lead it to its target: the kernel translates nothing that is sent to `::1`, so that is relayed.
    #[must_use]
    pub fn is_translated(&self) -> bool {
        self.address != IpAddr::V6(Ipv6Addr::LOCALHOST)
    }

    /// Whether something has to take what is sent to `::1` on. It has the port then, and nobody else needs to hold it.
    #[must_use]
    pub fn is_relayed(&self) -> bool {
        self.address.is_ipv6() && (self.address.is_loopback() || self.address.is_unspecified())
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            IpAddr::V4(v4) => write!(f, "{v4}:{}/{}", self.port, self.protocol),
            IpAddr::V6(v6) => write!(f, "[{v6}]:{}/{}", self.port, self.protocol),
        }
    }
}

/// Where a published port leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// The instance's address, of the host address's family.
    pub address: IpAddr,
    /// The port in the instance.
    pub port: u16,
}

/// All that the tables should hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    /// The agent's networks.
    pub networks: Vec<Network>,
    /// The interfaces of its instances.
    pub interfaces: Vec<Interface>,
    /// The published ports. A map, since a port leads to one instance.
    pub ports: BTreeMap<HostPort, Target>,
}

pub(super) const LOOPBACK: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);
