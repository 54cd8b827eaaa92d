//! All instances of the agent: who has which name, and the way to each one's task.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use berth_domain::InstanceId;

use super::actor::Handle;

/// Names and handles. A name is reserved from the moment it is asked for.
#[derive(Default)]
pub(crate) struct Directory(Mutex<State>);

#[derive(Default)]
struct State {
    handles: HashMap<InstanceId, Handle>,
    names: HashMap<String, InstanceId>,
}

/// A name that is given back when this is dropped, unless it was kept.
pub(crate) struct Reservation {
    directory: Arc<Directory>,
    name: String,
    id: InstanceId,
    kept: bool,
}

impl Reservation {
    /// The name stays with the instance.
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.kept {
            self.directory.release(&self.name, self.id);
        }
    }
}

impl Directory {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves a name for an instance.
    ///
    /// # Errors
    /// Whose it is already.
    pub(crate) fn reserve(self: &Arc<Self>, name: &str, id: InstanceId) -> Result<Reservation, InstanceId> {
        let mut state = self.state();
        match state.names.get(name) {
            Some(holder) if *holder != id => Err(*holder),
            Some(_) => Ok(Reservation { directory: Arc::clone(self), name: name.to_owned(), id, kept: true }),
            None => {
                state.names.insert(name.to_owned(), id);
                drop(state);
                Ok(Reservation { directory: Arc::clone(self), name: name.to_owned(), id, kept: false })
            }
        }
    }

    /// Gives a name back if it is the instance's.
    pub(crate) fn release(&self, name: &str, id: InstanceId) {
        let mut state = self.state();
        if state.names.get(name) == Some(&id) {
            state.names.remove(name);
        }
    }

    /// An instance has its task.
    pub(crate) fn insert(&self, id: InstanceId, handle: Handle) {
        self.state().handles.insert(id, handle);
    }

    /// An instance is gone, with all its names.
    pub(crate) fn remove(&self, id: InstanceId) {
        let mut state = self.state();
        state.handles.remove(&id);
        state.names.retain(|_, holder| *holder != id);
    }

    pub(crate) fn get(&self, id: InstanceId) -> Option<Handle> {
        self.state().handles.get(&id).cloned()
    }

    pub(crate) fn find(&self, name: &str) -> Option<Handle> {
        let state = self.state();
        state.names.get(name).and_then(|id| state.handles.get(id)).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Handle> {
        self.state().handles.values().cloned().collect()
    }
}
