//! The networks that the ledger has, at hand.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use berth_domain::{KnownNetwork, NetworkId};

/// All networks. Whoever changes one writes it to the ledger first.
pub(crate) struct Networks(Mutex<State>);

struct State {
    /// Always there.
    default: Arc<KnownNetwork>,
    others: BTreeMap<NetworkId, Arc<KnownNetwork>>,
}

impl Networks {
    /// The default network and the others.
    pub(crate) fn new(default: KnownNetwork, others: impl IntoIterator<Item = KnownNetwork>) -> Self {
        let others = others.into_iter().map(|network| (network.id, Arc::new(network)));
        Self(Mutex::new(State { default: Arc::new(default), others: others.collect() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one that instances are on which name none.
    pub(crate) fn default_one(&self) -> Arc<KnownNetwork> {
        Arc::clone(&self.state().default)
    }

    /// All, by name.
    pub(crate) fn all(&self) -> Vec<Arc<KnownNetwork>> {
        let state = self.state();
        let mut all: Vec<_> = std::iter::once(&state.default).chain(state.others.values()).cloned().collect();
        all.sort_by(|a, b| a.spec.name.cmp(&b.spec.name));
        all
    }

    /// One by its id.
    pub(crate) fn get(&self, id: NetworkId) -> Option<Arc<KnownNetwork>> {
        self.all().into_iter().find(|network| network.id == id)
    }

    /// One by its name.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<KnownNetwork>> {
        self.all().into_iter().find(|network| network.spec.name.as_str() == name)
    }

    /// One by its id or its name.
    pub(crate) fn meant(&self, text: &str) -> Option<Arc<KnownNetwork>> {
        match text.parse::<NetworkId>() {
            Ok(id) => self.get(id),
            Err(_) => self.find(text),
        }
    }

    /// A new one, or what became of one.
    pub(crate) fn put(&self, network: KnownNetwork) {
        let mut state = self.state();
        let network = Arc::new(network);
        if network.id == state.default.id {
            state.default = network;
        } else {
            state.others.insert(network.id, network);
        }
    }

    /// One is no more.
    pub(crate) fn remove(&self, id: NetworkId) {
        self.state().others.remove(&id);
    }
}
