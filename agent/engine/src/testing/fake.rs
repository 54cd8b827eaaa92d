//! A host that is only kept in memory. It outlives the engines that are opened on it, as a real one does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use berth_domain::{
    Digest, ExitRecord, Health, HealthState, ImageConfig, ImageInfo, InstanceId, KnownNetwork, NetworkId,
    Timestamp, VolumeId, Workload,
};
use ipnet::IpNet;
use tokio::sync::mpsc;

use super::Faults;
use crate::ports::Ports;
use crate::ports::access::Restrictions;
use crate::ports::network::{Lease, Leases, Link, PublishedPort};
use crate::ports::runtime::{InterfaceState, RuntimeEvent, Settings, StartRequest};

/// Registries, a store, supervisors and a network, in memory.
#[derive(Debug, Default)]
pub struct FakeHost {
    pub(super) faults: Arc<Faults>,
    pub(super) state: Mutex<State>,
    pub(super) events: Mutex<Option<mpsc::UnboundedSender<RuntimeEvent>>>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// Reference to the image it means.
    pub(super) registry: BTreeMap<String, Arc<ImageInfo>>,
    pub(super) store: BTreeMap<Digest, Arc<ImageInfo>>,
    /// Images of the store that are not whole.
    pub(super) damaged: BTreeSet<Digest>,
    pub(super) instances: BTreeMap<InstanceId, Instance>,
    pub(super) volumes: BTreeSet<VolumeId>,
    pub(super) networks: BTreeMap<NetworkId, KnownNetwork>,
    /// What the host has addresses of.
    pub(super) routes: Vec<IpNet>,
    pub(super) no_ipv6: bool,
    pub(super) published: BTreeMap<InstanceId, Vec<PublishedPort>>,
    pub(super) links: BTreeMap<InstanceId, Vec<Link>>,
    pub(super) restrictions: Restrictions,
    pub(super) leases: BTreeMap<NetworkId, Leases>,
    pub(super) busy: BTreeSet<u16>,
    /// Images whose health checks fail.
    pub(super) sick: BTreeSet<Digest>,
    /// Those whose interfaces stay as they are while they run.
    pub(super) rigid: BTreeSet<InstanceId>,
    pub(super) next_pid: u32,
}

#[derive(Debug, Default)]
pub(super) struct Instance {
    pub(super) rootfs: BTreeMap<u32, Digest>,
    pub(super) workload: Option<Workload>,
    pub(super) request: Option<StartRequest>,
    pub(super) interfaces: BTreeMap<String, InterfaceState>,
}

impl FakeHost {
    /// An empty host.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Where it, and a ledger opened with it, can be made to fail.
    #[must_use]
    pub fn faults(&self) -> Arc<Faults> {
        Arc::clone(&self.faults)
    }

    /// The host as all ports.
    #[must_use]
    pub fn ports(self: &Arc<Self>) -> Ports {
        Ports {
            images: self.clone(),
            runtime: self.clone(),
            network: self.clone(),
            volumes: self.clone(),
            host: self.clone(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The registry has an image under a reference from now on; the tag moves where it had another.
    pub fn push(&self, reference: &str, seed: u8, config: ImageConfig) -> Option<Digest> {
        let digest: Digest = format!("sha256:{}", format!("{seed:02x}").repeat(32)).parse().ok()?;
        let info = ImageInfo {
            digest: digest.clone(),
            platform: "linux/amd64".to_owned(),
            size: 1,
            layers: Vec::new(),
            created: String::new(),
            config,
            used: SystemTime::now(),
        };
        self.state().registry.insert(reference.to_owned(), Arc::new(info));
        Some(digest)
    }

    /// An image of the store is not whole any more.
    pub fn damage(&self, image: &Digest) {
        self.state().damaged.insert(image.clone());
    }

    /// What runs of it keeps its interfaces until it is started anew, as what an agent before this one has started.
    pub fn stiffen(&self, instance: InstanceId) {
        self.state().rigid.insert(instance);
    }

    /// Health checks of this image fail from now on.
    pub fn sicken(&self, image: &Digest) {
        self.state().sick.insert(image.clone());
    }

    pub(super) fn health(&self, id: InstanceId) -> Option<Health> {
        let state = self.state();
        let instance = state.instances.get(&id)?;
        instance.workload.as_ref().filter(|workload| workload.pid().is_some())?;
        let request = instance.request.as_ref()?;
        request.settings.health.as_ref()?;
        let (state, output) = match state.sick.contains(&request.image) {
            true => (HealthState::Unhealthy, "it aches"),
            false => (HealthState::Healthy, ""),
        };
        Some(Health { state, failures: 0, output: output.to_owned() })
    }

    /// A running instance has these interfaces from now on, as its supervisor tells.
    pub fn give_addresses(&self, id: InstanceId, interfaces: BTreeMap<String, InterfaceState>) {
        let workload = {
            let mut state = self.state();
            let Some(instance) = state.instances.get_mut(&id) else { return };
            instance.interfaces = interfaces;
            instance.workload.clone()
        };
        self.emit(id, workload.unwrap_or(Workload::Absent));
    }

    /// Someone else listens on this port of the host from now on.
    pub fn occupy(&self, port: u16) {
        self.state().busy.insert(port);
    }

    /// The host has a route to these addresses from now on.
    pub fn route(&self, to: IpNet) {
        self.state().routes.push(to);
    }

    /// From now on the host has no IPv6.
    pub fn without_ipv6(&self) {
        self.state().no_ipv6 = true;
    }

    /// The network's DHCP server has given this.
    pub fn lease(&self, network: NetworkId, lease: Lease) {
        self.state().leases.entry(network).or_default().all.push(lease);
    }

    /// The networks that the host has now.
    #[must_use]
    pub fn networks(&self) -> Vec<KnownNetwork> {
        self.state().networks.values().cloned().collect()
    }

    /// And no longer.
    pub fn vacate(&self, port: u16) {
        self.state().busy.remove(&port);
    }

    /// The machine goes down and comes up again: no process, no network, no record of an exit; files stay.
    pub fn reboot(&self) {
        let mut state = self.state();
        state.networks.clear();
        state.published.clear();
        state.links.clear();
        for instance in state.instances.values_mut() {
            instance.workload = None;
            instance.request = None;
        }
    }

    /// A workload ends by itself for good.
    pub fn exit(&self, id: InstanceId, code: i32) {
        let exit = ExitRecord { code, signal: None, oom_killed: false, at: Timestamp::now(), reason: None };
        self.change(id, |revision| Some(Workload::Ended { revision, restarts: 0, exit }));
    }

    /// A supervisor is killed, and leaves no record.
    pub fn kill_supervisor(&self, id: InstanceId) {
        self.change(id, |_| None);
    }

    fn change(&self, id: InstanceId, to: impl FnOnce(u64) -> Option<Workload>) {
        let workload = {
            let mut state = self.state();
            let Some(instance) = state.instances.get_mut(&id) else { return };
            let revision = instance.workload.as_ref().and_then(Workload::revision).unwrap_or_default();
            instance.workload = to(revision);
            instance.workload.clone().unwrap_or(Workload::Absent)
        };
        self.emit(id, workload);
    }

    pub(super) fn emit(&self, instance: InstanceId, workload: Workload) {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(events) = events.as_ref() {
            // An engine that went away does not listen.
            let _gone = events.send(RuntimeEvent { instance, workload });
        }
    }

    /// What runs, by instance: what it was started with.
    #[must_use]
    pub fn running(&self) -> BTreeMap<InstanceId, StartRequest> {
        let state = self.state();
        let live = |instance: &Instance| instance.workload.as_ref().is_some_and(Workload::is_live);
        let requests = state.instances.iter().filter(|(_, instance)| live(instance));
        requests.filter_map(|(id, instance)| Some((*id, instance.request.clone()?))).collect()
    }

    /// The pid of an instance's workload.
    #[must_use]
    pub fn pid(&self, id: InstanceId) -> Option<u32> {
        self.state()
            .instances
            .get(&id)
            .and_then(|instance| instance.workload.as_ref())
            .and_then(Workload::pid)
    }

    /// What may change while it runs, as it is in force.
    #[must_use]
    pub fn settings(&self, id: InstanceId) -> Option<Settings> {
        self.state()
            .instances
            .get(&id)
            .and_then(|instance| instance.request.as_ref())
            .map(|r| r.settings.clone())
    }

    /// Everything that is left on the host, one line each.
    #[must_use]
    pub fn leftovers(&self) -> Vec<String> {
        let state = self.state();
        let mut left: Vec<String> = state.instances.keys().map(|id| format!("instance {id}")).collect();
        left.extend(state.published.keys().map(|id| format!("ports of {id}")));
        left.extend(state.links.keys().map(|id| format!("interfaces of {id}")));
        left.extend(state.store.keys().map(|digest| format!("image {digest}")));
        left.extend(state.volumes.iter().map(|id| format!("volume {id}")));
        left.extend(state.networks.values().map(|network| format!("network {}", network.spec.name)));
        left
    }

    /// An instance's root filesystems: which, and from which image.
    #[must_use]
    pub fn rootfs(&self, id: InstanceId) -> BTreeMap<u32, Digest> {
        self.state().instances.get(&id).map(|instance| instance.rootfs.clone()).unwrap_or_default()
    }

    /// What was restricted last.
    #[must_use]
    pub fn restrictions(&self) -> Restrictions {
        self.state().restrictions.clone()
    }

    /// The interfaces of an instance that may send.
    #[must_use]
    pub fn links(&self, id: InstanceId) -> Vec<Link> {
        self.state().links.get(&id).cloned().unwrap_or_default()
    }

    /// The ports that lead to an instance.
    #[must_use]
    pub fn published(&self, id: InstanceId) -> Vec<PublishedPort> {
        self.state().published.get(&id).cloned().unwrap_or_default()
    }
}
