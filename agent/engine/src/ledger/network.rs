//! Networks in the ledger.

use berth_domain::{Name, NetworkKind, NetworkSpec};
use rusqlite::{Row, params};

use super::{Ledger, LedgerError, failed, parse};

impl Ledger {
    /// All networks, by name.
    pub(crate) async fn networks(&self) -> Result<Vec<NetworkSpec>, LedgerError> {
        self.call("read the networks", |transaction| {
            let failed = failed("read the networks");
            let mut query =
                transaction.prepare_cached("SELECT * FROM network ORDER BY name").map_err(failed)?;
            let rows = query.query_map([], |row| Ok(read(row))).map_err(failed)?;
            rows.map(|row| row.map_err(failed).and_then(|row| row)).collect()
        })
        .await
    }

    /// Writes a new network.
    pub(crate) async fn insert_network(&self, network: NetworkSpec) -> Result<(), LedgerError> {
        self.call("write a network", move |transaction| {
            let sql = "INSERT INTO network (id, name, kind, ipv4_subnet) VALUES (?1, ?2, ?3, ?4)";
            let row = params![
                network.id.to_string(),
                network.name.as_str(),
                network.kind.as_str(),
                network.ipv4_subnet.to_string()
            ];
            transaction.execute(sql, row).map_err(failed("write a network"))?;
            Ok(())
        })
        .await
    }
}

fn read(row: &Row<'_>) -> Result<NetworkSpec, LedgerError> {
    let failed = failed("read a network");
    let text = |column| row.get::<_, String>(column).map_err(failed);
    let id = text("id")?;
    let entry = format!("network {id}");
    let json = |text: String| serde_json::Value::String(text);
    let kind: NetworkKind = parse(&entry, serde_json::from_value(json(text("kind")?)))?;
    let name: Name = parse(&entry, serde_json::from_value(json(text("name")?)))?;
    Ok(NetworkSpec {
        id: parse(&entry, id.parse())?,
        name,
        kind,
        ipv4_subnet: parse(&entry, text("ipv4_subnet")?.parse())?,
    })
}
