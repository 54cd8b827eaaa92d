//! Remotes in the ledger.

use berth_domain::{Password, RemoteDraft, RemoteId, RemoteSecrets};
use rusqlite::{Row, params};

use super::{Ledger, LedgerError, failed, parse};
use crate::ports::images::Remote;

impl Ledger {
    /// All remotes, by name.
    pub(crate) async fn remotes(&self) -> Result<Vec<Remote>, LedgerError> {
        self.call("read the remotes", |transaction| {
            let failed = failed("read the remotes");
            let mut query =
                transaction.prepare_cached("SELECT * FROM remote ORDER BY name").map_err(failed)?;
            let rows = query.query_map([], |row| Ok(read(row))).map_err(failed)?;
            rows.map(|row| row.map_err(failed).and_then(|row| row)).collect()
        })
        .await
    }

    /// Writes a remote, new or changed.
    pub(crate) async fn save_remote(&self, remote: Remote) -> Result<(), LedgerError> {
        self.call("write a remote", move |transaction| {
            let Remote { id, spec, secrets } = remote;
            let sql = "INSERT INTO remote (id, name, address, username, password, insecure, ca_certificate,
                           credential_helper, docker_config, client_certificate, client_key, mirrors, verify_keys)
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
                       ON CONFLICT (id) DO UPDATE SET name = ?2, address = ?3, username = ?4, password = ?5,
                           insecure = ?6, ca_certificate = ?7, credential_helper = ?8, docker_config = ?9,
                           client_certificate = ?10, client_key = ?11, mirrors = ?12, verify_keys = ?13";
            let row = params![
                id.to_string(),
                spec.name.as_str(),
                spec.address,
                spec.username,
                secrets.password.as_ref().map(Password::reveal),
                spec.insecure,
                spec.ca_certificate,
                spec.credential_helper,
                spec.docker_config,
                spec.client_certificate,
                secrets.client_key.as_ref().map(Password::reveal),
                texts(&spec.mirrors),
                texts(&spec.verify_keys),
            ];
            transaction.execute(sql, row).map_err(failed("write a remote"))?;
            Ok(())
        })
        .await
    }

    /// Forgets a remote; whether there was one.
    pub(crate) async fn delete_remote(&self, id: RemoteId) -> Result<bool, LedgerError> {
        self.call("delete a remote", move |transaction| {
            let deleted = transaction.execute("DELETE FROM remote WHERE id = ?1", [id.to_string()]);
            Ok(deleted.map_err(failed("delete a remote"))? > 0)
        })
        .await
    }
}

fn read(row: &Row<'_>) -> Result<Remote, LedgerError> {
    let failed = failed("read a remote");
    let text: String = row.get("id").map_err(failed)?;
    let entry = format!("remote {text}");
    let list = |column: &str| row.get::<_, String>(column).map_err(failed);
    let draft = RemoteDraft {
        name: row.get("name").map_err(failed)?,
        address: row.get("address").map_err(failed)?,
        username: row.get("username").map_err(failed)?,
        insecure: row.get("insecure").map_err(failed)?,
        ca_certificate: row.get("ca_certificate").map_err(failed)?,
        credential_helper: row.get("credential_helper").map_err(failed)?,
        docker_config: row.get("docker_config").map_err(failed)?,
        client_certificate: row.get("client_certificate").map_err(failed)?,
        mirrors: parse(&entry, serde_json::from_str(&list("mirrors")?))?,
        verify_keys: parse(&entry, serde_json::from_str(&list("verify_keys")?))?,
    };
    let secret = |column: &str| -> Result<Option<Password>, LedgerError> {
        let text: Option<String> = row.get(column).map_err(failed)?;
        Ok(text.map(Password::new))
    };
    let secrets = RemoteSecrets { password: secret("password")?, client_key: secret("client_key")? };
    Ok(Remote { id: parse(&entry, text.parse())?, spec: parse(&entry, draft.validate())?, secrets })
}

/// A list of texts as one.
fn texts(list: &[String]) -> String {
    serde_json::Value::from(list).to_string()
}
