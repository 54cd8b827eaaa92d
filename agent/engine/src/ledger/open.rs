//! Opening a ledger: the lock, the checks, the backup, the migrations.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use berth_domain::AgentId;
use rusqlite::{Connection, ErrorCode, OptionalExtension, params};

use super::schema::MIGRATIONS;
use super::{LedgerError, failed, parse};

const LEDGER: &str = "ledger.sqlite";
const BACKUP: &str = "ledger.backup.sqlite";
const LOCK: &str = "agent.lock";

/// Makes the directory if it is missing, and locks it against a second agent.
pub(super) fn lock(directory: &Path) -> Result<File, LedgerError> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(open_failed(directory))?;
    let path = directory.join(LOCK);
    let file = private_file(&path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LedgerError::Held { directory: directory.to_owned() }),
        Err(TryLockError::Error(source)) => Err(LedgerError::Open { path, source }),
    }
}

/// Opens the ledger in a locked directory.
pub(super) fn open(directory: &Path) -> Result<(Connection, AgentId), LedgerError> {
    let path = directory.join(LEDGER);
    let backup = directory.join(BACKUP);
    // SQLite gives its journal files the mode of the ledger, which therefore must exist before it opens it.
    let new = private_file(&path)?.metadata().map_err(open_failed(&path))?.len() == 0;
    let opened = Connection::open(&path).and_then(|connection| prepare(&connection).map(|()| connection));
    let mut connection = opened.map_err(|source| damaged(&path, &backup, source))?;
    if let Some(what) = first_damage(&connection).unwrap_or_else(|error| Some(error.to_string())) {
        return Err(LedgerError::Damaged { path, what, backup: backup.exists().then_some(backup) });
    }
    migrate(&mut connection, &path)?;
    let agent_id = agent_id(&connection)?;
    if !new {
        keep_backup(&connection, &backup);
    }
    Ok((connection, agent_id))
}

fn private_file(path: &Path) -> Result<File, LedgerError> {
    let opened =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    opened.map_err(open_failed(path))
}

fn open_failed(path: &Path) -> impl Fn(io::Error) -> LedgerError {
    move |source| LedgerError::Open { path: path.to_owned(), source }
}

/// Every commit reaches the disk before what was committed is acted on.
fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // Holds the file for this connection alone, and needs no shared memory beside it.
    connection.pragma_update(None, "locking_mode", "exclusive")
}

fn damaged(path: &Path, backup: &Path, source: rusqlite::Error) -> LedgerError {
    match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => LedgerError::Damaged {
            path: path.to_owned(),
            what: source.to_string(),
            backup: backup.exists().then(|| backup.to_owned()),
        },
        _ => LedgerError::Sqlite { operation: "open", source },
    }
}

fn first_damage(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    Ok((found != "ok").then_some(found))
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), LedgerError> {
    let failed = failed("migrate");
    let found: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
    let known = MIGRATIONS.len();
    let applied = usize::try_from(found).unwrap_or(usize::MAX);
    let Some(missing) = MIGRATIONS.get(applied..) else {
        let known = u32::try_from(known).unwrap_or(u32::MAX);
        return Err(LedgerError::FromLater { path: path.to_owned(), found, known });
    };
    if missing.is_empty() {
        return Ok(());
    }
    let transaction = connection.transaction().map_err(failed)?;
    for migration in missing {
        transaction.execute_batch(migration).map_err(failed)?;
    }
    transaction.pragma_update(None, "user_version", known as i64).map_err(failed)?;
    transaction.commit().map_err(failed)
}

fn agent_id(connection: &Connection) -> Result<AgentId, LedgerError> {
    let failed = failed("read the agent's id");
    let query = connection.query_row("SELECT id FROM agent", [], |row| row.get::<_, String>(0));
    if let Some(text) = query.optional().map_err(failed)? {
        return parse("agent", text.parse());
    }
    let id = AgentId::random();
    connection
        .execute("INSERT INTO agent (only_row, id) VALUES (1, ?1)", params![id.to_string()])
        .map_err(failed)?;
    Ok(id)
}

/// A copy for the day when the ledger is torn. That it cannot be made is no reason not to run.
fn keep_backup(connection: &Connection, backup: &Path) {
    let new = backup.with_extension("new");
    let copy = || -> Result<(), LedgerError> {
        if new.exists() {
            std::fs::remove_file(&new).map_err(open_failed(&new))?;
        }
        // SQLite writes into an empty file that exists, and so keeps its mode.
        private_file(&new)?;
        let name = new.to_string_lossy();
        connection.execute("VACUUM INTO ?1", params![name]).map_err(failed("be copied"))?;
        private_file(&new)?.sync_all().map_err(open_failed(&new))?;
        std::fs::rename(&new, backup).map_err(open_failed(backup))
    };
    if let Err(error) = copy() {
        tracing::warn!(error = &error as &dyn std::error::Error, path = %backup.display(), "no backup of the ledger");
    }
}

/// Where the ledger of a data directory is.
#[cfg(test)]
pub(super) fn path_in(directory: &Path) -> std::path::PathBuf {
    directory.join(LEDGER)
}

#[cfg(test)]
mod tests;
