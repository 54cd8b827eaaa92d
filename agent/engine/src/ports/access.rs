//! What is let through to instances and from them, with everyone's addresses.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use berth_domain::access::{AccessProtocol, PortRange};
use berth_domain::{InstanceId, MacAddress};
use ipnet::IpNet;

/// What is let through; nothing is held back where a list is absent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Access {
    /// To it.
    pub ingress: Option<Vec<Passage>>,
    /// From it.
    pub egress: Option<Vec<Passage>>,
}

/// What one rule lets through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passage {
    /// `None`: any.
    pub protocol: Option<AccessProtocol>,
    /// The destination's; none: all.
    pub ports: Vec<PortRange>,
    /// The other side: `None` is whoever it is, an empty list nobody.
    pub peers: Option<Vec<IpNet>>,
}

/// All that is restricted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Restrictions {
    /// At the borders of networks, by the name that each has on the host.
    pub networks: BTreeMap<String, Access>,
    /// At all interfaces of instances.
    pub instances: BTreeMap<InstanceId, Access>,
    /// What instances have on networks with a DHCP server, whether they run or not, by the name that each has on the host:
    /// nobody else is given it.
    pub held: BTreeMap<String, BTreeMap<MacAddress, Ipv4Addr>>,
}
