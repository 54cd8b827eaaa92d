//! The ledger: what was asked for, and what was given out for it.
//!
//! One SQLite file, `ledger.sqlite`, mode 0600 as it holds registries' passwords; beside it `agent.lock`, which is
//! locked as long as the ledger is open, so that a data directory has one agent. Each method is one transaction,
//! durable when it returns. SQLite runs on blocking threads behind one call site, `Ledger::call`.

use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use berth_domain::AgentId;
use rusqlite::Connection;

mod address;
mod error;
mod file;
mod instance;
mod interface;
mod network;
mod open;
mod pin;
mod remote;
mod schema;
mod volume;

pub use error::LedgerError;
pub use instance::{Inserted, NewInstance, Phase, Record, Version};
pub use interface::{Interface, Missing, Refused, WantedInterface};
pub use pin::Pin;
pub use volume::Volume;

/// The ledger. Clones are one and the same.
#[derive(Clone)]
pub struct Ledger {
    shared: Arc<Shared>,
}

struct Shared {
    /// `None` once closed: whoever still works with it is told so, and the directory is free.
    open: Mutex<Option<Open>>,
    agent_id: AgentId,
    #[cfg(test)]
    faults: Arc<crate::testing::Faults>,
}

struct Open {
    connection: Connection,
    _lock: File,
}

impl Ledger {
    /// Locks the directory and opens its ledger; makes both if they are missing. Blocks.
    ///
    /// # Errors
    /// Another agent has the directory, or the ledger is damaged or of a later agent.
    pub fn open(directory: &Path) -> Result<Self, LedgerError> {
        let lock = open::lock(directory)?;
        let (connection, agent_id) = open::open(directory)?;
        let open = Mutex::new(Some(Open { connection, _lock: lock }));
        let shared = Shared {
            open,
            agent_id,
            #[cfg(test)]
            faults: Arc::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The same, with points where a test can fail or stop it.
    ///
    /// # Errors
    /// As [`Ledger::open`].
    #[cfg(test)]
    pub fn open_with(directory: &Path, faults: Arc<crate::testing::Faults>) -> Result<Self, LedgerError> {
        let ledger = Self::open(directory)?;
        let shared = Arc::into_inner(ledger.shared).ok_or(LedgerError::Interrupted { operation: "open" })?;
        Ok(Self { shared: Arc::new(Shared { faults, ..shared }) })
    }

    /// The id made with the ledger.
    #[must_use]
    pub fn agent_id(&self) -> AgentId {
        self.shared.agent_id
    }

    /// Closes the file and frees the directory; whoever calls later is told so.
    pub fn close(&self) {
        let open = self.shared.open.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(open);
    }

    /// Runs `work` in one transaction on a blocking thread: the one call site of SQLite. Once begun, the work is
    /// done even where the caller's future is dropped.
    async fn call<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&rusqlite::Transaction<'_>) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        #[cfg(test)]
        self.shared.faults.ledger_point(operation, "before").await?;
        let shared = Arc::clone(&self.shared);
        let done = tokio::task::spawn_blocking(move || {
            let mut open = shared.open.lock().unwrap_or_else(PoisonError::into_inner);
            let open = open.as_mut().ok_or(LedgerError::Interrupted { operation })?;
            let failed = |source| LedgerError::Sqlite { operation, source };
            let transaction = open.connection.transaction().map_err(failed)?;
            let value = work(&transaction)?;
            transaction.commit().map_err(failed)?;
            Ok(value)
        });
        let value = done.await.map_err(|_panicked| LedgerError::Interrupted { operation })?;
        #[cfg(test)]
        self.shared.faults.ledger_point(operation, "after").await?;
        value
    }
}

impl Ledger {
    /// Likewise, of work that may be refused: then the transaction is as if it never was.
    async fn try_call<T: Send + 'static, R: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&rusqlite::Transaction<'_>) -> Result<Result<T, R>, LedgerError> + Send + 'static,
    ) -> Result<Result<T, R>, LedgerError> {
        self.call(operation, move |transaction| {
            let failed = failed(operation);
            transaction.execute_batch("SAVEPOINT refusable").map_err(failed)?;
            let done = work(transaction)?;
            let end =
                if done.is_ok() { "RELEASE refusable" } else { "ROLLBACK TO refusable; RELEASE refusable" };
            transaction.execute_batch(end).map_err(failed)?;
            Ok(done)
        })
        .await
    }
}

/// Names the operation in SQLite's errors.
fn failed(operation: &'static str) -> impl Fn(rusqlite::Error) -> LedgerError + Copy {
    move |source| LedgerError::Sqlite { operation, source }
}

/// Reads a text column into a type that is parsed from it.
fn parse<T>(
    entry: &str,
    result: Result<T, impl std::error::Error + Send + Sync + 'static>,
) -> Result<T, LedgerError> {
    result.map_err(|source| LedgerError::BadEntry { entry: entry.to_owned(), source: Box::new(source) })
}
