//! Links, addresses and routes of one network namespace, over a synchronous rtnetlink socket.
//!
//! A [`Netlink`] belongs for its whole life to the namespace that its thread was in when it was opened, whatever
//! that thread enters later. Each call is one request with its acknowledgement awaited, so a call that returned
//! has happened; nothing is cached, and links are named by their name, as a user names them.
//!
//! What is sent is composed with `netlink-packet-route`. What comes back is read attribute by attribute, and only
//! those attributes that are used: a listing must not fail because some unrelated driver's link carries an
//! attribute that a library cannot decode.

mod address;
mod changes;
mod error;
mod link;
pub mod nftables;
mod route;
mod ruleset;
mod socket;
#[cfg(test)]
mod tests;
mod types;
mod vlan;

pub use netlink_packet_route::link::InfoKind as LinkKind;

pub use changes::Changes;
pub use error::{Cause, NetlinkError, Operation};
pub use ruleset::{Removed, RulesetWatch};
pub use socket::Netlink;
pub use types::{
    Address, BridgeSpec, InvalidMac, Link, LinkName, MacAddress, MacvlanSpec, Namespace, Route, VethEnd,
    VethSpec, VlanSpec,
};
