//! What can go wrong with a network, and what a user is told of it.

use ipnet::IpNet;
use thiserror::Error;

use crate::error::Reason;
use crate::ports::network::NetworkError;

/// Why an operation on a network failed.
#[derive(Debug, Error)]
pub enum NetworkFault {
    /// Instances are on it.
    #[error("The network \"{name}\" is used by {}", listed(.users))]
    InUse {
        /// The network.
        name: String,
        /// The instances' names.
        users: Vec<String>,
    },
    /// Another has these addresses.
    #[error("The subnet {subnet} overlaps {other}")]
    Overlap {
        /// `ipv4_subnet` or `ipv6_subnet`.
        argument: &'static str,
        /// What was asked for.
        subnet: IpNet,
        /// The other network or the host's route.
        other: String,
    },
    /// The change needs another network.
    #[error("The network \"{name}\" cannot change its {argument}")]
    NeedsReplace {
        /// The network.
        name: String,
        /// The argument.
        argument: &'static str,
    },
    /// More instances are on it than the subnet has addresses.
    #[error("The subnet {subnet} has not an address for each instance that is on the network \"{name}\"")]
    NoRoom {
        /// The network.
        name: String,
        /// What was asked for.
        subnet: IpNet,
    },
    /// The host has nothing of the parent's name.
    #[error("The network \"{name}\" has no parent")]
    Parent {
        /// The network.
        name: String,
        /// Why.
        #[source]
        source: NetworkError,
    },
}

fn listed(users: &[String]) -> String {
    let quoted: Vec<_> = users.iter().map(|user| format!("\"{user}\"")).collect();
    match quoted.as_slice() {
        [one] => format!("the instance {one}"),
        all => format!("the instances {}", all.join(", ")),
    }
}

impl NetworkFault {
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::InUse { .. } => Reason::InUse,
            Self::Parent { source: NetworkError::Host { .. }, .. } => Reason::HostUnable,
            Self::Overlap { .. } | Self::NeedsReplace { .. } | Self::NoRoom { .. } | Self::Parent { .. } => {
                Reason::InvalidArgument
            }
        }
    }

    pub(crate) fn attribute(&self) -> Vec<String> {
        let argument = match self {
            Self::InUse { .. } => return Vec::new(),
            Self::Overlap { argument, .. } | Self::NeedsReplace { argument, .. } => argument,
            Self::NoRoom { .. } => "ipv4_subnet",
            Self::Parent { .. } => "parent",
        };
        vec![argument.to_owned()]
    }

    pub(crate) fn advice(&self) -> String {
        match self {
            Self::InUse { .. } => "Take it out of their networks, or delete them, and try again".to_owned(),
            Self::Overlap { .. } => "Use another subnet, or leave it out and one is chosen".to_owned(),
            Self::NeedsReplace { argument: "name", .. } => {
                "The network \"default\" is always there: make another beside it".to_owned()
            }
            Self::NeedsReplace { .. } => "Delete the network and make another".to_owned(),
            Self::NoRoom { .. } => "Use a larger subnet".to_owned(),
            Self::Parent { .. } => {
                "Name an interface or a bridge that the host has: ip link lists them".to_owned()
            }
        }
    }

    pub(crate) fn is_lasting(&self) -> bool {
        !matches!(self, Self::InUse { .. } | Self::Parent { .. })
    }
}
