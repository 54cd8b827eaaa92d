//! The agent's own nftables table.
//!
//! All rules are in one table, `inet berth<XXXX>`, and speak of the agent's own bridges only. It is replaced as a whole
//! in one transaction ([`Firewall::apply`]), so that there is no moment without rules; a published port is an element
//! of four maps and is added and removed alone ([`Firewall::publish`], [`Firewall::unpublish`]). No chain has a policy
//! of drop, nothing of anybody else's is read, changed or flushed. [`Firewall::observe`] tells whether the table is as
//! it should be; if somebody flushed it, applying it again puts it back. Open connections go on through a replacement:
//! the kernel remembers their translation.
//!
//! ```text
//! prerouting, raw     guard        from a bridge: only its network's addresses, nothing to 127.0.0.0/8
//! prerouting, dstnat  prerouting   to a local address but 127.0.0.0/8   -> published
//! output, dstnat      output       to a local address                   -> published
//!                     published    maps (address, protocol, port) and (protocol, port) to instances
//! forward, filter     forward      out of a bridge: replies, published ports, the bridge itself; else drop
//! postrouting, srcnat postrouting  masquerade: what leaves a bridge's network; what came from 127.0.0.1 or comes back
//!                                  to the network it came from through a published port
//! ```

mod observe;
mod rules;

use std::{collections::BTreeMap, fmt, net::Ipv4Addr};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

pub use observe::State;

use crate::{
    Prefix,
    nft::{Nft, NftError},
};

/// A bridge's network as the rules see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// The bridge's name.
    pub bridge: String,
    /// Its network.
    pub subnet: Ipv4Net,
    /// Whether what leaves the network gets the host's address.
    pub nat: bool,
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
    /// The host's address; `0.0.0.0` means all that it has.
    pub address: Ipv4Addr,
    /// The protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}/{}", self.address, self.port, self.protocol)
    }
}

/// Where a published port leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// The instance's address.
    pub address: Ipv4Addr,
    /// The port in the instance.
    pub port: u16,
}

/// All that the table should hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    /// The agent's networks.
    pub networks: Vec<Network>,
    /// The published ports. A map, since a port leads to one instance.
    pub ports: BTreeMap<HostPort, Target>,
}

/// Why the table could not be changed or seen.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} the firewall table {table}")]
pub struct FirewallError {
    /// `apply`, `change`, `list` or `remove`.
    pub operation: &'static str,
    /// The table.
    pub table: String,
    /// What nft said.
    #[source]
    pub source: NftError,
}

/// The table of one agent.
#[derive(Debug, Clone)]
pub struct Firewall {
    nft: Nft,
    table: String,
}

impl Firewall {
    /// The table of the agent with this prefix; nothing is done yet.
    #[must_use]
    pub fn new(nft: Nft, prefix: &Prefix) -> Self {
        Self { nft, table: prefix.table() }
    }

    /// Makes the table what is desired, whatever it was, in one transaction.
    ///
    /// # Errors
    /// If nft refuses; the table is as before then.
    pub fn apply(&self, desired: &Desired) -> Result<(), FirewallError> {
        let document = rules::replace(&self.table, desired);
        self.nft.apply(&document, "replace the table").map_err(self.failed("apply"))
    }

    /// Adds one published port to the table, and touches nothing else.
    ///
    /// # Errors
    /// If nft refuses: the table is not there, or the port leads elsewhere. Then [`Firewall::apply`] mends it.
    pub fn publish(&self, port: HostPort, target: Target) -> Result<(), FirewallError> {
        let document = rules::add_port(&self.table, port, target);
        self.nft.apply(&document, "add a published port").map_err(self.failed("change"))
    }

    /// Takes one published port from the table. Connections that are open through it go on.
    ///
    /// # Errors
    /// If nft refuses: the table or the port is not there. Then [`Firewall::apply`] mends it.
    pub fn unpublish(&self, port: HostPort, target: Target) -> Result<(), FirewallError> {
        let document = rules::remove_port(&self.table, port, target);
        self.nft.apply(&document, "remove a published port").map_err(self.failed("change"))
    }

    /// Tells whether the table is what is desired.
    ///
    /// # Errors
    /// If nft cannot list it.
    pub fn observe(&self, desired: &Desired) -> Result<State, FirewallError> {
        let listed = self.nft.list(&["table", "inet", &self.table]).map_err(self.failed("list"))?;
        let Some(objects) = listed else { return Ok(State::Missing) };
        Ok(observe::compare(&objects, &rules::replace(&self.table, desired)))
    }

    /// Removes the table; that it is not there is no error.
    ///
    /// # Errors
    /// If nft refuses.
    pub fn remove(&self) -> Result<(), FirewallError> {
        // Adding it first makes the deletion of a missing table none that fails, still in one transaction.
        self.nft.apply(&rules::remove(&self.table), "remove the table").map_err(self.failed("remove"))
    }

    fn failed(&self, operation: &'static str) -> impl FnOnce(NftError) -> FirewallError {
        move |source| FirewallError { operation, table: self.table.clone(), source }
    }
}

/// Has the kernel check rules like those of a network with a published port, without applying them.
pub(crate) fn probe(nft: &Nft) -> Result<(), NftError> {
    let network = Network { bridge: "berthprobe".to_owned(), subnet: PROBE, nat: true };
    let port = HostPort { address: Ipv4Addr::LOCALHOST, protocol: Protocol::Tcp, port: 1 };
    let target = Target { address: PROBE.addr(), port: 1 };
    let desired = Desired { networks: vec![network], ports: BTreeMap::from([(port, target)]) };
    nft.check(&rules::replace("berthprobe", &desired))
}

/// A network that is in no use: TEST-NET-1 of RFC 5737.
const PROBE: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(192, 0, 2, 0), 24);
