//! The helper of a bridge: the process `berth-bridge`, which answers for the names of those who are on it, gives addresses to
//! those of them who are not the agent's where that is asked for, and relays the published ports that the kernel does not
//! translate.
//!
//! It outlives the agent: the next one finds it by its control socket and goes on with it. The agent makes the sockets
//! that it answers at and hands them over, so that it needs no privilege of the host's.
//!
//! ```text
//! agent -> {"socket": …} + descriptor, once for each that it does not have
//!       -> "leases" + descriptor         the directory where it keeps what it has given
//!       -> {"configure": …}             what it answers from now on
//!       <- "done" | {"refused": …}
//! ```

mod client;
mod leases;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

pub use client::{Helper, HelperError, Started};
pub use leases::{Lease, Leases, LeasesError};

use crate::firewall::Protocol;

/// Of the conversation and of what a helper does: one of another version is replaced.
pub const VERSION: u32 = 2;

/// The longest line that either side takes.
pub const MAX_LINE: usize = 64 << 20;

/// The port of names.
pub const NAMES_PORT: u16 = 53;

/// The port of those who want an address.
pub const DHCP_PORT: u16 = 67;

/// A socket that the helper is given.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Socket {
    /// What it is bound to.
    pub address: SocketAddr,
    /// Its protocol.
    pub protocol: Protocol,
    /// The only device whose packets it gets.
    #[serde(default)]
    pub device: Option<String>,
}

impl Socket {
    /// Where those on a bridge ask for an address.
    #[must_use]
    pub fn of_dhcp(bridge: &str) -> Self {
        let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, DHCP_PORT));
        Self { address, protocol: Protocol::Udp, device: Some(bridge.to_owned()) }
    }

    /// Whether addresses are asked for there.
    #[must_use]
    pub fn is_of_dhcp(&self) -> bool {
        self.device.is_some() && self.protocol == Protocol::Udp && self.address.port() == DHCP_PORT
    }

    /// Whether names are asked for there.
    #[must_use]
    pub fn is_of_names(&self) -> bool {
        self.device.is_some() && self.address.port() == NAMES_PORT
    }
}

/// The names of one network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zone {
    /// What they end in, without a dot at either end.
    pub domain: String,
    /// The addresses whose names are to be found here as well.
    pub subnets: Vec<IpNet>,
    /// The first labels of its names, and what they mean.
    pub names: BTreeMap<String, BTreeSet<IpAddr>>,
}

/// All that a helper is to do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// The network's own names first; then those of other networks, for who is on them too.
    pub zones: Vec<Zone>,
    /// Which of the others it answers for, by who asks.
    pub also: BTreeMap<IpAddr, Vec<usize>>,
    /// Whether it asks the host's resolvers for names that are in no zone.
    pub forward: bool,
    /// Where it answers, and the ports that it relays.
    pub sockets: BTreeSet<Socket>,
    /// Those of the sockets that lead to an instance, and where.
    pub relays: Vec<(Socket, SocketAddr)>,
    /// What it gives to those who ask for an address, where it is to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dhcp: Option<Dhcp>,
}

/// Addresses for those on the bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dhcp {
    /// The network.
    pub subnet: Ipv4Net,
    /// The bridge's own address, which is their router and answers for names.
    pub gateway: Ipv4Addr,
    /// The first address that is given.
    pub first: Ipv4Addr,
    /// The last.
    pub last: Ipv4Addr,
    /// How long a lease is.
    pub lease_seconds: u32,
    /// The largest packet, where that is not what everybody takes it for.
    pub mtu: Option<u32>,
    /// What instances have, by their hardware addresses: each is told its own, and nobody else is given it.
    pub instances: BTreeMap<String, BTreeSet<Ipv4Addr>>,
}

/// What the agent says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// What it has.
    Status,
    /// The descriptor that comes with this is such a socket.
    Socket(Socket),
    /// The descriptor that comes with this is the directory where leases are kept.
    Leases,
    /// Do this from now on.
    Configure(Config),
    /// Let go of everything and end.
    Quit,
}

/// What the helper says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// What it has.
    Status {
        /// [`VERSION`] of its program.
        version: u32,
        /// Where it answers.
        sockets: BTreeSet<Socket>,
    },
    /// It is done.
    Done,
    /// It cannot be done.
    Refused {
        /// Why.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A helper may be older than the agent.
    #[test]
    fn what_is_said_stays_the_same() {
        let socket = Socket {
            address: "10.1.2.1:53".parse().unwrap(),
            protocol: Protocol::Udp,
            device: Some("berthabcd0".to_owned()),
        };
        let line = r#"{"socket":{"address":"10.1.2.1:53","protocol":"udp","device":"berthabcd0"}}"#;
        assert_eq!(serde_json::to_string(&Request::Socket(socket)).unwrap(), line);
        let line = r#"{"configure":{"zones":[{"domain":"default.berth","subnets":["10.1.2.0/24"],"names":{"web":["10.1.2.3"]}}],"also":{"10.1.2.3":[0]},"forward":true,"sockets":[],"relays":[]}}"#;
        let request: Request = serde_json::from_str(line).unwrap();
        assert_eq!(serde_json::to_string(&request).unwrap(), line);
        let dhcp = r#","dhcp":{"subnet":"10.1.2.0/24","gateway":"10.1.2.1","first":"10.1.2.128","last":"10.1.2.254","lease_seconds":3600,"mtu":null,"instances":{"02:00:00:00:00:07":["10.1.2.3"]}}}}"#;
        let line = format!("{}{dhcp}", line.trim_end_matches("}}"));
        let request: Request = serde_json::from_str(&line).unwrap();
        assert_eq!(serde_json::to_string(&request).unwrap(), line);
        for (word, request) in [("\"status\"", Request::Status), ("\"leases\"", Request::Leases)] {
            assert_eq!(serde_json::from_str::<Request>(word).unwrap(), request);
        }
    }
}
