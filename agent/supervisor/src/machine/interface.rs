//! What a guest is told of an interface of its.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use berth_guest_protocol::message::{GuestInterface, GuestRoute};
use berth_runtime::lease::{Lease, LeaseRoute};
use berth_runtime::spec::{InterfaceKind, InterfaceSpec};

/// What the kernel takes where nothing says otherwise.
const MTU: u32 = 1500;

/// As it is asked for, with the size of packets that its tap has, and what a server has given.
pub fn guest_interface(
    interface: &InterfaceSpec,
    mtu: Option<u32>,
    lease: Option<(&Lease, Vec<LeaseRoute>)>,
) -> GuestInterface {
    let mut mtu = interface.mtu.or(mtu).unwrap_or(MTU);
    let v4 = interface.ipv4_address.map(|address| (IpAddr::from(address), interface.ipv4_prefix));
    let v6 = interface.ipv6_address.map(|address| (IpAddr::from(address), interface.ipv6_prefix));
    let mut addresses: Vec<_> = v4.into_iter().chain(v6).collect();
    let v4 = interface.ipv4_gateway.map(|gateway| everywhere(Ipv4Addr::UNSPECIFIED.into(), gateway.into()));
    let v6 = interface.ipv6_gateway.map(|gateway| everywhere(Ipv6Addr::UNSPECIFIED.into(), gateway.into()));
    let mut routes: Vec<_> = v4.into_iter().chain(v6).collect();
    if let Some((lease, taken)) = lease {
        addresses.push((lease.address.into(), lease.prefix_len));
        routes.extend(taken.iter().map(|route| GuestRoute {
            destination: route.destination.into(),
            prefix_len: route.prefix_len,
            gateway: route.gateway.map(IpAddr::from),
        }));
        mtu = mtu.min(lease.mtu.unwrap_or(mtu));
    }
    GuestInterface {
        mac: interface.mac.clone(),
        name: interface.name.clone(),
        mtu,
        addresses,
        routes,
        ipv6_autoconf: interface.ipv6_autoconf,
        announces: interface.kind != InterfaceKind::Bridge,
    }
}

fn everywhere(destination: IpAddr, gateway: IpAddr) -> GuestRoute {
    GuestRoute { destination, prefix_len: 0, gateway: Some(gateway) }
}
