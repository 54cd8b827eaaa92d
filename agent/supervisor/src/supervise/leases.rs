//! The leases of an instance's interfaces: they last over restarts of the workload, and are given back at its end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use berth_guest_protocol::message::{GuestInterface, OwnAddresses};
use berth_runtime::control::Event;
use berth_runtime::launch::LaunchError;
use berth_runtime::lease::InterfaceStatus;
use berth_runtime::spec::InterfaceSpec;
use berth_sys::netlink::{Changes, Netlink};

use super::Supervisor;
use crate::dhcp::Client;
use crate::host::inside;
use crate::machine::{Machine, guest_interface};

/// Of an interface, that a guest is believed.
const MOST_OWN: usize = 16;

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

/// What there is of a machine's guest beside.
#[derive(Default)]
pub(super) struct OfGuest {
    /// Whether it has not been told of a lease that is another.
    is_behind: bool,
    /// What it says that routers have given to its interfaces.
    addresses: BTreeMap<String, Vec<String>>,
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
            self.of_guest.is_behind = true;
            self.addresses_changed();
        }
    }

    pub(super) fn leases_due(&mut self) {
        let namespace = &self.host.namespaces.network;
        let changed = self.leases.iter_mut().fold(false, |changed, client| client.tick(namespace) | changed);
        if changed {
            self.of_guest.is_behind = true;
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
                    _ if self.spec.vm.is_some() => self.told(interface, client),
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

impl Supervisor {
    /// A guest has what it was told, and what it says of its routers.
    fn told(&self, interface: &InterfaceSpec, client: Option<&Client>) -> Vec<String> {
        let v4 = interface.ipv4_address.map(|address| format!("{address}/{}", interface.ipv4_prefix));
        let v6 = interface.ipv6_address.map(|address| format!("{address}/{}", interface.ipv6_prefix));
        let lease =
            client.and_then(Client::lease).map(|lease| format!("{}/{}", lease.address, lease.prefix_len));
        let own = self.of_guest.addresses.get(&interface.name).filter(|_| interface.ipv6_autoconf);
        v4.into_iter().chain(lease).chain(v6).chain(own.into_iter().flatten().cloned()).collect()
    }

    /// Interfaces with what servers have given them, as a guest is told.
    pub(super) fn guest_interfaces(&self, interfaces: &[InterfaceSpec]) -> Vec<GuestInterface> {
        let told = |interface: &InterfaceSpec| {
            let mtu = self.host.taps.of(interface).and_then(|tap| tap.mtu);
            let client = self.leases.iter().find(|client| client.name == interface.name);
            let lease = client.filter(|_| interface.dhcp.is_some()).and_then(Client::given);
            guest_interface(interface, mtu, lease)
        };
        interfaces.iter().map(told).collect()
    }

    /// Tells a guest of leases that have changed, once it is up and nothing else is done to its interfaces.
    pub(super) fn tell_leases(&mut self) {
        let is_up = self.running_machine().is_some_and(Machine::is_up);
        if self.of_guest.is_behind && is_up && !self.is_hotplugging() {
            self.of_guest.is_behind = false;
            self.tell_interfaces(&self.spec.networks.clone());
            self.machine_sees_files();
        }
    }

    pub(super) fn lease_is_taken(&mut self, outcome: Result<(), LaunchError>) {
        let Err(error) = outcome else { return };
        let is_it = |client: &&mut Client| error.path.to_str() == Some(client.name.as_str());
        self.leases.iter_mut().filter(is_it).for_each(|client| client.not_taken(&error));
        self.addresses_changed();
    }

    /// What routers have given a guest, as it says.
    pub(super) fn guest_has_addresses(&mut self, interfaces: &[OwnAddresses]) {
        let own = |one: &OwnAddresses| {
            let sound = one.addresses.iter().filter(|(address, _)| !address.is_unicast_link_local());
            let texts = sound.take(MOST_OWN).map(|(address, prefix)| format!("{address}/{prefix}"));
            (one.name.clone(), texts.collect())
        };
        let known = |one: &&OwnAddresses| self.spec.networks.iter().any(|it| it.name == one.name);
        self.of_guest.addresses = interfaces.iter().filter(known).map(own).collect();
        if let Some(addresses) = &mut self.addresses {
            addresses.due.get_or_insert(addresses.told_at + TELL_AGAIN);
        }
    }

    pub(super) fn forget_guest_addresses(&mut self) {
        self.of_guest.addresses.clear();
    }
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
