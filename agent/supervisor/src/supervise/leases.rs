//! The leases of an instance's interfaces: they last over restarts of the workload, and are given back at its end.

use std::time::{Duration, Instant};

use berth_runtime::control::Event;
use berth_runtime::lease::InterfaceStatus;
use berth_runtime::spec::InterfaceSpec;
use berth_sys::netlink::{Changes, Netlink};

use super::Supervisor;
use crate::dhcp::Client;
use crate::host::inside;

/// Addresses that come by themselves are told of at most this often.
const TELL_AGAIN: Duration = Duration::from_secs(1);

/// What routers and the instance itself do to its addresses.
pub(super) struct Addresses {
    pub(super) changes: Changes,
    /// When to look what has become of them.
    pub(super) due: Option<Instant>,
    told: Vec<InterfaceStatus>,
    told_at: Instant,
}

impl Supervisor {
    /// Begins to ask for the leases that are wanted and not asked for.
    pub(super) fn take_leases(&mut self) {
        for interface in &self.spec.networks {
            if !self.leases.iter().any(|client| client.name == interface.name) {
                let client = Client::open(&self.spec, interface, &self.host.namespaces.network);
                self.leases.extend(client);
            }
        }
        let listens = self.spec.networks.iter().any(|interface| interface.ipv6_autoconf);
        if listens && self.addresses.is_none() {
            let changes =
                inside(&self.host.namespaces.network, Changes::of_addresses).ok().and_then(Result::ok);
            let now = Instant::now();
            // Without it, what comes is seen when somebody asks.
            self.addresses =
                changes.map(|changes| Addresses { changes, due: Some(now), told: Vec::new(), told_at: now });
        }
    }

    pub(super) fn address_changed(&mut self) {
        if let Some(addresses) = &mut self.addresses {
            addresses.changes.drain();
            addresses.due.get_or_insert(addresses.told_at + TELL_AGAIN);
        }
    }

    fn addresses_due(&mut self) {
        let due = self.addresses.as_ref().and_then(|addresses| addresses.due);
        if due.is_none_or(|due| due > Instant::now()) {
            return;
        }
        let now = self.interfaces();
        if self.addresses.as_ref().is_some_and(|addresses| addresses.told != now) {
            self.addresses_changed();
        } else if let Some(addresses) = &mut self.addresses {
            addresses.due = None;
        }
    }

    pub(super) fn lease_answered(&mut self, index: usize) {
        let namespace = &self.host.namespaces.network;
        if self.leases.get_mut(index).is_some_and(|client| client.receive(namespace)) {
            self.addresses_changed();
        }
    }

    pub(super) fn leases_due(&mut self) {
        let namespace = &self.host.namespaces.network;
        let changed = self.leases.iter_mut().fold(false, |changed, client| client.tick(namespace) | changed);
        if changed {
            self.addresses_changed();
        }
        self.addresses_due();
    }

    /// Gives back the leases of interfaces that go, or are to be others.
    pub(super) fn give_leases_back(&mut self, goes: impl Fn(&str) -> bool) {
        let namespace = &self.host.namespaces.network;
        for client in self.leases.iter_mut().filter(|client| goes(&client.name)) {
            client.release(namespace);
        }
        self.leases.retain(|client| !goes(&client.name));
    }

    /// Leases of the interfaces that stay, and of those that came, after a change to others.
    pub(super) fn interfaces_changed(&mut self, networks: Vec<InterfaceSpec>) {
        if networks == self.spec.networks {
            return;
        }
        self.spec.networks = networks;
        for interface in &self.spec.networks {
            let client = self.leases.iter_mut().find(|client| client.name == interface.name);
            if let (Some(client), Some(dhcp)) = (client, &interface.dhcp) {
                client.take_names(dhcp.dns);
            }
        }
        self.take_leases();
        self.addresses_changed();
    }

    fn addresses_changed(&mut self) {
        let interfaces = self.interfaces();
        if let Some(addresses) = &mut self.addresses {
            addresses.told.clone_from(&interfaces);
            (addresses.told_at, addresses.due) = (Instant::now(), None);
        }
        self.announce(&Event::Addresses { interfaces });
    }

    /// The interfaces as they are now.
    pub(super) fn interfaces(&self) -> Vec<InterfaceStatus> {
        let namespace = &self.host.namespaces.network;
        let netlink = inside(namespace, Netlink::open).ok().and_then(Result::ok);
        let mut netlink = netlink;
        let mut all = Vec::new();
        for interface in &self.spec.networks {
            let client = self.leases.iter().find(|client| client.name == interface.name);
            let asked = interface.dhcp.is_some() && client.is_none();
            all.push(InterfaceStatus {
                name: interface.name.clone(),
                mac: interface.mac.clone(),
                addresses: match &mut netlink {
                    // The guest has what it was told.
                    _ if self.spec.vm.is_some() => told(interface),
                    Some(netlink) => addresses(netlink, &interface.name),
                    None => Vec::new(),
                },
                lease: client.and_then(Client::lease),
                trouble: match client {
                    Some(client) => client.trouble(),
                    None => asked.then(|| "the interface cannot be used for DHCP".to_owned()),
                },
            });
        }
        all
    }
}

fn told(interface: &InterfaceSpec) -> Vec<String> {
    let v4 = interface.ipv4_address.map(|address| format!("{address}/{}", interface.ipv4_prefix));
    let v6 = interface.ipv6_address.map(|address| format!("{address}/{}", interface.ipv6_prefix));
    v4.into_iter().chain(v6).collect()
}

/// What the kernel has, without the link-local ones; nothing where it cannot be asked.
fn addresses(netlink: &mut Netlink, name: &str) -> Vec<String> {
    let Ok(Some(link)) = netlink.link(name) else { return Vec::new() };
    let mut found: Vec<_> = netlink.addresses().unwrap_or_default();
    found.retain(|one| one.link == link.index);
    let local = |address: std::net::IpAddr| match address {
        std::net::IpAddr::V4(v4) => v4.is_link_local(),
        std::net::IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    let found = found.into_iter().filter(|one| !local(one.address));
    found.map(|one| format!("{}/{}", one.address, one.prefix_len)).collect()
}
