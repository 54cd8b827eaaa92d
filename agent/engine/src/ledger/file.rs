//! What the files of instances say, in the ledger: it is written again when an instance is rebuilt.

use std::collections::{BTreeMap, BTreeSet};

use berth_domain::InstanceId;
use berth_domain::file::FileContent;
use rusqlite::params;

use super::{Ledger, LedgerError, failed};

impl Ledger {
    /// What an instance's files say, by digest.
    pub(crate) async fn file_contents(
        &self,
        instance: InstanceId,
    ) -> Result<BTreeMap<String, FileContent>, LedgerError> {
        self.call("read files", move |transaction| {
            let failed = failed("read files");
            let sql = "SELECT digest, content FROM file WHERE instance = ?1";
            let mut query = transaction.prepare_cached(sql).map_err(failed)?;
            let rows = query.query_map([instance.to_string()], |row| {
                Ok((row.get::<_, String>(0)?, FileContent::new(row.get::<_, Vec<u8>>(1)?)))
            });
            rows.map_err(failed)?.collect::<rusqlite::Result<_>>().map_err(failed)
        })
        .await
    }

    /// Adds to what an instance's files may say.
    pub(crate) async fn save_file_contents(
        &self,
        instance: InstanceId,
        contents: BTreeMap<String, FileContent>,
    ) -> Result<(), LedgerError> {
        if contents.is_empty() {
            return Ok(());
        }
        self.call("write files", move |transaction| {
            let sql = "INSERT OR IGNORE INTO file (instance, digest, content) VALUES (?1, ?2, ?3)";
            for (digest, content) in contents {
                let row = params![instance.to_string(), digest, content.reveal()];
                transaction.execute(sql, row).map_err(failed("write files"))?;
            }
            Ok(())
        })
        .await
    }

    /// Forgets what an instance's files no longer say.
    pub(crate) async fn keep_file_contents(
        &self,
        instance: InstanceId,
        digests: BTreeSet<String>,
    ) -> Result<(), LedgerError> {
        self.call("forget files", move |transaction| {
            let failed = failed("forget files");
            let sql = "SELECT digest FROM file WHERE instance = ?1";
            let mut query = transaction.prepare_cached(sql).map_err(failed)?;
            let rows = query.query_map([instance.to_string()], |row| row.get::<_, String>(0));
            let known: Vec<String> =
                rows.map_err(failed)?.collect::<rusqlite::Result<_>>().map_err(failed)?;
            for digest in known.iter().filter(|digest| !digests.contains(*digest)) {
                let sql = "DELETE FROM file WHERE instance = ?1 AND digest = ?2";
                transaction.execute(sql, params![instance.to_string(), digest]).map_err(failed)?;
            }
            Ok(())
        })
        .await
    }
}
