//! What can go wrong with a request to the kernel.

use std::{fmt, io};

use netlink_packet_core::DecodeError;
use nix::errno::Errno;

/// A request that failed: what was to be done, to what, and why not.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {object}")]
pub struct NetlinkError {
    /// What was asked for.
    pub operation: Operation,
    /// The link, address or route that it was asked of.
    pub object: String,
    /// Why it was not done.
    #[source]
    pub cause: Cause,
}

impl NetlinkError {
    pub(super) fn new(operation: Operation, object: impl fmt::Display, cause: Cause) -> Self {
        Self { operation, object: object.to_string(), cause }
    }

    /// The kernel's error number, when it was the kernel that refused.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match &self.cause {
            Cause::Refused(errno) => Some(*errno),
            Cause::Exchange(error) => error.raw_os_error().map(Errno::from_raw),
            Cause::Malformed(_) | Cause::Unstable | Cause::BadName => None,
        }
    }

    /// Whether the thing to be made is there already.
    #[must_use]
    pub fn is_exists(&self) -> bool {
        self.errno() == Some(Errno::EEXIST)
    }

    /// Whether the thing asked of is not there: no such link, address or route.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self.errno(), Some(Errno::ENODEV | Errno::EADDRNOTAVAIL | Errno::ESRCH | Errno::ENXIO))
    }
}

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The kernel's answer was an error.
    #[error("the kernel refused")]
    Refused(#[source] Errno),
    /// The request could not be sent or its answer not be read.
    #[error("the netlink socket failed")]
    Exchange(#[source] io::Error),
    /// The answer is not what netlink's framing allows.
    #[error("the kernel's answer could not be read")]
    Malformed(#[source] DecodeError),
    /// A listing was cut short by changes again and again.
    #[error("the listing was interrupted by changes each time it was tried")]
    Unstable,
    /// A link's name is empty, longer than 15 bytes, or holds a character that the kernel refuses.
    #[error("it is no valid name for a link: 1 to 15 bytes, no space, '/' or ':'")]
    BadName,
}

/// What was asked of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Opening the socket.
    Open,
    /// Making a bridge.
    CreateBridge,
    /// Making a pair of veths.
    CreateVeth,
    /// Making a macvlan.
    CreateMacvlan,
    /// Making a VLAN's link.
    CreateVlan,
    /// Putting a port of a bridge on a VLAN.
    ChangePort,
    /// Deleting a link.
    DeleteLink,
    /// Changing a link: its state, name, MAC, MTU, bridge or namespace.
    ChangeLink,
    /// Looking up one link.
    FindLink,
    /// Listing all links.
    ListLinks,
    /// Giving a link an address.
    AddAddress,
    /// Taking an address from a link.
    DeleteAddress,
    /// Listing addresses.
    ListAddresses,
    /// Adding a route.
    AddRoute,
    /// Deleting a route.
    DeleteRoute,
    /// Listing routes.
    ListRoutes,
    /// Changing nftables: its tables, chains, rules and sets.
    ChangeRules,
    /// Reading what they counted, and their generation.
    ReadRules,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::CreateBridge => "create the bridge",
            Self::CreateVeth => "create the veth pair",
            Self::CreateMacvlan => "create the macvlan",
            Self::CreateVlan => "create the VLAN",
            Self::ChangePort => "change the VLAN of the port",
            Self::DeleteLink => "delete the link",
            Self::ChangeLink => "change the link",
            Self::FindLink => "look up the link",
            Self::AddAddress => "add the address",
            Self::DeleteAddress => "delete the address",
            Self::AddRoute => "add the route",
            Self::DeleteRoute => "delete the route",
            Self::ChangeRules => "change",
            Self::ReadRules => "read the state",
            Self::ListLinks | Self::ListAddresses | Self::ListRoutes => "list",
        })
    }
}
