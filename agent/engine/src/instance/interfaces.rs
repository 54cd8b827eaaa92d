//! The interfaces of an instance: which networks its spec means, and how it is attached to them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use berth_domain::interface::{self, InterfaceSpec};
use berth_domain::{InstanceSpec, KnownNetwork, NetworkId, NetworkKind};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::actor::Actor;
use crate::engine::Inner;
use crate::error::EngineError;
use crate::ledger::{Missing, Record, Refused, Version, WantedInterface};
use crate::network_error::NetworkFault;
use crate::ports::network::Link;
use crate::ports::runtime::{Attachment, InterfaceState};

/// What the interfaces of a spec ask for, with what others have leases of. A network that a version before meant already by the same words is the same,
/// whatever its name is now.
///
/// A choice takes turns with the deletion of networks, and its turn ends when its result is in the directory.
pub(crate) async fn wanted(
    inner: &Inner,
    spec: &InstanceSpec,
    before: Option<&Version>,
) -> Result<BTreeMap<String, WantedInterface>, EngineError> {
    let mut wanted = asked(inner, spec, before)?;
    for interface in wanted.values_mut() {
        let leases = inner.leases(&interface.network).await?.all;
        interface.leased = leases.into_iter().map(|lease| (lease.address, lease.mac)).collect();
    }
    Ok(wanted)
}

fn asked(
    inner: &Inner,
    spec: &InstanceSpec,
    before: Option<&Version>,
) -> Result<BTreeMap<String, WantedInterface>, EngineError> {
    let mut wanted = BTreeMap::new();
    for (name, asked) in spec.interfaces() {
        let network = meant(inner, &name, &asked, before)?;
        check_address(&name, &asked, &network)?;
        let (ipv4, ipv6, mac) = (asked.ipv4_address, asked.ipv6_address, asked.mac);
        let leased = BTreeMap::new();
        wanted.insert(name, WantedInterface { network, ipv4, ipv6, mac, leased });
    }
    if !spec.ports.is_empty() && !wanted.values().any(|it| it.network.spec.kind == NetworkKind::Bridge) {
        return Err(NetworkFault::NoWayForPorts.into());
    }
    let has_ipv6 = wanted.values().any(|it| it.network.spec.ipv6_subnet.is_some());
    let beyond = |address: IpAddr| address.is_ipv6() && !address.is_loopback() && !has_ipv6;
    if let Some((port, spec)) = spec.ports.iter().find(|(_, port)| beyond(port.host_address)) {
        let (port, address) = (port.clone(), spec.host_address);
        return Err(NetworkFault::NoIpv6ForPort { port, address }.into());
    }
    Ok(wanted)
}

/// Which network each interface means, as it is kept. Of a spec that says nothing, nothing is.
pub(crate) fn bound(
    spec: &InstanceSpec,
    wanted: &BTreeMap<String, WantedInterface>,
) -> BTreeMap<String, NetworkId> {
    let networks = wanted.iter().filter(|_| spec.networks.is_some());
    networks.map(|(name, wanted)| (name.clone(), wanted.network.id)).collect()
}

impl Inner {
    /// Why an interface could not be given what it asks for.
    pub(crate) fn refused(
        &self,
        refused: &Refused,
        wanted: &BTreeMap<String, WantedInterface>,
    ) -> EngineError {
        let Some(asked) = wanted.get(&refused.interface) else { return EngineError::Closing };
        match &refused.what {
            Missing::Address => {
                let what = format!("address of the network \"{}\"", asked.network.spec.name);
                EngineError::Exhausted {
                    what,
                    advice: "Delete an instance, or give the network a larger subnet",
                }
            }
            Missing::Taken { argument, holder } => {
                let mac = asked.mac.map(|mac| mac.to_string()).filter(|_| *argument == "mac");
                let ipv6 = asked.ipv6.map(|ipv6| ipv6.to_string()).filter(|_| *argument == "ipv6_address");
                let ipv4 = asked.ipv4.map(|ipv4| ipv4.to_string());
                let (interface, holder) = (refused.interface.clone(), holder.clone());
                let value = mac.or(ipv6).or(ipv4).unwrap_or_default();
                NetworkFault::Taken { interface, argument, value, holder }.into()
            }
            Missing::Leased { mac } => {
                let (interface, mac) = (refused.interface.clone(), mac.to_string());
                NetworkFault::Leased { interface, address: asked.ipv4.unwrap_or(Ipv4Addr::UNSPECIFIED), mac }
                    .into()
            }
        }
    }
}

fn meant(
    inner: &Inner,
    name: &str,
    asked: &InterfaceSpec,
    before: Option<&Version>,
) -> Result<KnownNetwork, EngineError> {
    let same_words = before.and_then(|version| {
        let old = version.spec.networks.as_ref()?.get(name)?;
        (old.network == asked.network).then(|| version.networks.get(name).copied())?
    });
    let by_id = same_words.or_else(|| asked.network.parse::<NetworkId>().ok());
    let found = match by_id {
        Some(id) => inner.networks.get(id),
        None => inner.networks.find(&asked.network),
    };
    let found = found.ok_or_else(|| NetworkFault::NoNetwork {
        interface: name.to_owned(),
        network: asked.network.clone(),
    })?;
    Ok(KnownNetwork::clone(&found))
}

/// An address that is asked for is one of the network's, and not the host's on it.
fn check_address(name: &str, asked: &InterfaceSpec, network: &KnownNetwork) -> Result<(), EngineError> {
    let spec = &network.spec;
    let own = |argument, address: IpAddr, subnet: IpNet, gateway| {
        let odd = address == subnet.network() || (address == subnet.broadcast() && address.is_ipv4());
        let hosts = Some(address) == gateway;
        if subnet.contains(&address) && !odd && !hosts {
            return Ok(());
        }
        let (interface, network) = (name.to_owned(), spec.name.to_string());
        Err(NetworkFault::NotOfNetwork { interface, argument, address, network, subnet, hosts })
    };
    let given = [
        (
            "ipv4_address",
            asked.ipv4_address.map(IpAddr::V4),
            spec.ipv4_subnet.map(IpNet::V4),
            spec.ipv4_gateway().map(IpAddr::V4),
        ),
        (
            "ipv6_address",
            asked.ipv6_address.map(IpAddr::V6),
            spec.ipv6_subnet.map(IpNet::V6),
            spec.ipv6_gateway().map(IpAddr::V6),
        ),
    ];
    for (argument, address, subnet, gateway) in given {
        let (interface, network) = (name.to_owned(), spec.name.to_string());
        let has_prefix = match argument {
            "ipv4_address" => asked.ipv4_prefix.is_some(),
            _ => asked.ipv6_prefix.is_some(),
        };
        let ours = spec.kind == NetworkKind::Bridge;
        match (address, subnet) {
            (None, _) => {}
            (Some(address), _) if has_prefix == ours => {
                return Err(NetworkFault::Prefix { interface, argument, address, network, ours }.into());
            }
            (Some(address), Some(subnet)) => own(argument, address, subnet, gateway)?,
            (Some(_), None) if ours => {
                return Err(NetworkFault::NoFamily { interface, argument, network }.into());
            }
            (Some(_), None) => {}
        }
    }
    Ok(())
}

/// The networks that an instance is on, now or before the change that is under way.
pub(crate) fn networks_of(inner: &Inner, record: &Record) -> BTreeSet<NetworkId> {
    let default = inner.networks.default_one().id;
    let versions = std::iter::once(&record.current).chain(&record.previous);
    versions.flat_map(|version| version.networks(default).into_values()).collect()
}

/// Its addresses with the lengths of their networks' prefixes, by interface: those that the ledger gives it, those that
/// were asked for, and those that others have given it.
pub(crate) fn addresses(
    inner: &Inner,
    record: &Record,
    now: &BTreeMap<String, InterfaceState>,
) -> BTreeMap<String, Vec<IpNet>> {
    let asked = record.current.spec.interfaces();
    let nets = record.interfaces.iter().map(|(name, held)| {
        let network = inner.networks.get(held.network);
        let spec = network.as_ref().map(|network| &network.spec);
        if spec.is_some_and(|spec| spec.kind != NetworkKind::Bridge) {
            let asked = asked.get(name);
            let v4 = asked.and_then(InterfaceSpec::fixed_ipv4).map(IpNet::V4);
            let v6 = asked.and_then(InterfaceSpec::fixed_ipv6).map(IpNet::V6);
            let mut nets: Vec<_> = v4.into_iter().chain(v6).collect();
            let given = now.get(name).into_iter().flat_map(|state| &state.addresses);
            nets.extend(given.filter(|net| Some(**net) != v4 && Some(**net) != v6));
            return (name.clone(), nets);
        }
        let len = spec.and_then(|spec| spec.ipv4_subnet).map_or(32, |subnet| subnet.prefix_len());
        let len6 = spec.and_then(|spec| spec.ipv6_subnet).map_or(128, |subnet| subnet.prefix_len());
        let nets = held
            .addresses()
            .filter_map(|address| IpNet::new(address, if address.is_ipv4() { len } else { len6 }).ok());
        (name.clone(), nets.collect())
    });
    nets.collect()
}

impl Actor {
    /// The networks that it is wanted on.
    pub(super) fn wanted_networks(&self) -> BTreeSet<NetworkId> {
        self.record.interfaces.values().map(|held| held.network).collect()
    }

    /// Its interfaces on networks of the agent's own, as the host filters what they send.
    pub(super) fn links(&self) -> Vec<Link> {
        let link = |held: &crate::ledger::Interface| {
            let network = self.inner.networks.get(held.network)?;
            (network.spec.kind == NetworkKind::Bridge).then(|| Link {
                network: KnownNetwork::clone(&network),
                slot: held.slot,
                mac: held.mac,
                addresses: held.addresses().collect(),
                name: self.record.current.spec.name.clone(),
            })
        };
        self.record.interfaces.values().filter_map(link).collect()
    }

    /// How it is attached to them.
    pub(super) fn attachments(&self) -> Vec<Attachment> {
        let asked = self.record.current.spec.interfaces();
        let default = interface::default_route(&asked);
        let attachment = |(name, held): (&String, &crate::ledger::Interface)| {
            let network = self.inner.networks.get(held.network)?;
            let asked = asked.get(name);
            let ipv4 = match (held.ipv4, network.spec.ipv4_subnet) {
                (Some(ipv4), Some(subnet)) => Ipv4Net::new(ipv4, subnet.prefix_len()).ok(),
                _ => asked.and_then(InterfaceSpec::fixed_ipv4),
            };
            let ipv6 = match (held.ipv6, network.spec.ipv6_subnet) {
                (Some(ipv6), Some(subnet)) => Ipv6Net::new(ipv6, subnet.prefix_len()).ok(),
                _ => asked.and_then(InterfaceSpec::fixed_ipv6),
            };
            let default_route = default == Some(name.as_str());
            let gateway = network.spec.ipv4_gateway().or_else(|| asked?.ipv4_gateway);
            let ipv6_gateway = network.spec.ipv6_gateway().or_else(|| asked?.ipv6_gateway);
            Some(Attachment {
                network: KnownNetwork::clone(&network),
                interface: name.clone(),
                slot: held.slot,
                ipv4,
                gateway: gateway.filter(|_| default_route),
                ipv6,
                ipv6_gateway: ipv6_gateway.filter(|_| default_route),
                default_route,
                dns: asked.map(|asked| asked.dns.clone()).unwrap_or_default(),
                mac: held.mac,
            })
        };
        self.record.interfaces.iter().filter_map(attachment).collect()
    }
}
