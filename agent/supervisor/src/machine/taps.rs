//! The interfaces of a machine: taps on the host, ports of the same bridges under the same names as containers' ends, so
//! that firewall and bridge know no difference.

use std::os::fd::OwnedFd;

use berth_runtime::launch::{LaunchError, Stage};
use berth_runtime::spec::{InterfaceKind, InterfaceSpec};
use berth_sys::netlink::{Link, Netlink};

use crate::failure::launch_error;
use crate::interfaces::{at, ignore_missing};

/// The places on the bus that a machine's interfaces are plugged into. Where QEMU has its bridge's own controller is none.
pub const SLOTS: std::ops::RangeInclusive<u32> = 1..=31;

/// One of them, for as long as this is held.
pub struct Tap {
    /// QEMU's end.
    pub fd: OwnedFd,
    /// What it was made for.
    pub spec: InterfaceSpec,
    /// Where it is plugged in.
    pub slot: u32,
}

/// Those that there are.
#[derive(Default)]
pub struct Taps(Vec<Tap>);

/// Whether they are one device: addresses and routes are the guest's to change, and the size of packets can be changed too.
pub fn is_same_device(one: &InterfaceSpec, other: &InterfaceSpec) -> bool {
    let device = |spec: &InterfaceSpec| {
        let InterfaceSpec { name, host_name, kind, bridge, vlan, mac, .. } = spec.clone();
        (name, host_name, kind, bridge, vlan, mac)
    };
    device(one) == device(other)
}

impl Taps {
    /// In the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = &Tap> {
        self.0.iter()
    }

    /// The one for an interface, if there is one.
    pub fn of(&self, interface: &InterfaceSpec) -> Option<&Tap> {
        self.0.iter().find(|tap| is_same_device(&tap.spec, interface))
    }

    /// Makes them these, while no QEMU has any of them.
    pub fn change(&mut self, wanted: &[InterfaceSpec]) -> Result<(), LaunchError> {
        for gone in self.beyond(wanted) {
            self.remove(gone)?;
        }
        for interface in wanted {
            self.fit(interface)?;
            if self.of(interface).is_none() {
                self.add(interface, |_| false)?;
            }
        }
        Ok(())
    }

    /// The places of those that are not among these.
    pub fn beyond(&self, wanted: &[InterfaceSpec]) -> Vec<u32> {
        let is_wanted = |tap: &&Tap| wanted.iter().any(|one| is_same_device(&tap.spec, one));
        self.0.iter().filter(|tap| !is_wanted(tap)).map(|tap| tap.slot).collect()
    }

    /// Whether what those that come are to be connected to is there.
    pub fn look_for_parents(&self, wanted: &[InterfaceSpec]) -> Result<(), LaunchError> {
        let mut netlink = Netlink::open().map_err(at("netlink"))?;
        let mut come = wanted.iter().filter(|one| self.of(one).is_none());
        come.try_for_each(|one| parent(&mut netlink, one).map(drop))
    }

    /// Makes one in the first place that is free; QEMU may have a device in a place where there is no tap any more.
    pub fn add(
        &mut self,
        interface: &InterfaceSpec,
        is_taken: impl Fn(u32) -> bool,
    ) -> Result<&Tap, LaunchError> {
        let used = |slot: u32| self.0.iter().any(|tap| tap.slot == slot) || is_taken(slot);
        let slot = SLOTS.into_iter().find(|slot| !used(*slot)).ok_or_else(|| LaunchError {
            stage: Stage::Network,
            errno: libc::ENOSPC,
            path: (&interface.host_name).into(),
        })?;
        let mut netlink = Netlink::open().map_err(at("netlink"))?;
        let fd = create(&mut netlink, interface)?;
        let at = self.0.len();
        self.0.push(Tap { fd, spec: interface.clone(), slot });
        Ok(&self.0[at])
    }

    /// Removes the one in a place from the host: whoever has its other end is connected to nothing.
    pub fn remove(&mut self, slot: u32) -> Result<(), LaunchError> {
        let Some(index) = self.0.iter().position(|tap| tap.slot == slot) else { return Ok(()) };
        let name = self.0[index].spec.host_name.clone();
        let mut netlink = Netlink::open().map_err(at("netlink"))?;
        netlink.delete_link(&name).or_else(ignore_missing).map_err(at(&name))?;
        self.0.remove(index);
        Ok(())
    }

    /// Gives the tap of an interface the size of packets that it is to have now.
    pub fn fit(&mut self, interface: &InterfaceSpec) -> Result<(), LaunchError> {
        let Some(tap) = self.0.iter_mut().find(|tap| is_same_device(&tap.spec, interface)) else {
            return Ok(());
        };
        if let Some(mtu) = interface.mtu.filter(|_| interface.mtu != tap.spec.mtu) {
            let name = interface.host_name.as_str();
            Netlink::open().and_then(|mut netlink| netlink.set_mtu(name, mtu)).map_err(at(name))?;
        }
        tap.spec = interface.clone();
        Ok(())
    }
}

fn parent(netlink: &mut Netlink, interface: &InterfaceSpec) -> Result<Link, LaunchError> {
    let path = interface.bridge.as_str();
    let missing = || LaunchError { stage: Stage::NetworkParent, errno: libc::ENODEV, path: path.into() };
    netlink.link(path).map_err(at(path))?.ok_or_else(missing)
}

fn create(netlink: &mut Netlink, interface: &InterfaceSpec) -> Result<OwnedFd, LaunchError> {
    let name = interface.host_name.as_str();
    let bridge = parent(netlink, interface)?;
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
    Ok(fd)
}
