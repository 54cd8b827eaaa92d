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
//! prerouting, raw     guard        from a bridge: only its network's addresses, or none yet where DHCP is served; nothing
//!                                  to 127.0.0.0/8
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
//!                                  neighbour discovery, and in what it asks of a DHCP server; no DHCP answer, no router
//!                                  advertisement; else counted and dropped
//! forward, filter     forward      between ports of a bridge, where lists are: what begins a connection is asked about
//! ```
//!
//! What an instance sent that is not its own is counted by its interface, and so is what its lists did not let through
//! ([`Firewall::dropped`]). Replacing the tables begins the counts anew.

mod access;
mod desired;
mod direct;
mod inet;
mod json;
mod kernel;
mod link;
mod table;

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv4Addr},
};

use berth_sys::netlink::{
    MacAddress, NetlinkError,
    nftables::{Batch, Family, TableName},
};
use ipnet::Ipv4Net;
use serde_json::{Value, json};

pub use desired::{
    Access, AccessProtocol, AccessRule, Desired, HostPort, Interface, Network, Protocol, Target, link_local,
};
pub use direct::Untranslated;

use crate::{
    Prefix,
    nft::{Nft, NftError},
};
use access::{Direction, Listed};
pub(crate) use inet::DHCP;
use kernel::Kernel;
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

/// Packets of an interface that were dropped. Each number begins anew with what counts: the first when the tables are replaced,
/// the others when the list is changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// What it sent that was not its own to send.
    pub spoofed: u64,
    /// What its list of what may come in does not have.
    pub ingress: u64,
    /// What its list of what may go out does not have.
    pub egress: u64,
}

/// Why the tables could not be changed or seen.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} the firewall table {table}")]
pub struct FirewallError {
    /// `apply`, `change`, `list`, `read the counters of` or `remove`.
    pub operation: &'static str,
    /// The table.
    pub table: String,
    /// What was said of it.
    #[source]
    pub source: Cause,
}

/// Who would not do it, and why.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The kernel.
    #[error(transparent)]
    Kernel(#[from] NetlinkError),
    /// The rules say what has no translation.
    #[error(transparent)]
    Untranslated(#[from] Untranslated),
    /// nft, which lists them.
    #[error(transparent)]
    Nft(#[from] NftError),
}

/// The tables of one agent, in the network namespace in which they were first changed.
#[derive(Debug, Clone)]
pub struct Firewall {
    nft: Nft,
    table: String,
    kernel: Kernel,
}

impl Firewall {
    /// The tables of the agent with this prefix; nothing is done yet.
    #[must_use]
    pub fn new(nft: Nft, prefix: &Prefix) -> Self {
        Self { nft, table: prefix.table(), kernel: Kernel::default() }
    }

    /// Makes the tables what is desired, whatever they were, in one transaction.
    ///
    /// # Errors
    /// If the kernel refuses; the tables are as before then.
    pub fn apply(&self, desired: &Desired) -> Result<(), FirewallError> {
        let changes = self.tables(desired).map(|table| {
            let commands = table.replace();
            (table, commands)
        });
        self.kernel.change(true, || self.send(&changes)).map_err(self.failed("apply"))
    }

    /// Changes tables that hold `from` into what is desired, in one transaction that touches only what differs: its time
    /// is that of the difference, and what instances were refused stays counted.
    ///
    /// # Errors
    /// If the kernel refuses: the tables were not `from`. Then they are as before, and [`Firewall::apply`] mends them.
    pub fn change(&self, from: &Desired, desired: &Desired) -> Result<(), FirewallError> {
        let changes = changed(&self.table, from, desired);
        if changes.iter().all(|(_, commands)| commands.is_empty()) {
            return Ok(());
        }
        self.kernel.change(false, || self.send(&changes)).map_err(self.failed("change"))
    }

    /// Has the kernel do all commands, or none.
    fn send(&self, changes: &[(Table, Vec<Value>)]) -> Result<(), Cause> {
        let mut batch = Batch::new();
        for (table, commands) in changes {
            direct::translate(table, commands, &mut batch)?;
        }
        Ok(self.kernel.with(|nftables| nftables.apply(batch))?)
    }

    /// Tells whether the tables are what is desired.
    ///
    /// # Errors
    /// If nft cannot list them.
    pub fn observe(&self, desired: &Desired) -> Result<State, FirewallError> {
        self.kernel.look(|| self.list(desired))
    }

    /// Whether nobody has changed anything in nftables since the tables were made so, or were observed to be as desired. It
    /// takes no time, where observing them takes nft's; where it is not so, they may be as desired even so.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        self.kernel.is_untouched()
    }

    fn list(&self, desired: &Desired) -> Result<State, FirewallError> {
        let mut seen = State::AsDesired;
        for (family, table) in ["inet", "bridge"].into_iter().zip(self.tables(desired)) {
            let listed = self.nft.list(&["table", family, &self.table]);
            let listed = listed.map_err(Cause::Nft).map_err(self.failed("list"))?;
            match listed.map(|objects| table.compare(&objects)) {
                None => return Ok(State::Missing),
                Some(State::AsDesired) => {}
                Some(other) => seen = other,
            }
        }
        Ok(seen)
    }

    /// What was dropped of an interface's packets; where the tables are not there, nothing is counted.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub fn dropped(&self, interface: &str) -> Result<Dropped, FirewallError> {
        let name = self.table.as_str();
        let [inet, bridge] = [Family::Inet, Family::Bridge].map(|family| TableName { family, name });
        let counted = self.kernel.with(|nftables| {
            let mut by_list = |direction: Direction| -> Result<u64, NetlinkError> {
                let chain = direction.chain(interface);
                let mut packets = |table| nftables.packets_of_chain(table, &chain);
                Ok(packets(inet)? + packets(bridge)?)
            };
            let (ingress, egress) = (by_list(Direction::Ingress)?, by_list(Direction::Egress)?);
            let mut key = interface.as_bytes().to_vec();
            key.resize(16, 0);
            let spoofed = nftables.packets_of_element(bridge, link::REFUSED, &key)?;
            Ok(Dropped { spoofed, ingress, egress })
        });
        counted.map_err(Cause::Kernel).map_err(self.failed("read the counters of"))
    }

    /// Removes the tables; that they are not there is no error.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn remove(&self) -> Result<(), FirewallError> {
        let changes = self.tables(&Desired::default()).map(|table| {
            let commands = table.remove();
            (table, commands)
        });
        self.send(&changes).map_err(self.failed("remove"))
    }

    fn tables(&self, desired: &Desired) -> [Table; 2] {
        tables(&self.table, desired)
    }

    fn failed(&self, operation: &'static str) -> impl FnOnce(Cause) -> FirewallError {
        move |source| FirewallError { operation, table: self.table.clone(), source }
    }
}

fn tables(name: &str, desired: &Desired) -> [Table; 2] {
    tables_listed(name, desired, Listed::of(desired))
}

fn tables_listed(name: &str, desired: &Desired, listed: Listed) -> [Table; 2] {
    [inet::table(name, desired, listed), link::table(name, desired, listed)]
}

/// Both tables and the commands that make them what is desired, where they hold `from`.
fn changed(name: &str, from: &Desired, desired: &Desired) -> [(Table, Vec<Value>); 2] {
    let (old, new) = differing(from, desired);
    let [old_inet, old_bridge] = tables_listed(name, &old, Listed::of(from));
    let with_commands = |new: Table, old: Table| {
        let commands = new.change(&old);
        (new, commands)
    };
    let [inet, bridge] = tables_listed(name, &new, Listed::of(desired));
    [with_commands(inet, old_inet), with_commands(bridge, old_bridge)]
}

/// Both without the interfaces and ports that are the same in them: what these are in the tables is theirs alone, so that
/// it need not be written to be found equal.
fn differing(from: &Desired, desired: &Desired) -> (Desired, Desired) {
    let without = |these: &Desired, others: &Desired| {
        let dhcp = |desired: &Desired, bridge: &str| {
            desired.networks.iter().any(|network| network.dhcp && network.bridge == bridge)
        };
        // What an interface is in the tables says its network too.
        let same = |interface: &Interface| dhcp(these, &interface.bridge) == dhcp(others, &interface.bridge);
        let known: HashMap<&str, &Interface> =
            others.interfaces.iter().map(|interface| (interface.name.as_str(), interface)).collect();
        let new = |interface: &&Interface| {
            known.get(interface.name.as_str()) != Some(interface) || !same(interface)
        };
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
