//! Networks on the host, and ports of the host that lead to instances.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use async_trait::async_trait;
use berth_domain::{InstanceId, KnownNetwork, MacAddress, Name, NetworkSpec, Protocol, Timestamp};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use thiserror::Error;

use super::Cause;
use super::access::Restrictions;

/// A port of the host that leads to an instance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublishedPort {
    /// Its name in the spec.
    pub name: String,
    /// The host's address; 0.0.0.0 and :: are all of their family.
    pub host_address: IpAddr,
    /// The host's port, given or chosen.
    pub host_port: u16,
    /// The workload's.
    pub container_port: u16,
    /// The transport.
    pub protocol: Protocol,
}

/// An instance's interface on a network of the agent's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The network.
    pub network: KnownNetwork,
    /// What marks it on the host among the instance's.
    pub slot: u8,
    /// Its hardware address: it sends with no other.
    pub mac: MacAddress,
    /// Its addresses: it sends with no others.
    pub addresses: Vec<IpAddr>,
    /// What they are called on the network: the instance's name.
    pub name: Name,
}

/// All that the host's network has of one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// Whose.
    pub instance: InstanceId,
    /// Where its ports lead; without one, none are published.
    pub ipv4: Option<Ipv4Addr>,
    /// Likewise those of IPv6, but that of the host's loopback, which leads to either.
    pub ipv6: Option<Ipv6Addr>,
    /// The ports; they replace those it had.
    pub ports: Vec<PublishedPort>,
    /// The interfaces; they replace those it had.
    pub links: Vec<Link>,
}

/// Packets of an interface of an instance's that the host dropped. A number begins anew when what counts it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped {
    /// It sent them with an address that is not its own.
    pub spoofed: u64,
    /// What may come in does not say so of them.
    pub ingress: u64,
    /// What may go out does not say so of them.
    pub egress: u64,
}

/// What a network's DHCP server has given to who is not the agent's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leases {
    /// Those that are in force, by their addresses.
    pub all: Vec<Lease>,
    /// Since when there was nothing left to give to who asked.
    pub exhausted: Option<Timestamp>,
}

/// A lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// What was given.
    pub address: Ipv4Addr,
    /// To whom.
    pub mac: MacAddress,
    /// What it calls itself.
    pub hostname: Option<String>,
    /// When it ends, if it is not renewed.
    pub expires: Timestamp,
}

/// Networks on the host.
#[async_trait]
pub trait Network: Send + Sync + 'static {
    /// A subnet that no route of the host and none of `taken` overlaps.
    async fn choose_subnet(&self, taken: &[Ipv4Net]) -> Result<Ipv4Net, NetworkError>;

    /// Likewise of IPv6; `None` where the host has none.
    async fn choose_subnet6(&self, taken: &[Ipv6Net]) -> Result<Option<Ipv6Net>, NetworkError>;

    /// What of the host has an address of this subnet already, in a few words; the network's own bridge does not count.
    async fn conflict(
        &self,
        subnet: IpNet,
        own: Option<&KnownNetwork>,
    ) -> Result<Option<String>, NetworkError>;

    /// The host has the interface, or bridge, that a network is to be put on, and can do so.
    async fn check_parent(&self, spec: &NetworkSpec) -> Result<(), NetworkError>;

    /// The network is there and works; its instances find each other by name, as far as the host lets them. Fine where it is
    /// already so.
    async fn ensure(&self, network: &KnownNetwork) -> Result<(), NetworkError>;

    /// Likewise, and these interfaces of an instance may send on it, beside those that it had. What is not theirs is
    /// dropped where it enters.
    async fn join(
        &self,
        network: &KnownNetwork,
        instance: InstanceId,
        links: &[Link],
    ) -> Result<(), NetworkError>;

    /// Nothing of the network is left on the host; no instance is on it any more. Fine where nothing is.
    async fn release(&self, network: &KnownNetwork) -> Result<(), NetworkError>;

    /// The instance's interfaces and published ports are exactly these; existing connections of ports that stay go on.
    async fn publish(&self, publication: &Publication) -> Result<(), NetworkError>;

    /// Exactly this is restricted, of the networks and instances that are on the host, and nobody is given what is held.
    /// Open connections go on.
    async fn restrict(&self, restrictions: &Restrictions) -> Result<(), NetworkError>;

    /// What the network's DHCP server has given; nothing where it has none.
    async fn leases(&self, network: &KnownNetwork) -> Result<Leases, NetworkError>;

    /// What its DHCP server has given is remembered no more, as the network is no more. Fine where nothing is.
    async fn forget(&self, network: &KnownNetwork) -> Result<(), NetworkError>;

    /// No port of the instance is published, and none of its interfaces known. Fine where that is so.
    async fn withdraw(&self, instance: InstanceId) -> Result<(), NetworkError>;

    /// What was dropped at the instance's interface of that slot.
    async fn dropped(&self, instance: InstanceId, slot: u8) -> Result<Dropped, NetworkError>;

    /// Whether a port of the host could be published: nobody else listens on it, and the address is the host's.
    /// What this agent has published itself does not count: the engine keeps those apart.
    async fn check_port(&self, address: IpAddr, port: u16, protocol: Protocol) -> Result<(), NetworkError>;

    /// What the network is called on the host: the bridge's name.
    fn host_name(&self, network: &KnownNetwork) -> String;
}

impl NetworkError {
    /// Whether it is about a VLAN of the parent, not about the parent.
    #[must_use]
    pub fn is_of_vlan(&self) -> bool {
        matches!(self, Self::Vlan { .. })
    }
}

/// Why a network could not be made so.
#[derive(Debug, Error)]
pub enum NetworkError {
    /// Another listens there.
    #[error("Port {port}/{protocol} of {address} is taken")]
    PortTaken {
        /// The host's address.
        address: IpAddr,
        /// The port.
        port: u16,
        /// The transport.
        protocol: Protocol,
    },
    /// The address is not one of the host's.
    #[error("{address} is not an address of this host")]
    NotAnAddress {
        /// What was asked for.
        address: IpAddr,
    },
    /// It is a bridge of the agent's own, which goes when its network is in no use.
    #[error("{parent} is a bridge of this agent's own")]
    OwnBridge {
        /// What was asked for.
        parent: String,
    },
    /// The host has no such interface.
    #[error("The host has no interface {parent}")]
    NoParent {
        /// What was asked for.
        parent: String,
    },
    /// The host cannot put anything on this VLAN.
    #[error("The host has no way to the VLAN {vlan} of {parent}")]
    Vlan {
        /// What was asked for.
        vlan: u16,
        /// Of which interface, or bridge.
        parent: String,
        /// What to do.
        advice: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// Every private subnet overlaps a route of the host.
    #[error("No private IPv4 subnet is free on this host")]
    NoSubnet,
    /// Every subnet of the agent's own overlaps a route of the host.
    #[error("No IPv6 subnet of the agent's own is free on this host")]
    NoSubnet6,
    /// The host does not do it.
    #[error("The host's network cannot {operation}")]
    Host {
        /// "make the bridge" and the like.
        operation: String,
        /// What to do; empty where nothing is known.
        advice: String,
        /// Why.
        #[source]
        source: Cause,
    },
}
