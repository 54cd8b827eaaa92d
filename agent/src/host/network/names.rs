//! The helpers of the bridges, which answer for names and give addresses: each is told what the record says.
//!
//! Where one cannot be, as another listens at port 53 of every address, instances have the host's resolvers, as they have
//! without a bridge; the next that is started there tries again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::error::Error;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Child;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use berth_network::bridge;
use berth_network::firewall::Protocol;
use berth_network::helper::{
    Config, Dhcp, Helper, HelperError, Leases, LeasesError, NAMES_PORT, Socket, Zone,
};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

use super::{Inner, Now};
use crate::host::published::{Published, Record};

/// Who answers, one a bridge.
pub(in crate::host) const PROGRAM: &str = "berth-bridge";
/// One that ends sooner is not started again at once.
const LIVES: Duration = Duration::from_secs(2);

/// Who answers for names on a bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::host) struct Server {
    /// What the names there end in.
    pub domain: String,
    /// Where it is asked.
    pub addresses: Vec<IpAddr>,
}

/// The bridges whose names are answered for now.
#[derive(Debug, Clone, Default)]
pub(in crate::host) struct Served(Arc<Mutex<BTreeMap<String, Server>>>);

impl Served {
    /// Who answers on this bridge, if anybody does.
    pub(in crate::host) fn on(&self, bridge: &str) -> Option<Server> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(bridge).cloned()
    }

    fn set(&self, bridge: &str, server: Option<Server>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(bridge);
        all.extend(server.map(|server| (bridge.to_owned(), server)));
    }
}

/// The helpers that this agent knows.
#[derive(Default)]
pub(super) struct Helpers {
    all: HashMap<String, Known>,
    started: u64,
}

struct Known {
    helper: Helper,
    /// What it was told last, and could be made to do.
    told: Option<Config>,
    number: u64,
}

#[derive(Debug, thiserror::Error)]
enum NamesError {
    #[error("there is no program {PROGRAM} beside berth-supervisor")]
    NoProgram,
    #[error(transparent)]
    Helper(#[from] HelperError),
    #[error("it cannot be watched")]
    Watch(#[source] std::io::Error),
}

impl Inner {
    fn helper_socket(&self, bridge: &str) -> PathBuf {
        self.place.run.join("networks").join(format!("{bridge}.sock"))
    }

    /// Ends the helpers of bridges that the record does not have, also those of an agent that was killed.
    pub(super) fn end_strays(&self, now: &mut Now) {
        let Ok(entries) = fs::read_dir(self.place.run.join("networks")) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(bridge) = name.to_str().and_then(|name| name.strip_suffix(".sock")) else { continue };
            if !now.record.networks.contains_key(bridge) {
                self.end_helper(now, bridge);
            }
        }
    }

    /// Every bridge's helper does what the record says.
    pub(super) fn tell_helpers(self: &Arc<Self>, now: &mut Now) {
        let gone: Vec<_> = now
            .helpers
            .all
            .keys()
            .filter(|bridge| !now.record.domains.contains_key(*bridge))
            .cloned()
            .collect();
        for bridge in gone {
            self.end_helper(now, &bridge);
        }
        let told = |bridge: &String| now.helpers.all.get(bridge).and_then(|known| known.told.as_ref());
        let configs = now.record.domains.keys();
        let configs = configs.filter_map(|bridge| Some((bridge.clone(), config(&now.record, bridge)?)));
        let mut configs: Vec<_> = configs.collect();
        // Who lets go of a socket does so before another is to have it.
        configs.sort_by_key(|(bridge, config)| {
            told(bridge).is_none_or(|told| told.sockets.is_subset(&config.sockets))
        });
        for (bridge, config) in configs {
            if let Err(error) = self.tell_helper(now, &bridge, &config) {
                let error: &dyn Error = &error;
                tracing::warn!(bridge, error, "names of instances are not answered for");
                now.helpers.all.remove(&bridge);
                self.served.set(&bridge, None);
            }
        }
    }

    /// Lets the helper start while the bridge is made. It is told later what it is to do, or to end where there is to be no
    /// bridge; what is amiss with it is seen then.
    pub(super) fn begin_helper(self: &Arc<Self>, now: &mut Now, bridge: &str) {
        let _told_then = self.find_helper(now, bridge);
    }

    fn tell_helper(self: &Arc<Self>, now: &mut Now, bridge: &str, config: &Config) -> Result<(), NamesError> {
        self.find_helper(now, bridge)?;
        let Some(known) = now.helpers.all.get_mut(bridge) else { return Err(NamesError::NoProgram) };
        if known.told.as_ref() == Some(config) {
            return Ok(());
        }
        let leases = self.leases_directory(bridge);
        let config = known.configure(bridge, config.clone(), || Leases::directory(&leases))?;
        let domain = config.zones.first().map(|zone| zone.domain.clone()).unwrap_or_default();
        let names = config.sockets.iter().filter(|socket| socket.is_of_names());
        let addresses: BTreeSet<_> = names.map(|socket| socket.address.ip()).collect();
        known.told = Some(config);
        self.served.set(bridge, Some(Server { domain, addresses: addresses.into_iter().collect() }));
        Ok(())
    }

    /// The helper that is known or lives, or a new one.
    fn find_helper(self: &Arc<Self>, now: &mut Now, bridge: &str) -> Result<(), NamesError> {
        if now.helpers.all.contains_key(bridge) {
            return Ok(());
        }
        let path = self.helper_socket(bridge);
        let adopted = match Helper::adopt(&path)? {
            Some(old) if !old.is_current() => {
                old.quit()?;
                None
            }
            adopted => adopted,
        };
        let (helper, process) = match adopted {
            Some(helper) => (helper, None),
            None => {
                let program = self.supervisor.find_beside(PROGRAM).ok_or(NamesError::NoProgram)?;
                let started = Helper::start(&program, &path)?;
                (started.helper, Some(started.process))
            }
        };
        now.helpers.started += 1;
        let number = now.helpers.started;
        let lifeline = helper.lifeline()?;
        lifeline.set_nonblocking(true).map_err(NamesError::Watch)?;
        let watch = Watch { inner: Arc::downgrade(self), bridge: bridge.to_owned(), number, process };
        tokio::spawn(watch.run(lifeline));
        now.helpers.all.insert(bridge.to_owned(), Known { helper, told: None, number });
        Ok(())
    }

    /// Nobody answers for names on this bridge any more.
    pub(super) fn end_helper(&self, now: &mut Now, bridge: &str) {
        self.served.set(bridge, None);
        let helper = match now.helpers.all.remove(bridge) {
            Some(known) => Ok(Some(known.helper)),
            None => Helper::adopt(&self.helper_socket(bridge)),
        };
        let ended = helper.and_then(|helper| helper.map_or(Ok(()), Helper::quit));
        if let Err(error) = ended {
            let error: &dyn Error = &error;
            tracing::warn!(bridge, error, "who answered for names did not end as it should");
        }
    }
}

impl Known {
    /// Has it do all of this that can be; gives what it does. Where addresses cannot be given, all else goes on, and the next
    /// time it is tried again.
    fn configure(
        &mut self,
        bridge: &str,
        mut config: Config,
        leases: impl FnOnce() -> Result<OwnedFd, LeasesError>,
    ) -> Result<Config, HelperError> {
        let none_given = |config: &mut Config, error: &HelperError| {
            let error: &dyn Error = error;
            tracing::warn!(bridge, error, "nobody is given an address by DHCP");
            config.dhcp = None;
            config.sockets.retain(|socket| !socket.is_of_dhcp());
        };
        let begins = config.dhcp.is_some() && self.told.as_ref().is_none_or(|told| told.dhcp.is_none());
        if begins && let Err(error) = self.helper.keep_leases(leases) {
            none_given(&mut config, &error);
        }
        let done = match self.helper.configure(&config) {
            Err(HelperError::Bind { socket, source }) if socket.is_of_dhcp() => {
                none_given(&mut config, &HelperError::Bind { socket, source });
                self.helper.configure(&config)
            }
            done => done,
        };
        if matches!(&done, Err(HelperError::Bind { socket, .. }) if socket.is_of_names()) {
            // Ports and addresses have nothing to do with who has that of names.
            let mut others = config.clone();
            others.sockets.retain(|socket| !socket.is_of_names());
            self.helper.configure(&others)?;
        }
        done.map(|()| config)
    }
}

/// Waits for a helper's end.
struct Watch {
    inner: Weak<Inner>,
    bridge: String,
    number: u64,
    /// Where it was started by this agent.
    process: Option<Child>,
}

impl Watch {
    async fn run(mut self, lifeline: std::os::unix::net::UnixStream) {
        let since = Instant::now();
        let lifeline = UnixStream::from_std(lifeline);
        match lifeline {
            // It never says anything here: whatever comes is the end.
            Ok(mut lifeline) => drop(lifeline.read_u8().await),
            Err(error) => {
                tracing::warn!(bridge = self.bridge, %error, "nobody sees when who answers for names ends");
                return;
            }
        }
        if since.elapsed() < LIVES {
            #[allow(clippy::disallowed_methods, reason = "a backoff")]
            tokio::time::sleep(LIVES.saturating_sub(since.elapsed())).await;
        }
        let done = tokio::task::spawn_blocking(move || {
            if let Some(mut process) = self.process.take() {
                // It has ended; what it ended with says nothing.
                let _ = process.wait();
            }
            let Some(inner) = self.inner.upgrade() else { return };
            let mut now = inner.now.lock().unwrap_or_else(PoisonError::into_inner);
            if now.helpers.all.get(&self.bridge).is_some_and(|known| known.number == self.number) {
                tracing::warn!(bridge = self.bridge, "who answered for names has ended and is started again");
                now.helpers.all.remove(&self.bridge);
                inner.tell_helpers(&mut now);
            }
        });
        if let Err(error) = done.await {
            tracing::warn!(%error, "who answers for names was not started again");
        }
    }
}

/// What the helper of a bridge is to do.
fn config(record: &Record, bridge: &str) -> Option<Config> {
    let subnet = record.networks.get(bridge)?;
    let gateways = std::iter::once(IpAddr::V4(bridge::gateway(*subnet).addr()))
        .chain(record.networks6.get(bridge).map(|subnet| IpAddr::V6(bridge::gateway6(*subnet).addr())));
    let mut sockets = BTreeSet::new();
    for address in gateways {
        for protocol in [Protocol::Udp, Protocol::Tcp] {
            // What a neighbour of the host sends to the bridge's address is no question of an instance's.
            for device in [bridge, "lo"] {
                let (address, device) = (SocketAddr::new(address, NAMES_PORT), Some(device.to_owned()));
                sockets.insert(Socket { address, protocol, device });
            }
        }
    }
    let relays = relays(record, bridge);
    sockets.extend(relays.iter().map(|(socket, _)| socket.clone()));
    let mut zones = vec![zone(record, bridge)?];
    let mut places = BTreeMap::new();
    let mut also: BTreeMap<IpAddr, Vec<usize>> = BTreeMap::new();
    for links in record.interfaces.values() {
        let others: BTreeSet<_> =
            links.values().map(|link| &link.bridge).filter(|it| *it != bridge).collect();
        for other in others {
            let here =
                || links.values().filter(|link| link.bridge == bridge).flat_map(|link| &link.addresses);
            if here().next().is_none() {
                continue;
            }
            let place = match places.get(other) {
                Some(place) => *place,
                None => {
                    let Some(zone) = zone(record, other) else { continue };
                    zones.push(zone);
                    places.insert(other, zones.len() - 1);
                    zones.len() - 1
                }
            };
            here().for_each(|address| also.entry(*address).or_default().push(place));
        }
    }
    let dhcp = dhcp(record, bridge);
    sockets.extend(dhcp.iter().map(|_| Socket::of_dhcp(bridge)));
    let forward = !record.settings.get(bridge).copied().unwrap_or_default().isolated;
    Some(Config { zones, also, forward, sockets, relays, dhcp })
}

/// What is given on the bridge, and what is not, as instances have it: by the ledger, and now.
fn dhcp(record: &Record, bridge: &str) -> Option<Dhcp> {
    let (given, subnet) = (record.dhcp.get(bridge)?, *record.networks.get(bridge)?);
    let mut instances: BTreeMap<String, BTreeSet<Ipv4Addr>> = BTreeMap::new();
    for (mac, address) in record.held.get(bridge).into_iter().flatten() {
        instances.entry(mac.to_string()).or_default().insert(*address);
    }
    for link in record.interfaces.values().flat_map(BTreeMap::values).filter(|link| link.bridge == bridge) {
        let v4 = link.addresses.iter().filter_map(|address| match address {
            IpAddr::V4(v4) => Some(*v4),
            IpAddr::V6(_) => None,
        });
        instances.entry(link.mac.to_string()).or_default().extend(v4);
    }
    Some(Dhcp {
        subnet,
        gateway: bridge::gateway(subnet).addr(),
        first: given.range.first,
        last: given.range.last,
        lease_seconds: given.lease_seconds,
        mtu: given.mtu,
        instances,
    })
}

/// The ports that lead to instances on the bridge by this process.
fn relays(record: &Record, bridge: &str) -> Vec<(Socket, SocketAddr)> {
    let mut relays = Vec::new();
    for (instance, ports) in &record.ports {
        let links = record.interfaces.get(instance).into_iter().flat_map(BTreeMap::values);
        let here: Vec<_> =
            links.filter(|link| link.bridge == bridge).flat_map(|link| &link.addresses).collect();
        let relayed = |port: &&Published| port.host().is_relayed() && here.contains(&&port.address);
        relays.extend(ports.iter().filter(relayed).map(|port| {
            let address = SocketAddr::new(port.host_address, port.host_port);
            let socket = Socket { address, protocol: port.protocol, device: None };
            (socket, SocketAddr::new(port.address, port.port))
        }));
    }
    relays
}

fn zone(record: &Record, bridge: &str) -> Option<Zone> {
    let mut subnets = vec![(*record.networks.get(bridge)?).into()];
    subnets.extend(record.networks6.get(bridge).map(|subnet| ipnet::IpNet::V6(*subnet)));
    let mut names: BTreeMap<String, BTreeSet<IpAddr>> = BTreeMap::new();
    for link in record.interfaces.values().flat_map(BTreeMap::values).filter(|link| link.bridge == bridge) {
        if let Some(name) = &link.name {
            names.entry(name.clone()).or_default().extend(&link.addresses);
        }
    }
    Some(Zone { domain: record.domains.get(bridge)?.clone(), subnets, names })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::published::Given;

    #[test]
    fn who_is_on_two_bridges_may_ask_about_both_on_either() {
        let link = |bridge: &str, address: &str| {
            format!(
                r#"{{"bridge":"{bridge}","mac":"02:00:00:00:00:01","addresses":["{address}"],"name":"web"}}"#
            )
        };
        let text = format!(
            r#"{{"networks":{{"b0":"10.1.0.0/24","b1":"10.2.0.0/24","b2":"10.3.0.0/24"}},
                "domains":{{"b0":"default.berth","b1":"back.berth"}},
                "settings":{{"b1":{{"isolated":true}}}},
                "interfaces":{{"i":{{"v0":{},"v1":{}}},"k":{{"v2":{}}}}}}}"#,
            link("b0", "10.1.0.2"),
            link("b1", "10.2.0.2"),
            link("b0", "10.1.0.3").replace("web", "db"),
        );
        let record: Record = serde_json::from_str(&text).unwrap();
        let first = config(&record, "b0").unwrap();
        assert_eq!(first.also, BTreeMap::from([("10.1.0.2".parse().unwrap(), vec![1])]));
        assert_eq!(first.zones[0].names.keys().collect::<Vec<_>>(), ["db", "web"]);
        assert_eq!(first.zones[1].domain, "back.berth");
        assert!(first.forward);
        let asked: BTreeSet<_> = first.sockets.iter().map(|socket| socket.address.to_string()).collect();
        assert_eq!(asked, BTreeSet::from(["10.1.0.1:53".to_owned()]));
        assert!(!config(&record, "b1").unwrap().forward);
        assert_eq!(config(&record, "b2"), None, "an agent that knew no names has left it");
        // What instances have is not given, whether they run or not.
        assert_eq!(first.dhcp, None);
        let mut record = record;
        let range = "10.1.0.2-10.1.0.99".parse().unwrap();
        record.dhcp.insert("b0".to_owned(), Given { range, lease_seconds: 60, mtu: None });
        let stopped = BTreeMap::from([("02:00:00:00:00:02".parse().unwrap(), "10.1.0.9".parse().unwrap())]);
        record.held.insert("b0".to_owned(), stopped);
        let first = config(&record, "b0").unwrap();
        assert!(first.sockets.contains(&Socket::of_dhcp("b0")));
        let dhcp = first.dhcp.unwrap();
        assert_eq!(dhcp.gateway.to_string(), "10.1.0.1");
        let held: Vec<_> = dhcp.instances.values().flatten().map(ToString::to_string).collect();
        assert_eq!(held, ["10.1.0.2", "10.1.0.3", "10.1.0.9"]);
    }
}
