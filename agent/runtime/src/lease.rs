//! What an instance's interfaces have: addresses, and leases of DHCP servers.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// How an interface takes its address from a DHCP server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DhcpSpec {
    /// Whether the server's routes to elsewhere are taken.
    pub default_route: bool,
    /// Whether the server's resolvers are written to the instance's `resolv.conf`.
    pub dns: bool,
    /// The name that the server is told.
    pub hostname: Option<String>,
    /// How many milliseconds a second of the protocol lasts: for tests, which cannot wait for a lease to end.
    pub second_ms: Option<u32>,
}

/// An address for a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// The length of its network's prefix, in bits.
    pub prefix_len: u8,
    /// Where else leads to.
    pub routes: Vec<LeaseRoute>,
    /// Resolvers.
    pub dns: Vec<Ipv4Addr>,
    /// The domain of short names.
    pub domain: Option<String>,
    /// The largest packet, in bytes.
    pub mtu: Option<u32>,
    /// Who gave it.
    pub server: Ipv4Addr,
    /// For how long, in seconds; absent: without end.
    pub seconds: Option<u32>,
    /// When its server is asked for more time, in seconds from its beginning.
    pub renew_seconds: u32,
    /// When any server is.
    pub rebind_seconds: u32,
    /// Milliseconds since the epoch, of the last time that it was given or renewed.
    #[serde(default)]
    pub since_ms: u64,
    /// Milliseconds since the epoch; absent: without end.
    #[serde(default)]
    pub expires_ms: Option<u64>,
    /// How often it was renewed.
    #[serde(default)]
    pub renewals: u32,
}

/// A route that came with a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRoute {
    /// Where to; 0.0.0.0 with a prefix of 0 is everywhere.
    pub destination: Ipv4Addr,
    /// The length of the destination's prefix.
    pub prefix_len: u8,
    /// The next hop; absent: straight onto the link.
    pub gateway: Option<Ipv4Addr>,
}

/// An interface as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceStatus {
    /// Its name inside.
    pub name: String,
    /// Its MAC address.
    pub mac: String,
    /// Its addresses as the kernel has them, each with its prefix; link-local ones are left out.
    pub addresses: Vec<String>,
    /// What its DHCP server gave.
    #[serde(default)]
    pub lease: Option<Lease>,
    /// Why it has no lease, or what was wrong with the last answer.
    #[serde(default)]
    pub trouble: Option<String>,
}
