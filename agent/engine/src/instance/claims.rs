//! Which instance has which port of the host, so that two of this agent never fight for one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use berth_domain::{InstanceId, InstanceSpec, PortSpec, Protocol};

use super::directory::Directory;
use crate::error::EngineError;
use crate::ledger::Version;
use crate::ports::network::{Network, PublishedPort};

/// Ports of the host that instances hold, from just before they are published until they no longer are.
#[derive(Default)]
pub(crate) struct Claims(Mutex<HashMap<InstanceId, Claim>>);

struct Claim {
    name: String,
    ports: Vec<PublishedPort>,
}

impl Claims {
    fn state(&self) -> MutexGuard<'_, HashMap<InstanceId, Claim>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The instance holds these ports beside those it has; returns those it did not have.
    pub(crate) fn add(
        &self,
        id: InstanceId,
        name: &str,
        ports: &[PublishedPort],
    ) -> Result<Vec<PublishedPort>, EngineError> {
        let mut state = self.state();
        for port in ports {
            let held = |claim: &&Claim| claim.ports.iter().any(|other| clash(port, other));
            if let Some(claim) = state.iter().filter(|(other, _)| **other != id).map(|(_, c)| c).find(held) {
                return Err(EngineError::PortHeld {
                    name: port.name.clone(),
                    port: port.host_port,
                    protocol: port.protocol,
                    holder: claim.name.clone(),
                });
            }
        }
        let claim = state.entry(id).or_insert_with(|| Claim { name: String::new(), ports: Vec::new() });
        name.clone_into(&mut claim.name);
        let new: Vec<PublishedPort> =
            ports.iter().filter(|port| !claim.ports.iter().any(|other| same(port, other))).cloned().collect();
        claim.ports.extend(new.iter().cloned());
        Ok(new)
    }

    /// The instance no longer holds these.
    pub(crate) fn drop_ports(&self, id: InstanceId, ports: &[PublishedPort]) {
        if let Some(claim) = self.state().get_mut(&id) {
            claim.ports.retain(|held| !ports.iter().any(|port| same(port, held)));
        }
    }

    /// The instance holds exactly these.
    pub(crate) fn set(&self, id: InstanceId, name: &str, ports: Vec<PublishedPort>) {
        self.state().insert(id, Claim { name: name.to_owned(), ports });
    }

    /// The instance holds none.
    pub(crate) fn clear(&self, id: InstanceId) {
        self.state().remove(&id);
    }
}

fn same(a: &PublishedPort, b: &PublishedPort) -> bool {
    (a.host_address, a.host_port, a.protocol) == (b.host_address, b.host_port, b.protocol)
}

fn clash(a: &PublishedPort, b: &PublishedPort) -> bool {
    a.protocol == b.protocol
        && a.host_port == b.host_port
        && berth_domain::value::port::overlap(a.host_address, b.host_address)
}

/// Chosen host ports are from below the kernel's ephemeral ones, so that no outgoing connection has one by chance.
const CHOSEN: std::ops::Range<u16> = 20_000..32_000;

/// The host port of every published port: the given one, the one it had, or a free one.
///
/// Two choices take turns, and the next begins when the result of this is in the directory.
pub(crate) async fn choose(
    directory: &Directory,
    network: &dyn Network,
    id: InstanceId,
    spec: &InstanceSpec,
    before: Option<&Version>,
) -> Result<BTreeMap<String, u16>, EngineError> {
    let mut chosen = BTreeMap::new();
    let mut taken = taken(directory, id);
    taken.extend(spec.ports.values().filter_map(|port| port.host_port));
    for (name, port) in &spec.ports {
        let host_port = match port.host_port.or_else(|| before.and_then(|version| kept(version, name, port)))
        {
            Some(host_port) => host_port,
            None => free(network, id, name, port.host_address, port.protocol, &taken).await?,
        };
        taken.insert(host_port);
        chosen.insert(name.clone(), host_port);
    }
    Ok(chosen)
}

/// The port chosen before, where nothing that matters to it has changed.
fn kept(before: &Version, name: &str, port: &PortSpec) -> Option<u16> {
    let old = before.spec.ports.get(name)?;
    let same =
        old.host_port.is_none() && (old.host_address, old.protocol) == (port.host_address, port.protocol);
    if same { before.host_ports.get(name).copied() } else { None }
}

/// Host ports of all other instances, running or not: a chosen port is kept while its instance is stopped.
fn taken(directory: &Directory, id: InstanceId) -> HashSet<u16> {
    let mut taken = HashSet::new();
    for handle in directory.all() {
        let snapshot = handle.snapshot();
        if snapshot.record.id != id {
            let versions = std::iter::once(&snapshot.record.current).chain(&snapshot.record.previous);
            taken.extend(versions.flat_map(|version| version.host_ports.values().copied()));
        }
    }
    taken
}

async fn free(
    network: &dyn Network,
    id: InstanceId,
    name: &str,
    address: IpAddr,
    protocol: Protocol,
    taken: &HashSet<u16>,
) -> Result<u16, EngineError> {
    /// More failures than this are not by chance.
    const TRIES: usize = 64;
    let span = CHOSEN.end - CHOSEN.start;
    let bytes = id.as_bytes();
    let start = u16::from_be_bytes([bytes[0], bytes[1]]) % span;
    let candidates =
        (0..span).map(|n| CHOSEN.start + (start + n) % span).filter(|port| !taken.contains(port));
    let mut last = None;
    for port in candidates.take(TRIES) {
        match network.check_port(address, port, protocol).await {
            Ok(()) => return Ok(port),
            Err(source) => last = Some(source),
        }
    }
    Err(match last {
        Some(source) => EngineError::Port { name: name.to_owned(), source },
        None => {
            EngineError::Exhausted { what: "port of the host".to_owned(), advice: "Give host_port yourself" }
        }
    })
}
