//! Points where a test makes a call fail, or stops everything as a crash would.

use std::sync::{Mutex, MutexGuard, PoisonError};

use thiserror::Error;
use tokio::sync::Notify;

use crate::ledger::LedgerError;

/// The fault that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("a fault was injected at {0}")]
pub struct Injected(pub String);

/// All points of one engine and its fakes, counted as they are passed.
#[derive(Debug, Default)]
pub struct Faults {
    state: Mutex<State>,
    stopped: Notify,
}

#[derive(Debug, Default)]
struct State {
    passed: Vec<String>,
    armed: Option<(usize, Fault)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Fail,
    Stop,
}

impl Faults {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on, the `nth` point fails.
    pub fn fail_at(&self, nth: usize) {
        *self.state() = State { passed: Vec::new(), armed: Some((nth, Fault::Fail)) };
    }

    /// From now on, who comes to the `nth` point never comes back: see [`Faults::stopped`].
    pub fn stop_at(&self, nth: usize) {
        *self.state() = State { passed: Vec::new(), armed: Some((nth, Fault::Stop)) };
    }

    /// No fault from now on, and the count begins anew.
    pub fn disarm(&self) {
        *self.state() = State::default();
    }

    /// The points that were passed since the count began.
    pub fn passed(&self) -> Vec<String> {
        self.state().passed.clone()
    }

    /// Waits until someone came to the point to stop at.
    pub async fn stopped(&self) {
        self.stopped.notified().await;
    }

    /// A point: goes on, fails, or never returns.
    ///
    /// # Errors
    /// The fault that was asked for.
    pub async fn point(&self, name: String) -> Result<(), Injected> {
        let fault = {
            let mut state = self.state();
            let index = state.passed.len();
            state.passed.push(name.clone());
            state.armed.filter(|(nth, _)| *nth == index).map(|(_, fault)| fault)
        };
        match fault {
            None => Ok(()),
            Some(Fault::Fail) => Err(Injected(name)),
            Some(Fault::Stop) => {
                self.stopped.notify_one();
                std::future::pending().await
            }
        }
    }

    /// A point of the ledger. After a commit nothing can fail any more; a crash can still come.
    pub(crate) async fn ledger_point(&self, operation: &'static str, when: &str) -> Result<(), LedgerError> {
        let passed = self.point(format!("ledger: {operation}, {when}")).await;
        match passed {
            Err(_) if when == "before" => Err(LedgerError::Interrupted { operation }),
            _ => Ok(()),
        }
    }
}
