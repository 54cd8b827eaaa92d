//! The agent's bridges: made, mended and removed.

use std::net::{IpAddr, Ipv6Addr};

use berth_sys::netlink::{BridgeSpec, MacAddress, Netlink, NetlinkError};
use ipnet::{Ipv4Net, Ipv6Net};

use crate::{
    names::hash,
    sysctl::{self, SysctlError},
};

/// A bridge as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// Its name: [`Prefix::bridge`](crate::Prefix::bridge).
    pub name: String,
    /// The host's address on it, which is the instances' gateway, with the network's prefix.
    pub gateway: Ipv4Net,
    /// The host's IPv6 address on it; there is no IPv6 on the bridge if absent.
    pub gateway6: Option<Ipv6Net>,
    /// The MTU; the kernel's default if absent.
    pub mtu: Option<u32>,
}

impl Bridge {
    /// A bridge whose gateway is the network's first address.
    #[must_use]
    pub fn new(name: String, subnet: Ipv4Net) -> Self {
        Self { name, gateway: gateway(subnet), gateway6: None, mtu: None }
    }

    /// The bridge's own MAC address. It follows from the name, so that what instances know of their gateway holds
    /// when the bridge is made anew.
    #[must_use]
    pub fn mac(&self) -> MacAddress {
        let [_, _, a, b, c, d, e, f] = hash(self.name.as_bytes()).to_be_bytes();
        // Locally administered, and no multicast address.
        MacAddress([(a & 0xfc) | 2, b, c, d, e, f])
    }
}

/// The gateway of a network: its first address.
#[must_use]
pub fn gateway(subnet: Ipv4Net) -> Ipv4Net {
    let first = subnet.hosts().next().unwrap_or_else(|| subnet.addr());
    Ipv4Net::new(first, subnet.prefix_len()).unwrap_or(subnet)
}

/// The gateway of an IPv6 network: its first address after the one that means all its routers.
#[must_use]
pub fn gateway6(subnet: Ipv6Net) -> Ipv6Net {
    let first = Ipv6Addr::from(u128::from(subnet.network()) | 1);
    Ipv6Net::new(first, subnet.prefix_len()).unwrap_or(subnet)
}

/// Why a bridge is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum BridgeError {
    /// A request to the kernel failed.
    #[error("the bridge {bridge} could not be set up")]
    Netlink {
        /// The bridge.
        bridge: String,
        /// The request.
        #[source]
        source: NetlinkError,
    },
    /// One of its kernel settings could not be set.
    #[error("the bridge {bridge} could not be set up")]
    Sysctl {
        /// The bridge.
        bridge: String,
        /// The setting.
        #[source]
        source: SysctlError,
    },
    /// Something else than a bridge has the name.
    #[error("there is a link named {name} already, and it is {kind}: remove it with `ip link delete {name}`")]
    NameTaken {
        /// The name.
        name: String,
        /// What it is.
        kind: String,
    },
}

/// What [`ensure`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ensured {
    /// It made the bridge; ports of an earlier one are gone.
    Created,
    /// It put right what was there.
    Changed,
    /// All was as it should be.
    Unchanged,
}

/// Makes the bridge, or mends the one that is there: its MAC and MTU, its IPv4 addresses, its kernel settings, that it
/// is up. A bridge that exists keeps its ports.
///
/// # Errors
/// If something else has the name, or the kernel refuses. A bridge that was made by this very call is removed then.
pub fn ensure(netlink: &mut Netlink, bridge: &Bridge) -> Result<Ensured, BridgeError> {
    let failed = |source| BridgeError::Netlink { bridge: bridge.name.clone(), source };
    match netlink.link(&bridge.name).map_err(failed)? {
        None => {
            let spec = BridgeSpec { name: &bridge.name, mac: Some(bridge.mac()), mtu: bridge.mtu };
            netlink.create_bridge(&spec).map_err(failed)?;
            let configured = configure(netlink, bridge);
            if configured.is_err()
                && let Err(error) = netlink.delete_link(&bridge.name)
            {
                tracing::warn!(bridge = bridge.name, %error, "a bridge that could not be set up is left");
            }
            configured.map(|_| Ensured::Created)
        }
        Some(link) if link.kind.as_deref() != Some("bridge") => Err(BridgeError::NameTaken {
            name: bridge.name.clone(),
            kind: link.kind.unwrap_or_else(|| "a network card".to_owned()),
        }),
        Some(link) => {
            let mut changed = false;
            if link.mac != Some(bridge.mac()) {
                netlink.set_mac(&bridge.name, bridge.mac()).map_err(failed)?;
                changed = true;
            }
            if let Some(mtu) = bridge.mtu.filter(|mtu| *mtu != link.mtu) {
                netlink.set_mtu(&bridge.name, mtu).map_err(failed)?;
                changed = true;
            }
            if !link.up {
                netlink.set_up(&bridge.name).map_err(failed)?;
                changed = true;
            }
            changed |= configure(netlink, bridge)?;
            Ok(if changed { Ensured::Changed } else { Ensured::Unchanged })
        }
    }
}

/// Removes a bridge; that it is not there is no error. What are its ports become links of their own.
///
/// # Errors
/// If something else has the name, or the kernel refuses.
pub fn remove(netlink: &mut Netlink, name: &str) -> Result<(), BridgeError> {
    let failed = |source| BridgeError::Netlink { bridge: name.to_owned(), source };
    match netlink.link(name).map_err(failed)? {
        None => Ok(()),
        Some(link) if link.kind.as_deref() != Some("bridge") => Err(BridgeError::NameTaken {
            name: name.to_owned(),
            kind: link.kind.unwrap_or_else(|| "a network card".to_owned()),
        }),
        Some(_) => match netlink.delete_link(name) {
            Err(error) if !error.is_missing() => Err(failed(error)),
            _ => Ok(()),
        },
    }
}

/// Addresses and settings; true if something was not as it should be.
fn configure(netlink: &mut Netlink, bridge: &Bridge) -> Result<bool, BridgeError> {
    let settings = settings(bridge)?;
    Ok(addresses(netlink, bridge)? || settings)
}

fn addresses(netlink: &mut Netlink, bridge: &Bridge) -> Result<bool, BridgeError> {
    let v4 = (IpAddr::V4(bridge.gateway.addr()), bridge.gateway.prefix_len());
    let v6 = bridge.gateway6.map(|net| (IpAddr::V6(net.addr()), net.prefix_len()));
    let changed = of_family(netlink, bridge, IpAddr::is_ipv4, Some(v4))?;
    Ok(of_family(netlink, bridge, IpAddr::is_ipv6, v6)? || changed)
}

/// Gives the bridge its one address of a family; its link-local one is the kernel's.
fn of_family(
    netlink: &mut Netlink,
    bridge: &Bridge,
    family: fn(&IpAddr) -> bool,
    wanted: Option<(IpAddr, u8)>,
) -> Result<bool, BridgeError> {
    let failed = |source| BridgeError::Netlink { bridge: bridge.name.clone(), source };
    let present = addresses_of(netlink, &bridge.name).map_err(failed)?;
    let present: Vec<_> = present.into_iter().filter(|(address, _)| family(address)).collect();
    if present.as_slice() == wanted.as_slice() {
        return Ok(false);
    }
    for (address, prefix_len) in present.into_iter().filter(|present| Some(*present) != wanted) {
        netlink.delete_address(&bridge.name, address, prefix_len).map_err(failed)?;
    }
    let Some((address, prefix_len)) = wanted else { return Ok(true) };
    // With a network's first address the kernel may have dropped the others of it, so what is left is not known.
    match netlink.add_address(&bridge.name, address, prefix_len) {
        Err(error) if !error.is_exists() => Err(failed(error)),
        _ => Ok(true),
    }
}

fn addresses_of(netlink: &mut Netlink, name: &str) -> Result<Vec<(IpAddr, u8)>, NetlinkError> {
    let Some(link) = netlink.link(name)? else { return Ok(Vec::new()) };
    let link_local = |address: IpAddr| matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let addresses = netlink.addresses()?.into_iter();
    let own = addresses.filter(|address| address.link == link.index && !link_local(address.address));
    Ok(own.map(|address| (address.address, address.prefix_len)).collect())
}

/// The kernel settings of the bridge; they vanish with it. True if one was another.
fn settings(bridge: &Bridge) -> Result<bool, BridgeError> {
    let name = &bridge.name;
    // What is published on 127.0.0.1 is answered to an address that only this setting lets in through the bridge.
    // The firewall drops what instances themselves send to 127.0.0.0/8.
    let mut changed = setting(name, "ipv4", "route_localnet", "1")?;
    // An instance must not move its neighbours to another gateway, nor the host to another route.
    changed |= setting(name, "ipv4", "send_redirects", "0")?;
    changed |= setting(name, "ipv4", "accept_redirects", "0")?;
    // An instance's router advertisement gave the host a route.
    changed |= setting(name, "ipv6", "accept_ra", "0")?;
    changed |= setting(name, "ipv6", "accept_redirects", "0")?;
    // The addresses are of a ledger: nobody is asked for them, and they are usable before there is a port.
    changed |= setting(name, "ipv6", "accept_dad", "0")?;
    // A network without IPv6: without this the host's services were reachable at its link-local address.
    let disabled = if bridge.gateway6.is_some() { "0" } else { "1" };
    changed |= setting(name, "ipv6", "disable_ipv6", disabled)?;
    Ok(changed)
}

fn setting(bridge: &str, family: &str, setting: &str, value: &str) -> Result<bool, BridgeError> {
    let name = format!("net/{family}/conf/{bridge}/{setting}");
    let failed = |source| BridgeError::Sysctl { bridge: bridge.to_owned(), source };
    match sysctl::read(&name) {
        Ok(current) if current == value => Ok(false),
        Ok(_) => sysctl::set(&name, value).map(|()| true).map_err(failed),
        // A kernel without IPv6.
        Err(error) if error.is_missing() && family == "ipv6" => Ok(false),
        Err(error) => Err(failed(error)),
    }
}
