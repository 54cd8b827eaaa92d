//! What can go wrong with a network, and what a user is told of it.

use std::net::{IpAddr, Ipv4Addr};

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
    /// An instance names a network that is not there.
    #[error("There is no network \"{network}\"")]
    NoNetwork {
        /// The instance's interface.
        interface: String,
        /// What was asked for.
        network: String,
    },
    /// Ports of an instance whose interfaces are all on networks that are not the agent's.
    #[error("The host publishes no ports of an instance that is on no network of the type \"bridge\"")]
    NoWayForPorts,
    /// A port at an IPv6 address of an instance that has none.
    #[error("The port \"{port}\" cannot lead from {address}: the instance has no IPv6 address on a bridge")]
    NoIpv6ForPort {
        /// Its name.
        port: String,
        /// Where it was to be published.
        address: IpAddr,
    },
    /// An address with a prefix on a network of the agent's, or without one on another.
    #[error("{address} on the network \"{network}\" is written {} its prefix", if *ours { "without" } else { "with" })]
    Prefix {
        /// The instance's interface.
        interface: String,
        /// `ipv4_address` or `ipv6_address`.
        argument: &'static str,
        /// What was asked for.
        address: IpAddr,
        /// The network.
        network: String,
        /// The network is a bridge of the agent's, which knows its prefix.
        ours: bool,
    },
    /// IPv6 is asked for on a host that has none.
    #[error("The network \"{name}\" cannot have IPv6: the host has none")]
    NoIpv6 {
        /// The network.
        name: String,
    },
    /// The network has no addresses of the family.
    #[error("The network \"{network}\" has no {}", if *argument == "ipv6_address" { "IPv6" } else { "IPv4" })]
    NoFamily {
        /// The instance's interface.
        interface: String,
        /// `ipv4_address` or `ipv6_address`.
        argument: &'static str,
        /// The network.
        network: String,
    },
    /// An address that no instance on the network can have.
    #[error("{address} is {} the network \"{network}\", {subnet}", if *hosts { "the host's own address on" } else { "no address of" })]
    NotOfNetwork {
        /// The instance's interface.
        interface: String,
        /// `ipv4_address` or `ipv6_address`.
        argument: &'static str,
        /// What was asked for.
        address: IpAddr,
        /// The network.
        network: String,
        /// Its addresses.
        subnet: IpNet,
        /// It is the host's.
        hosts: bool,
    },
    /// An address that another instance has.
    #[error("{value} is the instance \"{holder}\"'s on this network")]
    Taken {
        /// The instance's interface.
        interface: String,
        /// `ipv4_address`, `ipv6_address` or `mac`.
        argument: &'static str,
        /// What was asked for.
        value: String,
        /// Whose it is.
        holder: String,
    },
    /// An address that the network's DHCP server has given to another.
    #[error("{address} is leased to {mac}, which is not an instance")]
    Leased {
        /// The instance's interface.
        interface: String,
        /// What was asked for.
        address: Ipv4Addr,
        /// Who has it.
        mac: String,
    },
    /// An interface that could not be made.
    #[error("The interface \"{interface}\" could not be made")]
    Interface {
        /// Its name.
        interface: String,
        /// Why.
        #[source]
        source: crate::ports::Cause,
    },
    /// A rule names a network that is not there.
    #[error("There is no network \"{network}\"")]
    NoPeer {
        /// `ingress` or `egress`.
        argument: &'static str,
        /// Which rule.
        rule: usize,
        /// What was asked for.
        network: String,
    },
    /// The parent of the network of an interface is not there any more.
    #[error("The interface \"{interface}\" cannot be on the network \"{network}\"")]
    ParentGone {
        /// Which, inside.
        interface: String,
        /// The network.
        network: String,
        /// Why.
        #[source]
        source: NetworkError,
    },
    /// The host has nothing of the parent's name, or no way to its VLAN.
    #[error("The network \"{name}\" has no {}", if source.is_of_vlan() { "VLAN" } else { "parent" })]
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
            Self::Parent { source: NetworkError::Host { .. } | NetworkError::Vlan { .. }, .. }
            | Self::NoIpv6 { .. }
            | Self::Interface { .. }
            | Self::ParentGone { .. } => Reason::HostUnable,
            _ => Reason::InvalidArgument,
        }
    }

    pub(crate) fn attribute(&self) -> Vec<String> {
        let of_interface =
            |interface: &String, argument: &str| ["networks", interface, argument].map(str::to_owned).into();
        let argument = match self {
            Self::NoNetwork { interface, .. } => {
                return of_interface(interface, "network");
            }
            Self::NoWayForPorts => "ports",
            Self::NoIpv6ForPort { port, .. } => {
                return vec!["ports".to_owned(), port.clone(), "host_address".to_owned()];
            }
            Self::NotOfNetwork { interface, argument, .. }
            | Self::NoFamily { interface, argument, .. }
            | Self::Prefix { interface, argument, .. } => return of_interface(interface, argument),
            Self::NoPeer { argument, rule, .. } => {
                return vec![(*argument).to_owned(), rule.to_string(), "network".to_owned()];
            }
            Self::Taken { interface, argument, .. } => return of_interface(interface, argument),
            Self::Leased { interface, .. } => return of_interface(interface, "ipv4_address"),
            Self::Interface { interface, .. } => return vec!["networks".to_owned(), interface.clone()],
            Self::InUse { .. } => return Vec::new(),
            Self::Overlap { argument, .. } | Self::NeedsReplace { argument, .. } => argument,
            Self::NoRoom { .. } => "ipv4_subnet",
            Self::NoIpv6 { .. } => "ipv6_subnet",
            Self::Parent { source: NetworkError::Vlan { .. }, .. } => "vlan",
            Self::Parent { .. } => "parent",
            Self::ParentGone { interface, .. } => return of_interface(interface, "network"),
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
            Self::NoIpv6 { .. } => {
                "Leave ipv6_subnet out, or turn it on: sysctl -w net.ipv6.conf.all.disable_ipv6=0".to_owned()
            }
            Self::NoNetwork { .. } | Self::NoPeer { .. } => {
                "Make it first (a berth_network resource): berth network ls".to_owned()
            }
            Self::NoIpv6ForPort { .. } => {
                "Give the network an ipv6_subnet, or publish the port at an IPv4 address or at ::1".to_owned()
            }
            Self::NoWayForPorts => {
                "Its ports are open at its own address already: leave ports out, or add an interface on a bridge"
                    .to_owned()
            }
            Self::NoFamily { .. } => "Leave it out, or give the network an ipv6_subnet".to_owned(),
            Self::Prefix { address, ours: true, .. } => format!("Write {address}"),
            Self::Prefix { address, .. } => {
                let bits = if address.is_ipv4() { 24 } else { 64 };
                format!("Write it with the prefix of its network, such as {address}/{bits}, or leave it out")
            }
            Self::NotOfNetwork { .. } => {
                "Use another address of it, or leave it out and one is chosen".to_owned()
            }
            Self::Taken { .. } => "Use another, or leave it out and one is chosen".to_owned(),
            Self::Leased { .. } => {
                "Use one outside of the network's dhcp range, or wait for the lease to end: berth network inspect shows it"
                    .to_owned()
            }
            Self::Interface { .. } => crate::start_error::INTERFACE_ADVICE.to_owned(),
            Self::Parent { source: NetworkError::Vlan { advice, .. }, .. }
            | Self::ParentGone { source: NetworkError::Vlan { advice, .. }, .. } => advice.clone(),
            Self::ParentGone { .. } => {
                "Bring the interface back, or make the network on another: ip link lists what the host has".to_owned()
            }
            Self::Parent { source: NetworkError::OwnBridge { .. }, .. } => {
                "Put instances on the network of that bridge itself".to_owned()
            }
            Self::Parent { .. } => {
                "Name an interface or a bridge that the host has: ip link lists them".to_owned()
            }
        }
    }

    pub(crate) fn is_lasting(&self) -> bool {
        !matches!(
            self,
            Self::InUse { .. } | Self::Parent { .. } | Self::ParentGone { .. } | Self::Interface { .. }
        )
    }
}
