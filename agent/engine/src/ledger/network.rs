//! Networks in the ledger.

use berth_domain::{KnownNetwork, NetworkSpec, Timestamp};
use rusqlite::{Row, params};
use serde::{Deserialize, Serialize};

use super::{Ledger, LedgerError, address, failed, parse};

/// The format of a spec in JSON, for the day when it needs another.
#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    spec: NetworkSpec,
}

const FORMAT: u32 = 1;

impl Ledger {
    /// All networks, by name.
    pub(crate) async fn networks(&self) -> Result<Vec<KnownNetwork>, LedgerError> {
        self.call("read the networks", |transaction| {
            let failed = failed("read the networks");
            let mut query =
                transaction.prepare_cached("SELECT * FROM network ORDER BY name").map_err(failed)?;
            let rows = query.query_map([], |row| Ok(read(row))).map_err(failed)?;
            rows.map(|row| row.map_err(failed).and_then(|row| row)).collect()
        })
        .await
    }

    /// Writes a network, new or changed. Addresses on it that are not of its subnet become such that are; false where
    /// it has not enough of them, and then nothing is written.
    pub(crate) async fn save_network(&self, network: KnownNetwork) -> Result<bool, LedgerError> {
        let saved = self.try_call("write a network", move |transaction| {
            if !address::move_to(transaction, &network)? || !address::move_to6(transaction, &network)? {
                return Ok(Err(()));
            }
            let stored = Stored { format: FORMAT, spec: network.spec.clone() };
            let sql = "INSERT INTO network (id, name, number, generation, created_at, spec)
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                       ON CONFLICT (id) DO UPDATE SET name = ?2, generation = ?4, spec = ?6";
            let row = params![
                network.id.to_string(),
                network.spec.name.as_str(),
                network.number,
                i64::try_from(network.generation).unwrap_or(i64::MAX),
                i64::try_from(network.created_at.0).unwrap_or(i64::MAX),
                parse("network", serde_json::to_string(&stored))?,
            ];
            transaction.execute(sql, row).map_err(failed("write a network"))?;
            Ok(Ok(()))
        });
        Ok(saved.await?.is_ok())
    }

    /// Forgets a network, with the addresses that wait on it for instances to come.
    pub(crate) async fn delete_network(&self, network: KnownNetwork) -> Result<(), LedgerError> {
        self.call("delete a network", move |transaction| {
            let failed = failed("delete a network");
            let id = network.id.to_string();
            transaction.execute("DELETE FROM address WHERE network = ?1", [&id]).map_err(failed)?;
            transaction.execute("DELETE FROM network WHERE id = ?1", [&id]).map_err(failed)?;
            Ok(())
        })
        .await
    }
}

fn read(row: &Row<'_>) -> Result<KnownNetwork, LedgerError> {
    let failed = failed("read a network");
    let text = |column| row.get::<_, String>(column).map_err(failed);
    let number = |column| row.get::<_, i64>(column).map(i64::unsigned_abs).map_err(failed);
    let id = text("id")?;
    let entry = format!("network {id}");
    let stored: Stored = parse(&entry, serde_json::from_str(&text("spec")?))?;
    if stored.format != FORMAT {
        let source = std::io::Error::other(format!("its format is {}", stored.format));
        return Err(LedgerError::BadEntry { entry, source: Box::new(source) });
    }
    // What is for the table's columns to say, they say.
    let name = parse(&entry, serde_json::from_value(serde_json::Value::String(text("name")?)))?;
    let mut spec = stored.spec;
    spec.name = name;
    Ok(KnownNetwork {
        id: parse(&entry, id.parse())?,
        number: row.get("number").map_err(failed)?,
        generation: number("generation")?,
        spec,
        created_at: Timestamp(number("created_at")?),
    })
}
