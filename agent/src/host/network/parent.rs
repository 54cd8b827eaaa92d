//! What networks of the host's own are put on: a bridge, an interface, or a VLAN of either.

use berth_domain::{KnownNetwork, NetworkKind, NetworkSpec};
use berth_engine::ports::network::NetworkError;
use berth_network::Prefix;
use berth_network::vlan::{self, VlanError};
use berth_sys::netlink::{Netlink, VlanSpec};

use super::host;

/// The parent is there, and has a way to the network's VLAN. True where that is by ports of a bridge.
pub(super) fn check(
    netlink: &mut Netlink,
    prefix: &Prefix,
    spec: &NetworkSpec,
) -> Result<bool, NetworkError> {
    let Some(parent) = spec.parent.clone() else { return Ok(false) };
    if prefix.owns_bridge(&parent) {
        return Err(NetworkError::OwnBridge { parent });
    }
    let found = netlink.link(&parent).map_err(|error| host("list its interfaces", error))?;
    let Some(link) = found else { return Err(NetworkError::NoParent { parent }) };
    let by_ports = vlan::by_ports(&link, spec.kind == NetworkKind::Physical);
    if let Some(id) = spec.vlan {
        vlan::check(netlink, &link, by_ports).map_err(refused(id, &parent))?;
    }
    Ok(by_ports)
}

/// Likewise, and the link of its VLAN is there.
pub(super) fn ensure(
    netlink: &mut Netlink,
    prefix: &Prefix,
    network: &KnownNetwork,
) -> Result<(), NetworkError> {
    let by_ports = check(netlink, prefix, &network.spec)?;
    let (Some(id), Some(parent), false) = (network.spec.vlan, &network.spec.parent, by_ports) else {
        return Ok(());
    };
    let name = prefix.vlan(network.number);
    vlan::ensure(netlink, &VlanSpec { name: &name, parent, id }).map_err(refused(id, parent))
}

/// The parent is the host's, and what is on it goes with its instances: there is but the link of a VLAN to remove.
pub(super) fn release(netlink: &mut Netlink, link: &str) -> Result<(), NetworkError> {
    vlan::remove(netlink, link).map_err(|error| host("remove the VLAN's link", error))
}

fn refused(vlan: u16, parent: &str) -> impl FnOnce(VlanError) -> NetworkError {
    let parent = parent.to_owned();
    move |error| NetworkError::Vlan { vlan, parent, advice: error.advice(), source: error.into() }
}
