//! The agent's own nftables tables.
//!
//! All rules are in two tables of the agent's name, `inet berth<XXXX>` and `bridge berth<XXXX>`, and speak of the agent's
//! own bridges and their ports only. Both are replaced as a whole in one transaction ([`Firewall::apply`]), or changed by
//! what differs from what is there ([`Firewall::change`]), so that there is no moment without rules. No chain has a policy
//! of drop, nothing of anybody else's is read, changed or flushed. [`Firewall::observe`] tells whether the tables are as
//! they should be; if somebody flushed one, applying them again puts it back. Open connections go on through a
//! replacement: the kernel remembers their translation.
//!
//! ```text
//! inet
//! prerouting, raw     guard        from a bridge: only its network's addresses, nothing to 127.0.0.0/8
//! prerouting, dstnat  prerouting   to a local address but 127.0.0.0/8   -> published, published6
//! output, dstnat      output       to a local address                   -> published, published6
//!                     published    maps (address, protocol, port) and (protocol, port) to instances
//! input, filter       input        from a bridge, where lists are: replies, names, what may go out; else drop
//! forward, filter     forward      isolated networks: drop. Replies. Lists of networks and instances. Out of a bridge:
//!                                  published ports, the bridge itself; else drop
//! postrouting, srcnat postrouting  masquerade: what leaves a bridge's network; what came from 127.0.0.1 or comes back
//!                                  to the network it came from through a published port
//! bridge
//! prerouting, dstnat  guard        from an instance's port -> own: its MAC and addresses alone, in Ethernet, ARP, IP and
//!                                  neighbour discovery; no DHCP answer, no router advertisement; else counted and dropped
//! forward, filter     forward      between ports of a bridge, where lists are: what begins a connection is asked about
//! ```
//!
//! What an instance sent that is not its own is counted by its interface ([`Firewall::refused`]). Replacing the tables
//! begins the counts anew.

mod access;
mod desired;
mod inet;
mod json;
mod link;
mod table;

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv4Addr},
};

use berth_sys::netlink::MacAddress;
use ipnet::Ipv4Net;
use serde_json::{Value, json};

pub use desired::{
    Access, AccessProtocol, AccessRule, Desired, HostPort, Interface, Network, Protocol, Target, link_local,
};

use crate::{
    Prefix,
    nft::{Nft, NftError},
};
use access::Listed;
use table::Table;

/// What [`Firewall::observe`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The tables are as desired.
    AsDesired,
    /// They are there, and something of them is not as desired.
    Differs,
    /// One is not there.
    Missing,
}

/// Why the tables could not be changed or seen.
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

/// The tables of one agent.
#[derive(Debug, Clone)]
pub struct Firewall {
    nft: Nft,
    table: String,
}

impl Firewall {
    /// The tables of the agent with this prefix; nothing is done yet.
    #[must_use]
    pub fn new(nft: Nft, prefix: &Prefix) -> Self {
        Self { nft, table: prefix.table() }
    }

    /// Makes the tables what is desired, whatever they were, in one transaction.
    ///
    /// # Errors
    /// If nft refuses; the tables are as before then.
    pub fn apply(&self, desired: &Desired) -> Result<(), FirewallError> {
        let commands = self.tables(desired).iter().flat_map(Table::replace).collect();
        self.nft.apply(&document(commands), "replace the table").map_err(self.failed("apply"))
    }

    /// Changes tables that hold `from` into what is desired, in one transaction that touches only what differs: its time
    /// is that of the difference, and what instances were refused stays counted.
    ///
    /// # Errors
    /// If nft refuses: the tables were not `from`. Then they are as before, and [`Firewall::apply`] mends them.
    pub fn change(&self, from: &Desired, desired: &Desired) -> Result<(), FirewallError> {
        let (old, new) = differing(from, desired);
        let old = tables_listed(&self.table, &old, Listed::of(from));
        let new = tables_listed(&self.table, &new, Listed::of(desired));
        let commands: Vec<Value> = new.iter().zip(&old).flat_map(|(new, old)| new.change(old)).collect();
        if commands.is_empty() {
            return Ok(());
        }
        self.nft.apply(&document(commands), "change the table").map_err(self.failed("change"))
    }

    /// Tells whether the tables are what is desired.
    ///
    /// # Errors
    /// If nft cannot list them.
    pub fn observe(&self, desired: &Desired) -> Result<State, FirewallError> {
        let mut seen = State::AsDesired;
        for (family, table) in ["inet", "bridge"].into_iter().zip(self.tables(desired)) {
            let listed = self.nft.list(&["table", family, &self.table]).map_err(self.failed("list"))?;
            match listed.map(|objects| table.compare(&objects)) {
                None => return Ok(State::Missing),
                Some(State::AsDesired) => {}
                Some(other) => seen = other,
            }
        }
        Ok(seen)
    }

    /// How many packets each interface sent that were not its own to send.
    ///
    /// # Errors
    /// If nft cannot list them; where the table is not there, nothing is counted.
    pub fn refused(&self) -> Result<BTreeMap<String, u64>, FirewallError> {
        let listed =
            self.nft.list(&["set", "bridge", &self.table, link::REFUSED]).map_err(self.failed("list"))?;
        let objects = listed.unwrap_or_default();
        let elements = objects.iter().filter_map(|object| object["set"]["elem"].as_array()).flatten();
        let counts = elements.filter_map(|element| {
            let element = &element["elem"];
            Some((element["val"].as_str()?.to_owned(), element["counter"]["packets"].as_u64()?))
        });
        Ok(counts.collect())
    }

    /// Removes the tables; that they are not there is no error.
    ///
    /// # Errors
    /// If nft refuses.
    pub fn remove(&self) -> Result<(), FirewallError> {
        let commands = self.tables(&Desired::default()).iter().flat_map(Table::remove).collect();
        self.nft.apply(&document(commands), "remove the table").map_err(self.failed("remove"))
    }

    fn tables(&self, desired: &Desired) -> [Table; 2] {
        tables(&self.table, desired)
    }

    fn failed(&self, operation: &'static str) -> impl FnOnce(NftError) -> FirewallError {
        move |source| FirewallError { operation, table: self.table.clone(), source }
    }
}

fn tables(name: &str, desired: &Desired) -> [Table; 2] {
    tables_listed(name, desired, Listed::of(desired))
}

fn tables_listed(name: &str, desired: &Desired, listed: Listed) -> [Table; 2] {
    [inet::table(name, desired, listed), link::table(name, desired, listed)]
}

/// Both without the interfaces and ports that are the same in them: what these are in the tables is theirs alone, so that
/// it need not be written to be found equal.
fn differing(from: &Desired, desired: &Desired) -> (Desired, Desired) {
    let without = |these: &Desired, others: &Desired| {
        let known: HashMap<&str, &Interface> =
            others.interfaces.iter().map(|interface| (interface.name.as_str(), interface)).collect();
        let new = |interface: &&Interface| known.get(interface.name.as_str()) != Some(interface);
        Desired {
            networks: these.networks.clone(),
            interfaces: these.interfaces.iter().filter(new).cloned().collect(),
            ports: these
                .ports
                .iter()
                .filter(|(port, target)| others.ports.get(port) != Some(target))
                .map(|(p, t)| (*p, *t))
                .collect(),
        }
    };
    (without(from, desired), without(desired, from))
}

fn document(commands: Vec<Value>) -> Value {
    json!({ "nftables": commands })
}

/// Has the kernel check rules like those of a network with a published port and an instance, without applying them.
pub(crate) fn probe(nft: &Nft) -> Result<(), NftError> {
    let bridge = "berthprobe".to_owned();
    let address = IpAddr::V4(PROBE.addr());
    let access = Access { egress: Some(vec![AccessRule::default()]), ingress: None };
    let port = HostPort { address: Ipv4Addr::LOCALHOST.into(), protocol: Protocol::Tcp, port: 1 };
    let interface = Interface {
        name: "berthprobe0".to_owned(),
        bridge: bridge.clone(),
        mac: MacAddress([2, 0, 0, 0, 0, 1]),
        addresses: vec![address],
        access,
    };
    let desired = Desired {
        networks: vec![Network::new(bridge, PROBE)],
        interfaces: vec![interface],
        ports: BTreeMap::from([(port, Target { address, port: 1 })]),
    };
    nft.check(&document(tables("berthprobe", &desired).iter().flat_map(Table::replace).collect()))
}

/// A network that is in no use: TEST-NET-1 of RFC 5737.
const PROBE: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(192, 0, 2, 0), 24);
