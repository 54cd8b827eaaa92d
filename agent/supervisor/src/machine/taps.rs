//! The interfaces of a machine: taps on the host, ports of the same bridges under the same names as containers' ends, so
//! that firewall and bridge know no difference.

use std::os::fd::OwnedFd;

use berth_runtime::launch::{LaunchError, Stage};
use berth_runtime::spec::{InterfaceKind, InterfaceSpec};
use berth_sys::netlink::Netlink;

use crate::failure::launch_error;
use crate::interfaces::{at, ignore_missing};

/// One of them, for as long as this is held.
pub struct Tap {
    /// QEMU's end.
    pub fd: OwnedFd,
    /// Of the guest's end.
    pub mac: String,
}

/// Makes all of them, in the order of the specs.
pub fn create(interfaces: &[InterfaceSpec]) -> Result<Vec<Tap>, LaunchError> {
    if interfaces.is_empty() {
        return Ok(Vec::new());
    }
    let mut netlink = Netlink::open().map_err(at("netlink"))?;
    interfaces.iter().map(|interface| create_one(&mut netlink, interface)).collect()
}

fn create_one(netlink: &mut Netlink, interface: &InterfaceSpec) -> Result<Tap, LaunchError> {
    let name = interface.host_name.as_str();
    let bridge = netlink.link(&interface.bridge).map_err(at(&interface.bridge))?.ok_or_else(|| {
        LaunchError { stage: Stage::NetworkParent, errno: libc::ENODEV, path: (&interface.bridge).into() }
    })?;
    // What takes no port, and what the guest would have to ask a server for, is beyond a machine yet.
    let is_bridge = bridge.kind.as_deref() == Some("bridge");
    if interface.kind == InterfaceKind::Macvlan || interface.dhcp.is_some() || !is_bridge {
        let path = (&interface.host_name).into();
        return Err(LaunchError { stage: Stage::Network, errno: libc::EOPNOTSUPP, path });
    }
    // One of the same name can only be left from a supervisor of this instance that was killed.
    netlink.delete_link(name).or_else(ignore_missing).map_err(at(name))?;
    let fd = berth_sys::tap::create(name).map_err(launch_error(Stage::Network, "/dev/net/tun"))?;
    let mtu = interface.mtu.or((bridge.mtu > 0).then_some(bridge.mtu));
    netlink.join_bridge(name, &interface.bridge, mtu).map_err(at(name))?;
    Ok(Tap { fd, mac: interface.mac.clone() })
}
