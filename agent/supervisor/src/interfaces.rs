//! The interfaces of an instance: made on the host, put into its network namespace, and changed while it runs.
//!
//! An interface that differs in anything is another one: the old is taken out and the new put in. What a change needs of
//! the host is looked for before anything is taken out, and what fails half way is undone.

use std::fs;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use berth_runtime::launch::{LaunchError, Stage};
use berth_runtime::spec::{IdRange, InterfaceKind, InterfaceSpec};
use berth_sys::netlink::{
    Link, MacAddress, MacvlanSpec, Namespace, Netlink, NetlinkError, VethEnd, VethSpec,
};

use crate::failure::launch_error;
use crate::host::inside;

/// Those that there are.
#[derive(Default)]
pub struct Interfaces {
    present: Vec<InterfaceSpec>,
}

impl Interfaces {
    /// Makes them what is wanted, or leaves them as they were.
    pub fn change(&mut self, wanted: &[InterfaceSpec], namespace: &OwnedFd) -> Result<(), LaunchError> {
        let mut change = Change::begin(namespace)?;
        let in_list =
            |list: &[InterfaceSpec], one: &InterfaceSpec| list.iter().any(|other| other.is_same(one));
        let added: Vec<_> = wanted.iter().filter(|one| !in_list(&self.present, one)).collect();
        let removed: Vec<_> = self.present.iter().filter(|one| !in_list(wanted, one)).cloned().collect();
        let added = added.into_iter().map(|one| Ok((one, parent(&mut change.host, one)?)));
        let added = added.collect::<Result<Vec<_>, LaunchError>>()?;
        let mut taken_out = Vec::new();
        let mut put_in = Vec::new();
        let mut go = || {
            for one in &removed {
                change.take_out(one)?;
                taken_out.push(one);
            }
            for (one, parent) in &added {
                put_in.push(*one);
                change.put_in(one, parent)?;
            }
            Ok(())
        };
        if let Err(error) = go() {
            // The first error is the one to report.
            for one in put_in {
                let _ = change.take_out(one);
            }
            for one in taken_out {
                let _ = parent(&mut change.host, one).and_then(|parent| change.put_in(one, &parent));
            }
            return Err(error);
        }
        self.present = wanted.to_vec();
        Ok(())
    }

    /// Removes what is on the host. The rest goes with the namespace.
    pub fn remove_all(&self) {
        if let Ok(mut netlink) = Netlink::open() {
            for interface in &self.present {
                let _ = netlink.delete_link(&interface.host_name);
            }
        }
    }
}

/// What the host is asked through, on either side.
struct Change<'a> {
    namespace: &'a OwnedFd,
    host: Netlink,
    inner: Netlink,
}

impl<'a> Change<'a> {
    fn begin(namespace: &'a OwnedFd) -> Result<Self, LaunchError> {
        let host = Netlink::open().map_err(at("netlink"))?;
        let inner = inside(namespace, Netlink::open)
            .map_err(launch_error(Stage::Network, "the network namespace"))?
            .map_err(at("netlink"))?;
        Ok(Self { namespace, host, inner })
    }

    fn put_in(&mut self, interface: &InterfaceSpec, parent: &Link) -> Result<(), LaunchError> {
        let mac = mac_of(interface)?;
        let mtu = interface.mtu.or((parent.mtu > 0).then_some(parent.mtu));
        let namespace = Namespace::Fd(self.namespace.as_fd());
        if is_port(interface, parent) {
            connect_port(&mut self.host, interface, (&interface.name, Some(mac)), namespace, mtu)?;
        } else {
            let macvlan = MacvlanSpec {
                name: &interface.name,
                parent: &parent.name,
                mac: Some(mac),
                namespace: Some(namespace),
                mtu,
            };
            self.host.create_macvlan(&macvlan).map_err(at(&interface.name))?;
        }
        inside(self.namespace, || {
            router_advertisements(interface).and_then(|()| allow_to_announce(interface))
        })
        .map_err(launch_error(Stage::Network, "the network namespace"))??;
        self.configure(interface)?;
        self.announce(interface, is_port(interface, parent), mac)
    }

    /// Has the neighbours hear of its addresses, which they may know another's place for. On a managed network each address
    /// has its own MAC for good.
    fn announce(
        &mut self,
        interface: &InterfaceSpec,
        is_port: bool,
        mac: MacAddress,
    ) -> Result<(), LaunchError> {
        if interface.kind == InterfaceKind::Bridge {
            return Ok(());
        }
        if is_port {
            self.host.set_forwarding(&interface.host_name).map_err(at(&interface.host_name))?;
        }
        // The kernel announces where a link is set up, which was too early for the bridge, and where it is given a MAC.
        self.inner.set_mac(&interface.name, mac).map_err(at(&interface.name))
    }

    fn configure(&mut self, interface: &InterfaceSpec) -> Result<(), LaunchError> {
        let (netlink, name) = (&mut self.inner, interface.name.as_str());
        let v4 = interface.ipv4_address.map(|address| (IpAddr::from(address), interface.ipv4_prefix));
        let v6 = interface.ipv6_address.map(|address| (IpAddr::from(address), interface.ipv6_prefix));
        for (address, prefix) in v4.into_iter().chain(v6) {
            netlink.add_address(name, address, prefix).map_err(at(name))?;
        }
        netlink.set_up(name).map_err(at(name))?;
        let v4 = interface.ipv4_gateway.map(IpAddr::from);
        for gateway in v4.into_iter().chain(interface.ipv6_gateway.map(IpAddr::from)) {
            netlink.add_default_route(gateway, name).map_err(at(name))?;
        }
        Ok(())
    }

    /// Takes an interface out by its end inside: a pair goes whole. One that is gone already is out.
    fn take_out(&mut self, interface: &InterfaceSpec) -> Result<(), LaunchError> {
        self.inner.delete_link(&interface.name).or_else(ignore_missing).map_err(at(&interface.name))?;
        if interface.kind != InterfaceKind::Macvlan {
            // The instance may have renamed its end.
            self.host
                .delete_link(&interface.host_name)
                .or_else(ignore_missing)
                .map_err(at(&interface.host_name))?;
        }
        Ok(())
    }
}

/// The MAC address that it is to have.
pub fn mac_of(interface: &InterfaceSpec) -> Result<MacAddress, LaunchError> {
    let path = || (&interface.mac).into();
    interface.mac.parse().map_err(|_| LaunchError {
        stage: Stage::Network,
        errno: libc::EINVAL,
        path: path(),
    })
}

/// The host's link that an interface is connected to.
pub fn parent(host: &mut Netlink, interface: &InterfaceSpec) -> Result<Link, LaunchError> {
    let mut find = |name: &str| {
        let link = host.link(name).map_err(at(name))?;
        let path = name.into();
        link.ok_or(LaunchError { stage: Stage::NetworkParent, errno: libc::ENODEV, path })
    };
    let parent = find(&interface.bridge)?;
    match &interface.vlan {
        Some(vlan) if !is_port(interface, &parent) => find(&vlan.link),
        _ => Ok(parent),
    }
}

/// Makes a port of a bridge, and its other end in a namespace, with this name and perhaps this MAC.
pub fn connect_port(
    host: &mut Netlink,
    interface: &InterfaceSpec,
    (peer, mac): (&str, Option<MacAddress>),
    namespace: Namespace<'_>,
    mtu: Option<u32>,
) -> Result<(), LaunchError> {
    let name = interface.host_name.as_str();
    // One of the same name can only be left from a supervisor of this instance that was killed.
    host.delete_link(name).or_else(ignore_missing).map_err(at(name))?;
    let pair = VethSpec {
        host: VethEnd { name, mac: None },
        master: Some(&interface.bridge),
        peer: VethEnd { name: peer, mac },
        peer_namespace: Some(namespace),
        mtu,
    };
    host.create_veth(&pair).map_err(at(name))?;
    // Its other end is down so far: nothing has passed outside of the VLAN.
    if let Some(vlan) = &interface.vlan {
        host.set_port_vlan(name, vlan.id, default_vlan(&interface.bridge)).map_err(at(name))?;
    }
    Ok(())
}

/// Whether it is a port of its parent, which is a bridge then; else it is on top of it.
pub fn is_port(interface: &InterfaceSpec, parent: &Link) -> bool {
    match interface.kind {
        InterfaceKind::Bridge => true,
        InterfaceKind::Macvlan => false,
        InterfaceKind::Physical => parent.kind.as_deref() == Some("bridge"),
    }
}

/// The VLAN that a bridge puts new ports on, if there is one.
fn default_vlan(bridge: &str) -> Option<u16> {
    let path = Path::new("/sys/class/net").join(bridge).join("bridge/default_pvid");
    let text = fs::read_to_string(path).ok()?;
    text.trim().parse().ok().filter(|vlan| *vlan != 0)
}

/// The loopback, and what the kernel allows inside; to be called there.
pub fn prepare(ids: IdRange) -> Result<(), LaunchError> {
    let mut netlink = Netlink::open().map_err(at("netlink"))?;
    netlink.set_up("lo").map_err(at("lo"))?;
    // As Docker has it: ports below 1024 and ping need no privilege inside a namespace of one's own. The writer's user
    // namespace says what a group's number means, and that is the host's here.
    let groups = format!("{} {}", ids.host_base, ids.host_base.saturating_add(ids.count.saturating_sub(1)));
    for (file, value) in [("ip_unprivileged_port_start", "0"), ("ping_group_range", &groups)] {
        let path = Path::new("/proc/sys/net/ipv4").join(file);
        fs::write(&path, value).map_err(launch_error(Stage::Network, path))?;
    }
    Ok(())
}

/// Whether routers are listened to; to be called inside. A neighbour on a managed network could pose as one.
fn router_advertisements(interface: &InterfaceSpec) -> Result<(), LaunchError> {
    let path = Path::new("/proc/sys/net/ipv6/conf").join(&interface.name).join("accept_ra");
    match fs::write(&path, if interface.ipv6_autoconf { "1" } else { "0" }) {
        // A host without IPv6 has no routers of it.
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(launch_error(Stage::Network, path)(error))
        }
        _ => Ok(()),
    }
}

/// Whether the kernel tells the neighbours of its addresses; to be called inside.
fn allow_to_announce(interface: &InterfaceSpec) -> Result<(), LaunchError> {
    if interface.kind == InterfaceKind::Bridge {
        return Ok(());
    }
    for file in ["ipv4/conf/{}/arp_notify", "ipv6/conf/{}/ndisc_notify"] {
        let path = Path::new("/proc/sys/net").join(file.replace("{}", &interface.name));
        match fs::write(&path, "1") {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(launch_error(Stage::Network, path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// What is gone already need not go.
pub fn ignore_missing(error: NetlinkError) -> Result<(), NetlinkError> {
    if error.is_missing() { Ok(()) } else { Err(error) }
}

/// For `map_err`, of a link.
pub fn at(path: &str) -> impl FnOnce(NetlinkError) -> LaunchError {
    let path = path.into();
    move |error| LaunchError {
        stage: Stage::Network,
        errno: error.errno().map_or(0, |errno| errno as i32),
        path,
    }
}
