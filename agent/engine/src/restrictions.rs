//! Access rules as the host takes them: whom a rule names by a network or by labels is known by addresses, which change as
//! instances come and go.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use berth_domain::access::{AccessRule, Peer};
use berth_domain::{MacAddress, NetworkKind};
use ipnet::IpNet;

use crate::engine::Inner;
use crate::error::EngineError;
use crate::ledger::{Interface, Phase, Record, WantedInterface};
use crate::network_error::NetworkFault;
use crate::ports::access::{Access, Passage, Restrictions};

/// The lists of a spec, with their arguments.
type Lists<'a> = [(&'static str, Option<&'a [AccessRule]>); 2];

pub(crate) fn lists<'a>(
    ingress: &'a Option<Vec<AccessRule>>,
    egress: &'a Option<Vec<AccessRule>>,
) -> Lists<'a> {
    [("ingress", ingress.as_deref()), ("egress", egress.as_deref())]
}

impl Inner {
    /// A rule that names a network names one that is there.
    pub(crate) fn check_peers(&self, lists: Lists<'_>) -> Result<(), EngineError> {
        for (argument, rules) in lists {
            for (rule, found) in rules.into_iter().flatten().enumerate() {
                if let Peer::Network(network) = &found.peer
                    && self.networks.meant(network).is_none()
                {
                    let network = network.clone();
                    return Err(NetworkFault::NoPeer { argument, rule, network }.into());
                }
            }
        }
        Ok(())
    }

    /// Has the host let through what the rules say of the networks and instances that there are now.
    pub(crate) async fn restrict(&self) -> Result<(), EngineError> {
        // In turns, so that what is older never comes after what is newer.
        let _turn = self.restricting.lock().await;
        let restrictions = self.restrictions();
        let done = self.ports.network.restrict(&restrictions).await;
        done.map_err(|source| EngineError::Network { name: "*".to_owned(), source })
    }

    fn restrictions(&self) -> Restrictions {
        let handles = self.directory.all();
        let records: Vec<_> = handles.iter().map(|handle| handle.snapshot()).collect();
        let records: Vec<&Record> = records.iter().map(|snapshot| &snapshot.record).collect();
        let access = |lists: Lists<'_>| {
            let [ingress, egress] = lists.map(|(_, rules)| {
                Some(rules?.iter().map(|rule| self.passage(rule, &records)).collect::<Vec<_>>())
            });
            Access { ingress, egress }
        };
        let networks = self.networks.all().into_iter().filter(|it| it.spec.kind == NetworkKind::Bridge);
        let networks = networks.map(|network| {
            let (name, spec) = (self.ports.network.host_name(&network), &network.spec);
            (name, access(lists(&spec.ingress, &spec.egress)))
        });
        let instances = records.iter().map(|record| {
            let spec = &record.current.spec;
            (record.id, access(lists(&spec.ingress, &spec.egress)))
        });
        Restrictions {
            held: self.held(&records),
            networks: networks.filter(|(_, access)| *access != Access::default()).collect(),
            instances: instances.filter(|(_, access)| *access != Access::default()).collect(),
        }
    }

    /// Has nobody else given what an instance was given now, which may be long before it starts.
    pub(crate) async fn hold(&self, wanted: &BTreeMap<String, WantedInterface>) {
        if wanted.values().all(|interface| interface.network.spec.dhcp.is_none()) {
            return;
        }
        if let Err(error) = self.restrict().await {
            // It is told again before the instance comes up.
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "a DHCP server does not know yet what an instance has");
        }
    }

    /// What instances have on networks with a DHCP server.
    fn held(&self, records: &[&Record]) -> BTreeMap<String, BTreeMap<MacAddress, Ipv4Addr>> {
        let networks = self.networks.all().into_iter().filter(|network| network.spec.dhcp.is_some());
        let held = networks.map(|network| {
            let interfaces = records.iter().flat_map(|record| record.interfaces.values());
            let here = interfaces.filter(|interface| interface.network == network.id);
            let held = here.filter_map(|interface| Some((interface.mac, interface.ipv4?)));
            (self.ports.network.host_name(&network), held.collect())
        });
        held.collect()
    }

    fn passage(&self, rule: &AccessRule, records: &[&Record]) -> Passage {
        let peers = match &rule.peer {
            Peer::Any => None,
            Peer::Cidr(net) => Some(vec![*net]),
            // One that was deleted has nobody on it.
            Peer::Network(network) => {
                let network = self.networks.meant(network);
                let subnets = network.iter().flat_map(|network| network.spec.subnets());
                Some(subnets.map(|(_, net)| net).collect())
            }
            Peer::Labels(labels) => {
                let labelled = |record: &&&Record| {
                    let has = &record.current.spec.labels;
                    record.phase != Phase::Deleting
                        && labels.iter().all(|(key, value)| has.get(key) == Some(value))
                };
                let found = records.iter().filter(labelled).flat_map(|record| addresses(record));
                let mut nets: Vec<_> = found.map(IpNet::from).collect();
                nets.sort_unstable();
                Some(nets)
            }
        };
        Passage { protocol: rule.protocol, ports: rule.ports.clone(), peers }
    }
}

fn addresses(record: &Record) -> impl Iterator<Item = IpAddr> {
    record.interfaces.values().flat_map(Interface::addresses)
}
