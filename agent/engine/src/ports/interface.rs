//! Interfaces of instances: how they are to be attached, and how they are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use berth_domain::{KnownNetwork, MacAddress, Timestamp};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// How an instance is attached to a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The network.
    pub network: KnownNetwork,
    /// The interface's name inside.
    pub interface: String,
    /// What marks it on the host among the instance's.
    pub slot: u8,
    /// Its address with the network's prefix length; on a network of the host's a fixed one, or a server gives it.
    pub ipv4: Option<Ipv4Net>,
    /// Where everything else goes; on at most one interface.
    pub gateway: Option<Ipv4Addr>,
    /// Its IPv6 address with the network's prefix length.
    pub ipv6: Option<Ipv6Net>,
    /// Where everything else of IPv6 goes.
    pub ipv6_gateway: Option<Ipv6Addr>,
    /// Whether it is that interface, also where another than the agent says what its gateway is.
    pub default_route: bool,
    /// Who is asked for names, instead of who answers on the network; none: that one.
    pub dns: Vec<IpAddr>,
    /// Its hardware address.
    pub mac: MacAddress,
}

/// An interface as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InterfaceState {
    /// Its addresses, without the link-local ones.
    pub addresses: Vec<IpNet>,
    /// What a DHCP server has given it.
    pub lease: Option<Lease>,
    /// Why it has no lease, or what was wrong with the last answer.
    pub trouble: Option<String>,
}

/// An address of a DHCP server's, for a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The address with the length of its network's prefix.
    pub address: Ipv4Net,
    /// Who gave it.
    pub server: Ipv4Addr,
    /// When it was given, or renewed last.
    pub since: Timestamp,
    /// When it ends; `None`: never.
    pub expires: Option<Timestamp>,
    /// How often it was renewed.
    pub renewals: u32,
    /// The resolvers that came with it.
    pub dns: Vec<Ipv4Addr>,
    /// The domain of short names.
    pub domain: Option<String>,
}
