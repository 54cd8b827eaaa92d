//! What this agent has put on the host's network, kept in the run directory so that an agent that is started anew takes
//! nothing away from instances that run. It goes with a reboot, as what it tells of does.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use berth_domain::{AddressRange, MacAddress, NetworkSpec};
use berth_network::Ipv4Net;
use berth_network::firewall::{self, Access, Desired, HostPort, Network, Protocol, Target};
use berth_sys::fs::{FsError, remove_written, write_whole};
use ipnet::Ipv6Net;
use serde::{Deserialize, Serialize};

const FILE: &str = "network.json";

/// The record's content. Fields are only ever added.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Bridges by their names.
    #[serde(default)]
    pub(super) networks: BTreeMap<String, Ipv4Net>,
    /// Published ports by their instance's id.
    #[serde(default)]
    pub(super) ports: BTreeMap<String, Vec<Published>>,
    /// Of bridges that are not as a bridge is by default.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) settings: BTreeMap<String, Settings>,
    /// The IPv6 networks of bridges that have one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) networks6: BTreeMap<String, Ipv6Net>,
    /// What names on bridges end in. One that has none yet was made by an agent that knew no names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) domains: BTreeMap<String, String>,
    /// Interfaces by their instance's id, and then by the name of the host's end.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) interfaces: BTreeMap<String, Links>,
    /// What is let through to and from those that are restricted, by the id of the instance or the name of the bridge.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) access: BTreeMap<String, Access>,
    /// What is given on bridges to who is no instance.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) dhcp: BTreeMap<String, Given>,
    /// What instances have on these, whether they run or not.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) held: BTreeMap<String, BTreeMap<MacAddress, Ipv4Addr>>,
}

/// Addresses that are given on a bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Given {
    pub(super) range: AddressRange,
    pub(super) lease_seconds: u32,
    pub(super) mtu: Option<u32>,
}

impl Given {
    /// What a network asks for.
    pub(super) fn of(spec: &NetworkSpec) -> Option<Self> {
        let (range, lease_seconds) = (spec.dhcp_range()?, spec.dhcp?.lease_seconds());
        Some(Self { range, lease_seconds, mtu: spec.mtu })
    }
}

/// An instance's interfaces, by the names of the host's ends.
pub(super) type Links = BTreeMap<String, Link>;

/// An interface of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Link {
    /// The bridge that it is a port of.
    pub(super) bridge: String,
    /// All that it may send with.
    pub(super) mac: MacAddress,
    pub(super) addresses: Vec<IpAddr>,
    /// What its instance is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
}

/// How a bridge is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Settings {
    /// Whether what leaves it has the host's address.
    #[serde(default = "yes")]
    pub(super) nat: bool,
    /// Whether its instances reach nobody beyond it.
    #[serde(default)]
    pub(super) isolated: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { nat: true, isolated: false }
    }
}

fn yes() -> bool {
    true
}

/// A published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Published {
    pub(super) host_address: IpAddr,
    pub(super) host_port: u16,
    pub(super) protocol: Protocol,
    pub(super) address: IpAddr,
    pub(super) port: u16,
}

/// Why the record cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It cannot be read.
    #[error("The file {} cannot be read", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It holds something else.
    #[error("The file {} is damaged", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// Where.
        #[source]
        source: serde_json::Error,
    },
    /// It cannot be written.
    #[error("What is published cannot be recorded")]
    Write(#[source] FsError),
}

impl RecordError {
    /// What to do.
    #[must_use]
    pub fn advice(&self) -> String {
        match self {
            Self::Damaged { path, .. } => {
                format!("Remove {}: the agent publishes what its ledger asks for again", path.display())
            }
            Self::Read { .. } | Self::Write(_) => "Check the agent's run directory".to_owned(),
        }
    }
}

impl Published {
    /// What of an instance it leads to; `None` where the instance has no such address.
    pub(super) fn target(host: IpAddr, ipv4: Option<Ipv4Addr>, ipv6: Option<Ipv6Addr>) -> Option<IpAddr> {
        let (v4, v6) = (ipv4.map(IpAddr::V4), ipv6.map(IpAddr::V6));
        match host {
            IpAddr::V4(_) => v4,
            // It is relayed, so that the family is nobody's concern.
            IpAddr::V6(host) if host.is_loopback() => v4.or(v6),
            IpAddr::V6(_) => v6,
        }
    }

    pub(super) fn host(self) -> HostPort {
        HostPort { address: self.host_address, protocol: self.protocol, port: self.host_port }
    }
}

impl Record {
    /// A bridge is there, and is so.
    pub(super) fn set_network(
        &mut self,
        bridge: &str,
        subnet: Ipv4Net,
        subnet6: Option<Ipv6Net>,
        settings: Settings,
    ) {
        self.networks.insert(bridge.to_owned(), subnet);
        self.networks6.remove(bridge);
        self.networks6.extend(subnet6.map(|subnet| (bridge.to_owned(), subnet)));
        self.settings.remove(bridge);
        if settings != Settings::default() {
            self.settings.insert(bridge.to_owned(), settings);
        }
    }

    /// A bridge is no more.
    pub(super) fn remove_network(&mut self, bridge: &str) {
        self.networks.remove(bridge);
        self.networks6.remove(bridge);
        self.domains.remove(bridge);
        self.settings.remove(bridge);
        self.dhcp.remove(bridge);
        self.held.remove(bridge);
        for links in self.interfaces.values_mut() {
            links.retain(|_, link| link.bridge != bridge);
        }
        self.interfaces.retain(|_, links| !links.is_empty());
        self.restrict(self.access.clone());
    }

    /// This is let through, as far as it is about bridges and instances that are there.
    pub(super) fn restrict(&mut self, mut access: BTreeMap<String, Access>) {
        access.retain(|of, _| self.networks.contains_key(of) || self.interfaces.contains_key(of));
        self.access = access;
    }

    /// Instances have this on bridges that are there.
    pub(super) fn hold(&mut self, mut held: BTreeMap<String, BTreeMap<MacAddress, Ipv4Addr>>) {
        held.retain(|bridge, _| self.networks.contains_key(bridge));
        self.held = held;
    }

    /// An instance has these interfaces, beside those that it had. One that is about to have other addresses has both.
    pub(super) fn add_links(&mut self, instance: &str, links: Links) {
        if links.is_empty() {
            return;
        }
        let all = self.interfaces.entry(instance.to_owned()).or_default();
        for (name, mut link) in links {
            if let Some(old) = all.get(&name).filter(|old| (&old.bridge, old.mac) == (&link.bridge, link.mac))
            {
                let before = old.addresses.iter().filter(|address| !link.addresses.contains(address));
                link.addresses = before.copied().chain(link.addresses.iter().copied()).collect();
                link.addresses.sort_unstable();
            }
            all.insert(name, link);
        }
    }

    /// Whether it leads to an instance.
    pub(super) fn has_port(&self, port: HostPort) -> bool {
        self.ports.values().flatten().any(|published| published.host() == port)
    }

    /// An instance has these interfaces and ports, and no others.
    pub(super) fn set_instance(&mut self, instance: String, links: Links, ports: Vec<Published>) {
        self.interfaces.remove(&instance);
        self.ports.remove(&instance);
        if !links.is_empty() {
            self.interfaces.insert(instance.clone(), links);
        }
        if !ports.is_empty() {
            self.ports.insert(instance, ports);
        }
        self.restrict(self.access.clone());
    }

    pub(super) fn load(run: &Path) -> Result<Self, RecordError> {
        let path = run.join(FILE);
        match std::fs::read(&path) {
            // So a power loss may leave it, and with it went all that it told of.
            Ok(bytes) if bytes.iter().all(|byte| *byte == 0) => Ok(Self::default()),
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|source| RecordError::Damaged { path, source })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(RecordError::Read { path, source }),
        }
    }

    pub(super) fn save(&self, run: &Path) -> Result<(), RecordError> {
        let path = run.join(FILE);
        if *self == Self::default() {
            return remove_written(&path).map_err(RecordError::Write);
        }
        let bytes =
            serde_json::to_vec(self).map_err(|source| RecordError::Damaged { path: path.clone(), source })?;
        write_whole(&path, &bytes, 0o600).map_err(RecordError::Write)
    }

    fn interface(&self, (name, link): (&String, &Link), access: Access) -> Option<firewall::Interface> {
        self.networks.contains_key(&link.bridge).then(|| firewall::Interface {
            name: name.clone(),
            bridge: link.bridge.clone(),
            mac: berth_sys::netlink::MacAddress(link.mac.0),
            addresses: link.addresses.clone(),
            access,
        })
    }

    /// The whole of the firewall's table.
    pub(super) fn desired(&self) -> Desired {
        let networks = self.networks.iter();
        let networks = networks.map(|(bridge, subnet)| {
            let Settings { nat, isolated } = self.settings.get(bridge).copied().unwrap_or_default();
            let access = self.access.get(bridge).cloned().unwrap_or_default();
            let ipv6 = self.networks6.get(bridge).copied();
            let dhcp = self.dhcp.contains_key(bridge);
            Network { nat, isolated, dhcp, access, ipv6, ..Network::new(bridge.clone(), *subnet) }
        });
        let ports = self.ports.values().flatten();
        let interfaces = self.interfaces.iter().map(|(instance, links)| {
            let access = self.access.get(instance).cloned().unwrap_or_default();
            links.iter().filter_map(move |link| self.interface(link, access.clone()))
        });
        let target = |port: &Published| Target { address: port.address, port: port.port };
        Desired {
            networks: networks.collect(),
            interfaces: interfaces.flatten().collect(),
            ports: ports.map(|port| (port.host(), target(port))).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITTEN: &str = r#"{"networks":{"berthabcd0":"10.1.2.0/24"},"ports":{"5b0f":[{"host_address":"127.0.0.1","host_port":80,"protocol":"tcp","address":"10.1.2.3","port":8080}]}}"#;

    #[test]
    fn the_format_of_the_record_stays() {
        let record: Record = serde_json::from_str(WRITTEN).unwrap();
        assert_eq!(serde_json::to_string(&record).unwrap(), WRITTEN);
        let desired = record.desired();
        assert_eq!((desired.networks.len(), desired.ports.len()), (1, 1));
    }

    #[test]
    fn an_interface_that_moves_has_both_addresses_until_it_has_moved() {
        let mut record: Record = serde_json::from_str(WRITTEN).unwrap();
        let link = |address: &str| {
            let (bridge, mac) = ("berthabcd0".to_owned(), MacAddress([2, 0, 0, 0, 0, 1]));
            Links::from([(
                "vb0".to_owned(),
                Link { bridge, mac, addresses: vec![address.parse().unwrap()], name: None },
            )])
        };
        record.add_links("5b0f", link("10.1.2.3"));
        record.add_links("5b0f", link("10.1.2.4"));
        let ports = record.ports["5b0f"].clone();
        assert_eq!(record.desired().interfaces[0].addresses.len(), 2);
        record.set_instance("5b0f".to_owned(), link("10.1.2.4"), ports);
        assert_eq!(record.desired().interfaces[0].addresses, ["10.1.2.4".parse::<IpAddr>().unwrap()]);
        assert_eq!(serde_json::from_slice::<Record>(&serde_json::to_vec(&record).unwrap()).unwrap(), record);
        record.remove_network("berthabcd0");
        assert!(record.interfaces.is_empty());
    }

    #[test]
    fn what_is_restricted_is_recorded_for_as_long_as_it_is_there() {
        let mut record: Record = serde_json::from_str(WRITTEN).unwrap();
        let (bridge, mac) = ("berthabcd0".to_owned(), MacAddress([2, 0, 0, 0, 0, 1]));
        let link = Link { bridge, mac, addresses: vec!["10.1.2.3".parse().unwrap()], name: None };
        record.add_links("5b0f", Links::from([("vb0".to_owned(), link)]));
        let rule = firewall::AccessRule { ports: vec![80..=90], ..firewall::AccessRule::default() };
        let access = Access { ingress: Some(vec![rule]), egress: None };
        let of = |name: &str| (name.to_owned(), access.clone());
        record.restrict(BTreeMap::from([of("5b0f"), of("berthabcd0"), of("gone")]));
        assert_eq!(serde_json::from_slice::<Record>(&serde_json::to_vec(&record).unwrap()).unwrap(), record);
        let desired = record.desired();
        assert_eq!((&desired.interfaces[0].access, &desired.networks[0].access), (&access, &access));
        record.set_instance("5b0f".to_owned(), Links::new(), Vec::new());
        assert_eq!(record.access.len(), 1);
        record.remove_network("berthabcd0");
        assert!(record.access.is_empty());
    }

    #[test]
    fn what_is_given_is_recorded_with_what_is_not_to_be() {
        let mut record: Record = serde_json::from_str(WRITTEN).unwrap();
        let range = "10.1.2.128-10.1.2.254".parse().unwrap();
        record.dhcp.insert("berthabcd0".to_owned(), Given { range, lease_seconds: 60, mtu: None });
        let held = BTreeMap::from([(MacAddress([2, 0, 0, 0, 0, 1]), "10.1.2.3".parse().unwrap())]);
        record.held.insert("berthabcd0".to_owned(), held);
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
        let more = r#""dhcp":{"berthabcd0":{"range":"10.1.2.128-10.1.2.254","lease_seconds":60,"mtu":null}},"held":{"berthabcd0":{"02:00:00:00:00:01":"10.1.2.3"}}}"#;
        assert!(text.ends_with(more), "{text}");
        assert!(record.desired().networks[0].dhcp);
        record.remove_network("berthabcd0");
        assert!(record.dhcp.is_empty() && record.held.is_empty());
    }

    #[test]
    fn an_empty_record_leaves_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let record: Record = serde_json::from_str(WRITTEN).unwrap();
        record.save(dir.path()).unwrap();
        assert_eq!(Record::load(dir.path()).unwrap(), record);
        Record::default().save(dir.path()).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        std::fs::write(dir.path().join(FILE), [0; 99]).unwrap();
        assert_eq!(Record::load(dir.path()).unwrap(), Record::default());
        std::fs::write(dir.path().join(FILE), "{").unwrap();
        assert!(Record::load(dir.path()).unwrap_err().advice().contains(FILE));
    }
}
