//! The bridge, the firewall's table and published ports, from `berth-network`.

use std::collections::HashMap;
use std::error::Error;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use async_trait::async_trait;
use berth_domain::{InstanceId, KnownNetwork, NetworkKind, NetworkSpec, Protocol, network::overlap};
use berth_engine::ports::access::Restrictions;
use berth_engine::ports::network::{Dropped, Leases, Link, Network, NetworkError, Publication};
use berth_network::firewall::{self, Firewall, HostPort, State};
use berth_network::forwarding::Forwarding;
use berth_network::nft::Nft;
use berth_network::ports::{self, HeldPort, PortError};
use berth_network::subnet::{self, SubnetError};
use berth_network::{Prefix, bridge};
use berth_sys::netlink::{Netlink, NetlinkError};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

mod access;
mod keep;
mod leases;
mod names;
mod parent;

pub(super) use names::{PROGRAM, Served};

use super::published::{self, Given, Links, Published, Record, Settings};
use super::supervisor::Finder;
use super::{HostError, Place, SHARED_DIR};

/// The engine's lock, by which other agents see that this one lives.
const LOCK: &str = "agent.lock";

/// What this agent has on the host's network.
#[derive(Clone)]
pub(super) struct Networks {
    prefix: Prefix,
    inner: Arc<Inner>,
}

struct Inner {
    place: Place,
    /// Knows where the programs are.
    supervisor: Finder,
    served: Served,
    forwarding: Forwarding,
    /// Since there was nft.
    firewall: OnceLock<Firewall>,
    /// All changes take turns by this.
    now: Mutex<Now>,
}

struct Now {
    record: Record,
    /// Sockets that keep others from published ports.
    held: HashMap<HostPort, HeldPort>,
    /// Who answers for names.
    helpers: names::Helpers,
}

impl Networks {
    /// Takes up what an earlier agent on this directory has published.
    pub(super) async fn open(place: Place, supervisor: Finder, served: Served) -> Result<Self, HostError> {
        let run = place.run.clone();
        let record = tokio::task::spawn_blocking(move || Record::load(&run)).await??;
        let forwarding = Forwarding::new(Path::new(SHARED_DIR), &place.prefix, &place.data.join(LOCK));
        let mut held = HashMap::new();
        for port in record.ports.values().flatten().filter(|port| !port.host().is_relayed()) {
            match ports::hold(port.host()) {
                Ok(holder) => drop(held.insert(port.host(), holder)),
                Err(error) => tracing::warn!(%error, "a published port is not held any more"),
            }
        }
        let prefix = place.prefix.clone();
        let now = Mutex::new(Now { record, held, helpers: names::Helpers::default() });
        let inner = Arc::new(Inner { place, supervisor, served, forwarding, firewall: OnceLock::new(), now });
        keep::spawn(&inner);
        let taking_up = Arc::clone(&inner);
        tokio::task::spawn_blocking(move || {
            let mut now = taking_up.now.lock().unwrap_or_else(PoisonError::into_inner);
            taking_up.end_strays(&mut now);
            taking_up.tell_helpers(&mut now);
        })
        .await?;
        Ok(Self { prefix, inner })
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Inner>, &mut Now) -> Result<T, NetworkError> + Send + 'static,
    ) -> Result<T, NetworkError> {
        let inner = Arc::clone(&self.inner);
        let done = tokio::task::spawn_blocking(move || {
            let mut now = inner.now.lock().unwrap_or_else(PoisonError::into_inner);
            work(&inner, &mut now)
        });
        done.await.unwrap_or_else(|error| Err(host("finish what was begun", error)))
    }
}

impl Inner {
    /// Makes the table what the record says, and records it. The record is written first: what is in the table is
    /// always in a record.
    fn apply(&self, now: &mut Now, record: Record) -> Result<(), NetworkError> {
        record.save(&self.place.run).map_err(|error| host("record what is published", error))?;
        let applied = self.firewall().and_then(|firewall| {
            let (before, desired) = (now.record.desired(), record.desired());
            let done = if desired.networks.is_empty() {
                firewall.remove()
            } else if before.networks.is_empty() || before == desired {
                firewall.apply(&desired)
            } else {
                // Where somebody changed the tables, the difference does not fit.
                firewall.change(&before, &desired).or_else(|_| firewall.apply(&desired))
            };
            done.map_err(|error| host("set up the firewall", error))
        });
        match applied {
            Ok(()) => {
                now.record = record;
                Ok(())
            }
            Err(error) => {
                // The table is as before; so is the record then.
                let restored = now.record.save(&self.place.run);
                restored.map_err(|error| host("record what is published", error))?;
                Err(error)
            }
        }
    }

    /// Likewise, and leaves the table alone where it is that already: what is counted in it goes on.
    fn settle(&self, now: &mut Now, record: Record) -> Result<(), NetworkError> {
        if record.desired() != now.record.desired() || !self.is_as_recorded(now)? {
            return self.apply(now, record);
        }
        if record != now.record {
            record.save(&self.place.run).map_err(|error| host("record what is published", error))?;
            now.record = record;
        }
        Ok(())
    }

    /// Puts back what somebody took out of the tables; whether anything was amiss.
    fn mend(&self, now: &mut Now) -> Result<bool, NetworkError> {
        if now.record.networks.is_empty() || self.is_as_recorded(now)? {
            return Ok(false);
        }
        let applied = self.firewall()?.apply(&now.record.desired());
        applied.map_err(|error| host("set up the firewall", error))?;
        Ok(true)
    }

    fn is_as_recorded(&self, now: &Now) -> Result<bool, NetworkError> {
        let firewall = self.firewall()?;
        if firewall.is_untouched() {
            return Ok(true);
        }
        let state = firewall.observe(&now.record.desired());
        Ok(state.map_err(|error| host("look at the firewall", error))? == State::AsDesired)
    }

    fn firewall(&self) -> Result<&Firewall, NetworkError> {
        if let Some(firewall) = self.firewall.get() {
            return Ok(firewall);
        }
        let nft = Nft::find().map_err(|error| NetworkError::Host {
            operation: "filter packets".to_owned(),
            advice: "Install the package nftables".to_owned(),
            source: error.into(),
        })?;
        Ok(self.firewall.get_or_init(|| Firewall::new(nft, &self.place.prefix)))
    }

    /// The network is there, and an instance may have interfaces on it beside those that it had.
    fn join(
        self: &Arc<Self>,
        now: &mut Now,
        name: &str,
        network: &KnownNetwork,
        subnet: Ipv4Net,
        links: Option<(InstanceId, Links)>,
    ) -> Result<(), NetworkError> {
        self.begin_helper(now, name);
        let made = self.make(now, name, network, subnet, links);
        self.tell_helpers(now);
        made
    }

    /// The bridge, what the host forwards, and the tables.
    fn make(
        &self,
        now: &mut Now,
        name: &str,
        network: &KnownNetwork,
        subnet: Ipv4Net,
        links: Option<(InstanceId, Links)>,
    ) -> Result<(), NetworkError> {
        let mut netlink = open()?;
        let mtu = network.spec.mtu;
        let subnet6 = network.spec.ipv6_subnet;
        let gateway6 = subnet6.map(bridge::gateway6);
        let wanted = bridge::Bridge { mtu, gateway6, ..bridge::Bridge::new(name.to_owned(), subnet) };
        bridge::ensure(&mut netlink, &wanted).map_err(|error| host("make the bridge", error))?;
        self.forwarding.acquire(&mut netlink).map_err(|error| host("forward packets", error))?;
        if subnet6.is_some() {
            self.forwarding.acquire_ipv6().map_err(|error| host("forward packets of IPv6", error))?;
        }
        let mut record = now.record.clone();
        let settings = Settings { nat: network.spec.nat, isolated: network.spec.isolated };
        record.set_network(name, subnet, subnet6, settings);
        record.domains.insert(name.to_owned(), network.spec.domain());
        record.dhcp.remove(name);
        record.dhcp.extend(Given::of(&network.spec).map(|given| (name.to_owned(), given)));
        if let Some((instance, links)) = links {
            record.add_links(&instance.to_string(), links);
        }
        self.settle(now, record)
    }

    fn release(self: &Arc<Self>, now: &mut Now, name: &str) -> Result<(), NetworkError> {
        self.end_helper(now, name);
        let mut record = now.record.clone();
        record.remove_network(name);
        if record.networks.is_empty() {
            record.ports.clear();
            record.interfaces.clear();
            record.access.clear();
            record.held.clear();
            now.held.clear();
        }
        let last = record.networks.is_empty();
        self.apply(now, record)?;
        let mut netlink = open()?;
        bridge::remove(&mut netlink, name).map_err(|error| host("remove the bridge", error))?;
        if last {
            self.forwarding.release(&mut netlink).map_err(|error| host("give forwarding back", error))?;
        }
        Ok(())
    }

    /// Interfaces as they are recorded.
    fn links(&self, instance: InstanceId, links: &[Link]) -> Links {
        let recorded = |link: &Link| {
            let bridge = self.place.prefix.bridge(link.network.number);
            let recorded = published::Link {
                bridge,
                mac: link.mac,
                addresses: link.addresses.clone(),
                name: Some(link.name.to_string()),
            };
            (self.place.link(instance, link.slot), recorded)
        };
        links.iter().map(recorded).collect()
    }

    fn publish(self: &Arc<Self>, now: &mut Now, publication: &Publication) -> Result<(), NetworkError> {
        let ports = publication.ports.iter().filter_map(|port| {
            Some(Published {
                host_address: port.host_address,
                host_port: port.host_port,
                protocol: ours(port.protocol),
                address: Published::target(port.host_address, publication.ipv4, publication.ipv6)?,
                port: port.container_port,
            })
        });
        let ports = ports.collect::<Vec<_>>();
        let mut taken = Vec::new();
        for port in &ports {
            let refused = |error| unheld(port.host(), error);
            if port.host().is_relayed() {
                // Who relays it takes it; here it is seen whether it can.
                if !now.record.has_port(port.host()) {
                    ports::hold(port.host()).map(drop).map_err(refused)?;
                }
            } else if !now.held.contains_key(&port.host()) {
                taken.push(ports::hold(port.host()).map_err(refused)?);
            }
        }
        let mut record = now.record.clone();
        let links = self.links(publication.instance, &publication.links);
        record.set_instance(publication.instance.to_string(), links, ports);
        if record != now.record {
            self.apply(now, record)?;
            self.tell_helpers(now);
        }
        now.held.extend(taken.into_iter().map(|held| (held.port(), held)));
        let wanted = now.record.desired().ports;
        now.held.retain(|port, _| wanted.contains_key(port));
        Ok(())
    }
}

#[async_trait]
impl Network for Networks {
    async fn choose_subnet(&self, taken: &[Ipv4Net]) -> Result<Ipv4Net, NetworkError> {
        let taken = taken.to_vec();
        self.blocking(move |inner, _| {
            subnet::choose(&mut open()?, &inner.place.prefix, &taken).map_err(unchosen)
        })
        .await
    }

    async fn choose_subnet6(&self, taken: &[Ipv6Net]) -> Result<Option<Ipv6Net>, NetworkError> {
        let taken = taken.to_vec();
        self.blocking(move |inner, _| {
            let choose = || subnet::choose6(&mut open()?, &inner.place.prefix, &taken).map_err(unchosen);
            subnet::has_ipv6().then(choose).transpose()
        })
        .await
    }

    async fn conflict(
        &self,
        subnet: IpNet,
        own: Option<&KnownNetwork>,
    ) -> Result<Option<String>, NetworkError> {
        let own = own.map(|network| self.host_name(network));
        self.blocking(move |_, _| {
            conflict(subnet, own.as_deref()).map_err(|error| host("see which networks it uses", error))
        })
        .await
    }

    async fn check_parent(&self, spec: &NetworkSpec) -> Result<(), NetworkError> {
        let (prefix, spec) = (self.prefix.clone(), spec.clone());
        self.blocking(move |_, _| parent::check(&mut open()?, &prefix, &spec).map(drop)).await
    }

    async fn ensure(&self, network: &KnownNetwork) -> Result<(), NetworkError> {
        if network.spec.kind != NetworkKind::Bridge {
            let (prefix, network) = (self.prefix.clone(), network.clone());
            return self.blocking(move |_, _| parent::ensure(&mut open()?, &prefix, &network)).await;
        }
        // Every bridge has some once it is in the ledger.
        let subnet = network.spec.ipv4_subnet.ok_or(NetworkError::NoSubnet)?;
        let (name, network) = (self.host_name(network), network.clone());
        self.blocking(move |inner, now| inner.join(now, &name, &network, subnet, None)).await
    }

    async fn join(
        &self,
        network: &KnownNetwork,
        instance: InstanceId,
        links: &[Link],
    ) -> Result<(), NetworkError> {
        let subnet = network.spec.ipv4_subnet.filter(|_| network.spec.kind == NetworkKind::Bridge);
        let Some(subnet) = subnet else { return self.ensure(network).await };
        let (name, network) = (self.host_name(network), network.clone());
        let links = Some((instance, self.inner.links(instance, links)));
        self.blocking(move |inner, now| inner.join(now, &name, &network, subnet, links)).await
    }

    async fn release(&self, network: &KnownNetwork) -> Result<(), NetworkError> {
        if network.spec.kind != NetworkKind::Bridge {
            let link = self.prefix.vlan(network.number);
            return self.blocking(move |_, _| parent::release(&mut open()?, &link)).await;
        }
        let name = self.host_name(network);
        self.blocking(move |inner, now| inner.release(now, &name)).await
    }

    async fn publish(&self, publication: &Publication) -> Result<(), NetworkError> {
        let publication = publication.clone();
        self.blocking(move |inner, now| inner.publish(now, &publication)).await
    }

    async fn restrict(&self, restrictions: &Restrictions) -> Result<(), NetworkError> {
        let access = access::recorded(restrictions);
        let held = restrictions.held.clone();
        self.blocking(move |inner, now| {
            let mut record = now.record.clone();
            record.restrict(access);
            record.hold(held);
            if record != now.record {
                inner.settle(now, record)?;
                inner.tell_helpers(now);
            }
            Ok(())
        })
        .await
    }

    async fn leases(&self, network: &KnownNetwork) -> Result<Leases, NetworkError> {
        let path = self.inner.leases_directory(&self.host_name(network));
        self.blocking(move |_, _| leases::read(&path)).await
    }

    async fn forget(&self, network: &KnownNetwork) -> Result<(), NetworkError> {
        let path = self.inner.leases_directory(&self.host_name(network));
        self.blocking(move |_, _| leases::forget(&path)).await
    }

    async fn withdraw(&self, instance: InstanceId) -> Result<(), NetworkError> {
        let nothing = Publication { instance, ipv4: None, ipv6: None, ports: Vec::new(), links: Vec::new() };
        self.blocking(move |inner, now| inner.publish(now, &nothing)).await
    }

    async fn dropped(&self, instance: InstanceId, slot: u8) -> Result<Dropped, NetworkError> {
        let interface = self.inner.place.link(instance, slot);
        let dropped = self.blocking(move |inner, _| {
            inner.firewall()?.dropped(&interface).map_err(|error| host("tell what was dropped", error))
        });
        let firewall::Dropped { spoofed, ingress, egress } = dropped.await?;
        Ok(Dropped { spoofed, ingress, egress })
    }

    async fn check_port(&self, address: IpAddr, port: u16, protocol: Protocol) -> Result<(), NetworkError> {
        let protocol = ours(protocol);
        self.blocking(move |_, now| {
            let overlaps = |held: &HostPort| {
                let at = berth_domain::value::port::overlap(held.address, address);
                at && held.port == port && held.protocol == protocol
            };
            if now.record.ports.values().flatten().any(|port| overlaps(&port.host())) {
                return Ok(());
            }
            let port = HostPort { address, protocol, port };
            ports::check_free(port.address, port.port, protocol).map_err(|error| unheld(port, error))
        })
        .await
    }

    fn host_name(&self, network: &KnownNetwork) -> String {
        self.prefix.bridge(network.number)
    }
}

fn open() -> Result<Netlink, NetworkError> {
    Netlink::open().map_err(|error| host("talk to the kernel", error))
}

/// The host's first route or address that overlaps a subnet, but for those of the network's own bridge. The default route
/// says nothing of what it leads to.
fn conflict(subnet: IpNet, own: Option<&str>) -> Result<Option<String>, NetlinkError> {
    let mut netlink = Netlink::open()?;
    let own = match own {
        Some(name) => netlink.link(name)?.map(|link| link.index),
        None => None,
    };
    let foreign = |link: Option<u32>| link.is_none() || link != own;
    let routes = netlink.routes()?.into_iter().filter(|route| foreign(route.link));
    let routes = routes.map(|route| ("a route", route.destination, route.prefix_len));
    let addresses = netlink.addresses()?.into_iter().filter(|address| foreign(Some(address.link)));
    let addresses = addresses.map(|address| ("an address", address.address, address.prefix_len));
    let mut taken = routes.chain(addresses).filter(|(_, _, prefix_len)| *prefix_len > 0);
    let found = taken.find_map(|(what, address, prefix_len)| {
        let net = IpNet::new(address, prefix_len).ok()?.trunc();
        overlap(&net, &subnet).then(|| format!("{net}, of which the host has {what}"))
    });
    Ok(found)
}

fn unchosen(error: SubnetError) -> NetworkError {
    match error {
        SubnetError::Observe(_) => host("see which networks it uses", error),
        SubnetError::NoneFree => NetworkError::NoSubnet,
        SubnetError::NoneFree6 => NetworkError::NoSubnet6,
    }
}

fn ours(protocol: Protocol) -> firewall::Protocol {
    match protocol {
        Protocol::Tcp => firewall::Protocol::Tcp,
        Protocol::Udp => firewall::Protocol::Udp,
    }
}

fn host(operation: &str, error: impl Into<Box<dyn Error + Send + Sync>>) -> NetworkError {
    let advice = "berth check says what this host lacks".to_owned();
    NetworkError::Host { operation: operation.to_owned(), advice, source: error.into() }
}

fn unheld(port: HostPort, error: PortError) -> NetworkError {
    match error {
        PortError::Taken { .. } | PortError::NoneFree { .. } => NetworkError::PortTaken {
            address: port.address,
            port: port.port,
            protocol: match port.protocol {
                firewall::Protocol::Tcp => Protocol::Tcp,
                firewall::Protocol::Udp => Protocol::Udp,
            },
        },
        PortError::NoSuchAddress(address) => NetworkError::NotAnAddress { address },
        PortError::Refused { .. } => host("hold a port", error),
    }
}
