//! How an engine comes up: the ledger, what runs on the host, and then a task for each instance.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use berth_domain::{KnownNetwork, NetworkDraft, NetworkId, Timestamp, network};
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Config, Inner, boot};
use crate::error::EngineError;
use crate::event::EventBus;
use crate::instance::actor::{self, Handle, Operation};
use crate::instance::claims::Claims;
use crate::instance::directory::Directory;
use crate::instance::interfaces;
use crate::keeper::Keeper;
use crate::ledger::{Ledger, Phase, Record};
use crate::networks::Networks;
use crate::ports::Ports;
use crate::ports::runtime::{InstanceState, RuntimeEvent};
use crate::report::Reporter;

pub(super) async fn open(config: Config, ports: Ports, ledger: Ledger) -> Result<Arc<Inner>, EngineError> {
    let networks = known_networks(&ports, &ledger).await?;
    let records = ledger.instances().await?;
    let (events, plugged) = (ports.runtime.events(), ports.runtime.plugged());
    let observed = ports.runtime.observe_all().await.map_err(|source| EngineError::Runtime {
        name: "*".to_owned(),
        operation: "observe the host",
        source,
    })?;
    let mut states: HashMap<_, _> = observed.into_iter().collect();
    let keeper = Keeper::new(config.unused_images);
    let inner = Arc::new(Inner {
        config,
        ports,
        ledger,
        networks,
        bus: EventBus::new(),
        keeper,
        claims: Claims::default(),
        attached: tokio::sync::Mutex::default(),
        naming: tokio::sync::Mutex::default(),
        choosing: Arc::default(),
        restricting: tokio::sync::Mutex::default(),
        directory: Arc::new(Directory::default()),
        tasks: TaskTracker::new(),
        closing: CancellationToken::new(),
    });
    let adopted: Vec<(Record, InstanceState)> = records
        .into_iter()
        .map(|record| {
            let state = states.remove(&record.id).unwrap_or_else(InstanceState::absent);
            (record, state)
        })
        .collect();
    for id in states.keys() {
        // Perhaps a ledger was put back from its backup: what it does not know is for a person to judge.
        tracing::warn!(instance = %id, "the host has an instance that the ledger does not know; it is left alone");
    }
    take_stock(&inner, &adopted).await;
    // Nobody is taken for absent who is only not in the directory yet.
    let restricting = inner.restricting.lock().await;
    let mut waiting = Vec::new();
    for (record, state) in adopted {
        let (id, boot) = (record.id, record.current.spec.boot);
        // What runs already, and what is not to run, has nobody to wait for.
        let waits =
            record.current.spec.running && record.phase == Phase::Settled && !state.workload.is_live();
        let handle = actor::spawn(&inner, record, state, None, !waits);
        inner.directory.insert(id, handle.clone());
        if waits {
            waiting.push((boot, handle));
        }
    }
    drop(restricting);
    inner.tasks.spawn(boot::bring_up(Arc::clone(&inner), waiting));
    inner.tasks.spawn(hand_out(Arc::clone(&inner), events));
    inner.tasks.spawn(replug(Arc::clone(&inner), plugged));
    let sweeping = Arc::clone(&inner);
    inner.tasks.spawn(async move { sweeping.sweep_now_and_then().await });
    Ok(inner)
}

/// What is in use from the start, before any task could take or release it; and what nobody uses goes.
async fn take_stock(inner: &Arc<Inner>, adopted: &[(Record, InstanceState)]) {
    let mut attached: HashMap<_, HashSet<_>> = HashMap::new();
    for (record, state) in adopted {
        let versions = std::iter::once(&record.current).chain(&record.previous);
        for version in versions.clone() {
            // The ledger has each name once, so none of these can be taken.
            if let Ok(name) = inner.directory.reserve(version.spec.name.as_str(), record.id) {
                name.keep();
            }
        }
        if state.workload.is_live() {
            for network in interfaces::networks_of(inner, record) {
                attached.entry(network).or_default().insert(record.id);
            }
            let ports = versions.flat_map(crate::ledger::Version::published).collect();
            inner.claims.set(record.id, record.name(), ports);
        }
    }
    for network in inner.networks.all() {
        if network.spec.is_made()
            && !attached.contains_key(&network.id)
            && let Err(error) = inner.ports.network.release(&network).await
        {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "what an earlier agent left of a network stays for now");
        }
    }
    *inner.attached.lock().await = attached;
    inner.sweep_images().await;
    if let Err(error) = inner.sweep_volumes().await {
        let error: &dyn std::error::Error = &error;
        tracing::warn!(error, "volumes that were to go stay for now");
    }
}

/// What the ledger has, with the default network, which is made where it is missing.
async fn known_networks(ports: &Ports, ledger: &Ledger) -> Result<Networks, EngineError> {
    let mut known = ledger.networks().await?;
    if let Some(index) = known.iter().position(KnownNetwork::is_default) {
        let default = known.remove(index);
        return Ok(Networks::new(default, known));
    }
    let name = network::DEFAULT.to_owned();
    let taken: Vec<_> = known.iter().filter_map(|network| network.spec.ipv4_subnet).collect();
    let chosen = ports.network.choose_subnet(&taken).await;
    let chosen = chosen.map_err(|source| EngineError::Network { name: name.clone(), source })?;
    let (mut spec, _) = NetworkDraft { name, ..NetworkDraft::default() }.validate()?;
    spec.ipv4_subnet = Some(chosen);
    let number = (0..).find(|n| known.iter().all(|network| network.number != *n)).unwrap_or_default();
    let (id, created_at) = (NetworkId::random(), Timestamp::now());
    let default = KnownNetwork { id, number, generation: 1, spec, created_at };
    // Nobody has an address on it yet, so that there is room for all.
    let _room = ledger.save_network(default.clone()).await?;
    Ok(Networks::new(default, known))
}

/// Hands the runtime's events to the tasks of their instances.
async fn hand_out(inner: Arc<Inner>, mut events: BoxStream<'static, RuntimeEvent>) {
    loop {
        let event = tokio::select! {
            () = inner.closing.cancelled() => return,
            event = events.next() => event,
        };
        let Some(RuntimeEvent { instance, workload }) = event else { return };
        if let Some(handle) = inner.directory.get(instance) {
            handle.happened(workload);
        }
    }
}

/// Tells instances with devices that some came or went.
async fn replug(inner: Arc<Inner>, mut plugged: BoxStream<'static, ()>) {
    loop {
        let event = tokio::select! {
            () = inner.closing.cancelled() => return,
            event = plugged.next() => event,
        };
        if event.is_none() {
            return;
        }
        let has_some = |handle: &Handle| !handle.snapshot().record.current.spec.devices.is_empty();
        let concerned: Vec<_> = inner.directory.all().into_iter().filter(has_some).collect();
        let asked = concerned.iter().map(|handle| handle.request(Operation::Replug, Reporter::silent()));
        for error in futures::future::join_all(asked).await.into_iter().filter_map(Result::err) {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "devices that came or went could not be plugged in or out");
        }
    }
}
