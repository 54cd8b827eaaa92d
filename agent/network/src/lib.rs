//! The managed bridge, addresses, resolver files, published ports and the agent's own nftables table.
//!
//! Everything here is synchronous and works on the network namespace of the calling thread; each module owns one
//! kind of thing on the host, all of it named after the agent's [`Prefix`], so that agents share a host without
//! touching each other's:
//!
//! | module | owns |
//! |---|---|
//! | [`bridge`] | the bridges `berth<XXXX><n>`, their addresses and per-bridge sysctls |
//! | [`firewall`] | the table `inet berth<XXXX>`: NAT, published ports, what may be forwarded |
//! | [`forwarding`] | this agent's part of the shared `net.ipv4.ip_forward` |
//! | [`helper`] | a process a bridge, which answers for names |
//! | [`ports`] | the sockets that hold published ports |
//!
//! [`subnet`] chooses addresses, [`resolver`] composes what an instance finds in `/etc`, and [`check`] says what the
//! host lacks. Nothing here remembers what it did: each call looks at the host first, so it is safe to repeat after a
//! crash.

pub mod bridge;
pub mod check;
pub mod firewall;
pub mod forwarding;
pub mod helper;
mod names;
pub mod nft;
pub mod ports;
pub mod resolver;
pub mod subnet;
mod sysctl;
pub mod vlan;

pub use ipnet::Ipv4Net;
pub use names::{InvalidPrefix, Prefix};
