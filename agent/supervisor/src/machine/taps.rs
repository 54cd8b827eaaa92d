//! The interfaces of a machine. On networks of the agent's they are taps on the host, ports of the same bridges under the
//! same names as containers' ends, so that firewall and bridge know no difference. On the host's own networks each is a
//! macvtap in the machine's network namespace, on top of what a container would have there: it goes with the namespace, and
//! the supervisor can ask a DHCP server through it.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use berth_runtime::launch::{LaunchError, Stage};
use berth_runtime::spec::{InterfaceKind, InterfaceSpec};
use berth_sys::netlink::{Link, MacvlanSpec, Namespace, Netlink};

use crate::failure::launch_error;
use crate::host::inside;
use crate::interfaces::{at, connect_port, ignore_missing, is_port, mac_of, parent};

/// What link there is below a macvtap has no use for IPv6: the guest speaks it.
const IPV6_OFF: &str = "/proc/sys/net/ipv6/conf/default/disable_ipv6";

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
    /// The largest packet, in bytes, where that is known.
    pub mtu: Option<u32>,
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
    pub fn change(&mut self, wanted: &[InterfaceSpec], namespace: &OwnedFd) -> Result<(), LaunchError> {
        for gone in self.beyond(wanted) {
            self.remove(gone, namespace)?;
        }
        for interface in wanted {
            self.fit(interface, namespace)?;
            if self.of(interface).is_none() {
                self.add(interface, namespace, |_| false)?;
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
        namespace: &OwnedFd,
        is_taken: impl Fn(u32) -> bool,
    ) -> Result<&Tap, LaunchError> {
        let used = |slot: u32| self.0.iter().any(|tap| tap.slot == slot) || is_taken(slot);
        let slot = SLOTS.into_iter().find(|slot| !used(*slot)).ok_or_else(|| LaunchError {
            stage: Stage::Network,
            errno: libc::ENOSPC,
            path: (&interface.host_name).into(),
        })?;
        let (fd, mtu) = create(interface, slot, namespace)?;
        let at = self.0.len();
        self.0.push(Tap { fd, spec: interface.clone(), slot, mtu });
        Ok(&self.0[at])
    }

    /// Removes the one in a place from the host: whoever has its other end is connected to nothing.
    pub fn remove(&mut self, slot: u32, namespace: &OwnedFd) -> Result<(), LaunchError> {
        let Some(index) = self.0.iter().position(|tap| tap.slot == slot) else { return Ok(()) };
        let spec = &self.0[index].spec;
        if spec.kind != InterfaceKind::Bridge {
            let deleted = open_inside(namespace)?.delete_link(&spec.name);
            deleted.or_else(ignore_missing).map_err(at(&spec.name))?;
        }
        // Beside an interface of the host's it has no end there.
        let deleted = Netlink::open().and_then(|mut netlink| netlink.delete_link(&spec.host_name));
        deleted.or_else(ignore_missing).map_err(at(&spec.host_name))?;
        self.0.remove(index);
        Ok(())
    }

    /// Gives the tap of an interface the size of packets that it is to have now.
    pub fn fit(&mut self, interface: &InterfaceSpec, namespace: &OwnedFd) -> Result<(), LaunchError> {
        let Some(tap) = self.0.iter_mut().find(|tap| is_same_device(&tap.spec, interface)) else {
            return Ok(());
        };
        if let Some(mtu) = interface.mtu.filter(|_| interface.mtu != tap.spec.mtu) {
            let set = match interface.kind {
                InterfaceKind::Bridge => {
                    Netlink::open().and_then(|mut it| it.set_mtu(&interface.host_name, mtu))
                }
                InterfaceKind::Physical | InterfaceKind::Macvlan => {
                    open_inside(namespace)?.set_mtu(&interface.name, mtu)
                }
            };
            set.map_err(at(&interface.host_name))?;
        }
        tap.mtu = interface.mtu.or(tap.mtu);
        tap.spec = interface.clone();
        Ok(())
    }
}

fn open_inside(namespace: &OwnedFd) -> Result<Netlink, LaunchError> {
    let opened = inside(namespace, Netlink::open);
    opened.map_err(launch_error(Stage::Network, "the network namespace"))?.map_err(at("netlink"))
}

fn create(
    interface: &InterfaceSpec,
    slot: u32,
    namespace: &OwnedFd,
) -> Result<(OwnedFd, Option<u32>), LaunchError> {
    let mut host = Netlink::open().map_err(at("netlink"))?;
    let parent = parent(&mut host, interface)?;
    let mtu = interface.mtu.or((parent.mtu > 0).then_some(parent.mtu));
    if interface.kind != InterfaceKind::Bridge {
        let fd = macvtap(&mut host, interface, &parent, (slot, mtu), namespace)?;
        return Ok((fd, mtu));
    }
    let name = interface.host_name.as_str();
    // One of the same name can only be left from a supervisor of this instance that was killed.
    host.delete_link(name).or_else(ignore_missing).map_err(at(name))?;
    let fd = berth_sys::tap::create(name).map_err(launch_error(Stage::Network, "/dev/net/tun"))?;
    host.join_bridge(name, &interface.bridge, mtu).map_err(at(name))?;
    Ok((fd, mtu))
}

fn macvtap(
    host: &mut Netlink,
    interface: &InterfaceSpec,
    parent: &Link,
    (slot, mtu): (u32, Option<u32>),
    namespace: &OwnedFd,
) -> Result<OwnedFd, LaunchError> {
    let name = interface.name.as_str();
    let failed = || launch_error(Stage::Network, &interface.host_name);
    let off = inside(namespace, || fs::write(IPV6_OFF, "1")).map_err(failed())?;
    off.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
        .map_err(launch_error(Stage::Network, IPV6_OFF))?;
    let mut inner = open_inside(namespace)?;
    let mac = Some(mac_of(interface)?);
    let there = Namespace::Fd(namespace.as_fd());
    let made = if is_port(interface, parent) {
        let below = format!("port{slot}");
        connect_port(host, interface, (&below, None), there, mtu)?;
        inner.set_up(&below).map_err(at(&interface.host_name))?;
        host.set_forwarding(&interface.host_name).map_err(at(&interface.host_name))?;
        inner.create_macvtap(&MacvlanSpec { name, parent: &below, mac, namespace: None, mtu })
    } else {
        host.create_macvtap(&MacvlanSpec { name, parent: &parent.name, mac, namespace: Some(there), mtu })
    };
    made.and_then(|()| inner.set_up(name)).map_err(at(&interface.host_name))?;
    let link = inner.link(name).map_err(at(&interface.host_name))?;
    let index = link.map_or(0, |link| link.index);
    let opened = inside(namespace, || berth_sys::tap::open_macvtap(name, index));
    opened.and_then(|opened| opened).map_err(failed())
}
