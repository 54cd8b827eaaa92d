use std::os::unix::fs::PermissionsExt;

use super::super::{Ledger, LedgerError};
use super::*;

/// The first released schema, as it was: never edit it with the migration.
const OLDEST: &str = include_str!("oldest.sql");

#[test]
fn the_oldest_ledger_is_read() {
    let dir = tempfile::tempdir().unwrap();
    Connection::open(path_in(dir.path())).unwrap().execute_batch(OLDEST).unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    assert_eq!(ledger.agent_id().to_string(), "11111111-1111-4111-8111-111111111111");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let instances = runtime.block_on(ledger.instances()).unwrap();
    assert_eq!((instances[0].name(), instances[0].uids.base), ("web", 1_000_000_000));
    assert_eq!(instances[0].current.host_ports["http"], 20_001);
    assert_eq!(runtime.block_on(ledger.remotes()).unwrap()[0].spec.name.as_str(), "hub");
    assert_eq!(runtime.block_on(ledger.pins()).unwrap()[0].reference, "hub:web");
}

#[test]
fn the_ledger_is_private_and_has_one_agent() {
    let dir = tempfile::tempdir().unwrap();
    let inside = dir.path().join("data");
    let ledger = Ledger::open(&inside).unwrap();
    let id = ledger.agent_id();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&inside), mode(&path_in(&inside))), (0o700, 0o600));
    assert!(matches!(Ledger::open(&inside), Err(LedgerError::Held { .. })));
    ledger.close();
    let again = Ledger::open(&inside).unwrap();
    assert_eq!(again.agent_id(), id);
    assert_eq!(mode(&inside.join(BACKUP)), 0o600);
}

#[test]
fn a_torn_ledger_says_what_to_do_and_its_backup_opens() {
    let dir = tempfile::tempdir().unwrap();
    let id = Ledger::open(dir.path()).unwrap().agent_id();
    drop(Ledger::open(dir.path()).unwrap());
    for torn in [b"nonsense".repeat(1000), std::fs::read(path_in(dir.path())).unwrap()[..5000].to_vec()] {
        std::fs::write(path_in(dir.path()), torn).unwrap();
        let error = Ledger::open(dir.path()).err().unwrap();
        assert!(matches!(error, LedgerError::Damaged { backup: Some(_), .. }), "{error:?}");
        assert!(error.advice().contains(BACKUP), "{}", error.advice());
        std::fs::copy(dir.path().join(BACKUP), path_in(dir.path())).unwrap();
        assert_eq!(Ledger::open(dir.path()).unwrap().agent_id(), id);
    }
}

#[test]
fn a_later_ledger_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(Ledger::open(dir.path()).unwrap());
    Connection::open(path_in(dir.path())).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(Ledger::open(dir.path()), Err(LedgerError::FromLater { found: 99, .. })));
}
