//! What is asked of the kernel itself, and whether the tables are still what they were made.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use berth_sys::netlink::{
    NetlinkError,
    nftables::{Generation, Nftables},
};

use super::State;

/// nftables of the network namespace in which it was first asked.
#[derive(Debug, Clone, Default)]
pub(super) struct Kernel(Arc<Mutex<Asked>>);

#[derive(Debug, Default)]
struct Asked {
    /// The socket, once there was one.
    nftables: Option<Nftables>,
    /// When the tables were known to be as desired.
    known: Option<Generation>,
}

impl Kernel {
    pub(super) fn with<T>(
        &self,
        call: impl FnOnce(&mut Nftables) -> Result<T, NetlinkError>,
    ) -> Result<T, NetlinkError> {
        let mut asked = self.asked();
        let mut nftables = match asked.nftables.take() {
            Some(nftables) => nftables,
            None => Nftables::open()?,
        };
        // What failed is not used again: something could still come of it.
        let done = call(&mut nftables)?;
        asked.nftables = Some(nftables);
        Ok(done)
    }

    /// Makes the tables as desired by one change, which replaces them or begins from what they were known to be.
    pub(super) fn change<E>(&self, replaces: bool, change: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let before = self.generation();
        change()?;
        let after = self.generation();
        let mut asked = self.asked();
        let alone = after == before.map(Generation::next);
        let fitting = replaces || asked.known == before;
        asked.known = after.filter(|_| alone && fitting);
        Ok(())
    }

    /// Looks whether they are as desired; what changes meanwhile may not have been seen.
    pub(super) fn look<E>(&self, look: impl FnOnce() -> Result<State, E>) -> Result<State, E> {
        let before = self.generation();
        let seen = look()?;
        let alone = self.generation() == before;
        self.asked().known = before.filter(|_| alone && seen == State::AsDesired);
        Ok(seen)
    }

    /// Whether nobody has changed anything since they were known to be as desired.
    pub(super) fn is_untouched(&self) -> bool {
        let now = self.generation();
        now.is_some() && self.asked().known == now
    }

    /// Where the kernel does not say, nothing is known, and the tables are looked at.
    fn generation(&self) -> Option<Generation> {
        self.with(Nftables::generation).ok()
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
