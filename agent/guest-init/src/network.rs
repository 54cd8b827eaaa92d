//! The interfaces of the machine: as the host asks for them, before the workload starts and while it runs.
//!
//! Each is found by its hardware address, once its device is there. What goes is let go of before what comes is set up, so
//! that names, addresses and routes are free; and what was done already can be done again, so that a change that failed
//! half way is taken back by asking for what was before.

use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use berth_guest_protocol::message::{GuestInterface, OwnAddresses};
use berth_process::failure::launch_error;
use berth_runtime::launch::{LaunchError, Stage};
use berth_sys::netlink::{Address, Changes, Link, MacAddress, Netlink, NetlinkError};
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

/// Addresses of routers that the host is told of, an interface: workloads can make any number.
const MOST_OWN: usize = 16;

/// The interfaces, and the kernel's doors to them, opened while they are in reach.
pub struct Network {
    netlink: Netlink,
    /// Tells when a device has come.
    changes: Changes,
    /// Tells when a router has given an address.
    address_changes: Changes,
    /// It has told.
    is_news: bool,
    /// What the host was told of that.
    told: Vec<OwnAddresses>,
    /// Of the kernel, below /proc/sys/net.
    settings: fs::File,
    /// As they were asked for last.
    present: Vec<GuestInterface>,
    /// What the host has asked for and is not so yet, under its number.
    wanted: Option<(u32, Vec<GuestInterface>)>,
}

impl Network {
    /// Before the root is another.
    pub fn open() -> io::Result<Self> {
        Ok(Self {
            netlink: Netlink::open().map_err(io::Error::other)?,
            changes: Changes::of_links().map_err(io::Error::other)?,
            address_changes: Changes::of_addresses().map_err(io::Error::other)?,
            is_news: false,
            told: Vec::new(),
            settings: fs::File::open("/proc/sys/net")?,
            present: Vec::new(),
            wanted: None,
        })
    }

    /// Makes them what the machine is to begin with.
    pub fn connect(&mut self, interfaces: &[GuestInterface]) -> Result<(), LaunchError> {
        self.netlink.set_up("lo").map_err(network_error("lo"))?;
        // Out of the way first: what one is called now may be what another is to be called.
        for (index, interface) in interfaces.iter().enumerate() {
            let found = self.find(interface)?.ok_or_else(|| missing(interface))?;
            let passing = format!("berth{index}");
            self.netlink.set_name(&found.name, &passing).map_err(network_error(&interface.name))?;
        }
        // As in a container.
        for (file, value) in [("ip_unprivileged_port_start", "0"), ("ping_group_range", "0 2147483647")] {
            self.set(&format!("ipv4/{file}"), value)?;
        }
        self.change(interfaces.to_vec())
    }

    /// Where a port of the machine's is: on the loopback, where that counts, and at the addresses of its interfaces.
    pub fn places(&self, port: u16, loopback: bool) -> Vec<SocketAddr> {
        let loopback =
            [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()].into_iter().filter(|_| loopback);
        let given = self.present.iter().flat_map(|interface| &interface.addresses);
        let of_routers = self.told.iter().flat_map(|interface| &interface.addresses);
        let own = given.map(|(address, _)| *address);
        let own = own.chain(of_routers.map(|(address, _)| IpAddr::from(*address)));
        loopback.chain(own).map(|address| SocketAddr::new(address, port)).collect()
    }

    /// Takes what the host asks for; [`Self::settle`] tells when it is so.
    pub fn ask(&mut self, number: u32, interfaces: Vec<GuestInterface>) {
        self.wanted = Some((number, interfaces));
    }

    /// Ready when a device that is waited for may have come, or a router may have given an address.
    pub fn waits_for(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let devices = self.wanted.iter().map(|_| self.changes.as_fd());
        devices.chain(self.listens().then(|| self.address_changes.as_fd()))
    }

    fn listens(&self) -> bool {
        self.present.iter().any(|interface| interface.ipv6_autoconf)
    }

    /// Something of [`Self::waits_for`] is ready.
    pub fn noticed(&mut self) {
        self.address_changes.drain();
        self.is_news = true;
    }

    /// What routers have given since the host was told of it last; `None` where that is nothing.
    pub fn news(&mut self) -> Option<Vec<OwnAddresses>> {
        if !std::mem::take(&mut self.is_news) {
            return None;
        }
        let (links, all) = (self.netlink.links().ok()?, self.netlink.addresses().ok()?);
        let own = |interface: &GuestInterface| {
            let link = links.iter().find(|link| link.name == interface.name)?;
            let of_routers = |address: &Address| match address.address {
                IpAddr::V6(v6) if !v6.is_unicast_link_local() => Some((v6, address.prefix_len)),
                _ => None,
            };
            let addresses = all.iter().filter(|address| address.link == link.index).filter_map(of_routers);
            let addresses = addresses.take(MOST_OWN).collect();
            Some(OwnAddresses { name: interface.name.clone(), addresses })
        };
        let now: Vec<_> =
            self.present.iter().filter(|interface| interface.ipv6_autoconf).filter_map(own).collect();
        if now == self.told {
            return None;
        }
        self.told.clone_from(&now);
        Some(now)
    }

    /// Does what was asked for, once all devices are there: gives the question's number, and what came of it.
    pub fn settle(&mut self) -> Option<(u32, Result<(), LaunchError>)> {
        self.wanted.as_ref()?;
        self.changes.drain();
        let (number, interfaces) = self.wanted.take()?;
        let found: Result<Vec<_>, _> = interfaces.iter().map(|interface| self.find(interface)).collect();
        match found {
            Ok(found) if found.iter().any(Option::is_none) => {
                self.wanted = Some((number, interfaces));
                None
            }
            Ok(_) => Some((number, self.change(interfaces))),
            Err(error) => Some((number, Err(error))),
        }
    }

    fn change(&mut self, wanted: Vec<GuestInterface>) -> Result<(), LaunchError> {
        let before = std::mem::replace(&mut self.present, wanted.clone());
        self.is_news = true;
        for old in &before {
            match wanted.iter().find(|new| (&new.mac, &new.name) == (&old.mac, &old.name)) {
                Some(new) => self.take_back(old, new)?,
                None => self.put_away(old)?,
            }
        }
        wanted.iter().try_for_each(|interface| self.set_up(interface, before.contains(interface)))
    }

    /// Takes from one that stays what it is not to have any more.
    fn take_back(&mut self, old: &GuestInterface, new: &GuestInterface) -> Result<(), LaunchError> {
        let at = || network_error(&old.name);
        // The last first: those before it may lead to its gateway.
        for route in old.routes.iter().rev().filter(|one| !new.routes.contains(one)) {
            let destination = (route.destination, route.prefix_len);
            let deleted = self.netlink.delete_route(destination, route.gateway, &old.name);
            deleted.or_else(ignore_missing).map_err(at())?;
        }
        for (address, prefix) in old.addresses.iter().filter(|one| !new.addresses.contains(one)) {
            let deleted = self.netlink.delete_address(&old.name, *address, *prefix);
            deleted.or_else(ignore_missing).map_err(at())?;
        }
        Ok(())
    }

    /// Of one that is to go: its device goes when the host takes it. Its name and its addresses are free from now on.
    fn put_away(&mut self, old: &GuestInterface) -> Result<(), LaunchError> {
        let at = || network_error(&old.name);
        let Some(link) = self.find(old)? else { return Ok(()) };
        self.netlink.set_down(&link.name).map_err(at())?;
        for (address, prefix) in &old.addresses {
            let deleted = self.netlink.delete_address(&link.name, *address, *prefix);
            // IPv6 went when it was set down.
            deleted.or_else(ignore_missing).map_err(at())?;
        }
        self.netlink.set_name(&link.name, &format!("gone{}", link.index)).map_err(at())
    }

    fn set_up(&mut self, interface: &GuestInterface, is_known: bool) -> Result<(), LaunchError> {
        let name = interface.name.as_str();
        let at = || network_error(name);
        let link = self.find(interface)?.ok_or_else(|| missing(interface))?;
        if link.name != name {
            self.netlink.set_down(&link.name).map_err(at())?;
            self.netlink.set_name(&link.name, name).map_err(at())?;
        }
        if link.mtu != interface.mtu {
            self.netlink.set_mtu(name, interface.mtu).map_err(at())?;
        }
        // A neighbour on a managed network could pose as a router.
        let listens = if interface.ipv6_autoconf { "1" } else { "0" };
        self.set(&format!("ipv6/conf/{name}/accept_ra"), listens)?;
        if interface.announces {
            self.set(&format!("ipv4/conf/{name}/arp_notify"), "1")?;
            self.set(&format!("ipv6/conf/{name}/ndisc_notify"), "1")?;
        }
        for (address, prefix) in &interface.addresses {
            let added = self.netlink.add_address(name, *address, *prefix);
            added.or_else(ignore_existing).map_err(at())?;
        }
        self.netlink.set_up(name).map_err(at())?;
        for route in &interface.routes {
            let added = self.netlink.add_route((route.destination, route.prefix_len), route.gateway, name);
            added.or_else(ignore_existing).map_err(at())?;
        }
        if interface.announces && !is_known {
            // The kernel announces where a link is set up and where it is given a MAC, not where it is given an address.
            let mac = link.mac.ok_or_else(|| missing(interface))?;
            self.netlink.set_mac(name, mac).map_err(at())?;
        }
        Ok(())
    }

    /// The newest device of that address: one that was put away may be there still.
    fn find(&mut self, interface: &GuestInterface) -> Result<Option<Link>, LaunchError> {
        let mac: MacAddress = interface.mac.parse().map_err(|_| missing(interface))?;
        let links = self.netlink.links().map_err(network_error(&interface.name))?;
        Ok(links.into_iter().filter(|link| link.mac == Some(mac)).max_by_key(|link| link.index))
    }

    /// A kernel without IPv6 has no settings of it.
    fn set(&self, name: &str, value: &str) -> Result<(), LaunchError> {
        let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        let opened = nix::fcntl::openat(&self.settings, name, flags, Mode::empty());
        let written =
            opened.map_err(io::Error::from).and_then(|fd| fs::File::from(fd).write_all(value.as_bytes()));
        match written {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            written => written.map_err(launch_error(Stage::Network, Path::new("/proc/sys/net").join(name))),
        }
    }
}

fn missing(interface: &GuestInterface) -> LaunchError {
    LaunchError { stage: Stage::Network, errno: nix::libc::ENODEV, path: (&interface.name).into() }
}

fn ignore_missing(error: NetlinkError) -> Result<(), NetlinkError> {
    if error.is_missing() { Ok(()) } else { Err(error) }
}

fn ignore_existing(error: NetlinkError) -> Result<(), NetlinkError> {
    if error.is_exists() { Ok(()) } else { Err(error) }
}

fn network_error(name: &str) -> impl FnOnce(NetlinkError) -> LaunchError {
    let path = PathBuf::from(name);
    move |error| {
        let errno = error.errno().map_or(0, |errno| errno as i32);
        LaunchError { stage: Stage::Network, errno, path }
    }
}
