//! Volumes in the ledger.

use std::collections::BTreeMap;

use berth_domain::{Timestamp, VolumeDraft, VolumeId, VolumeOwner, VolumeSpec};
use rusqlite::{Row, params};

use super::{Ledger, LedgerError, failed, parse};

/// A volume, as the ledger has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its id.
    pub id: VolumeId,
    /// What is wanted.
    pub spec: VolumeSpec,
    /// When it was made.
    pub created_at: Timestamp,
    /// The instance that it follows, if it does.
    pub owner: Option<VolumeOwner>,
    /// It is on its way out.
    pub deleting: bool,
}

impl Ledger {
    /// All volumes, by name.
    pub(crate) async fn volumes(&self) -> Result<Vec<Volume>, LedgerError> {
        self.call("read the volumes", |transaction| {
            let failed = failed("read the volumes");
            let mut query =
                transaction.prepare_cached("SELECT * FROM volume ORDER BY name").map_err(failed)?;
            let rows = query.query_map([], |row| Ok(read(row))).map_err(failed)?;
            rows.map(|row| row.map_err(failed).and_then(|row| row)).collect()
        })
        .await
    }

    /// Writes a volume, new or changed.
    pub(crate) async fn save_volume(&self, volume: Volume) -> Result<(), LedgerError> {
        self.call("write a volume", move |transaction| {
            let Volume { id, spec, created_at, owner, deleting } = volume;
            let labels = parse("volume", serde_json::to_string(&spec.labels))?;
            let sql = "INSERT INTO volume (id, name, labels, uid, gid, mode, created_at, instance, target, deleting, size)
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
                       ON CONFLICT (id) DO UPDATE SET name = ?2, labels = ?3, uid = ?4, gid = ?5, mode = ?6,
                           deleting = ?10, size = ?11";
            let row = params![
                id.to_string(),
                spec.name.as_str(),
                labels,
                spec.uid,
                spec.gid,
                spec.mode,
                i64::try_from(created_at.0).unwrap_or(i64::MAX),
                owner.as_ref().map(|owner| owner.instance.to_string()),
                owner.as_ref().map(|owner| owner.target.as_str()),
                deleting,
                spec.size.map(|size| i64::try_from(size).unwrap_or(i64::MAX)),
            ];
            transaction.execute(sql, row).map_err(failed("write a volume"))?;
            Ok(())
        })
        .await
    }

    /// Forgets a volume.
    pub(crate) async fn delete_volume(&self, id: VolumeId) -> Result<(), LedgerError> {
        self.call("delete a volume", move |transaction| {
            let deleted = transaction.execute("DELETE FROM volume WHERE id = ?1", [id.to_string()]);
            deleted.map_err(failed("delete a volume"))?;
            Ok(())
        })
        .await
    }
}

fn read(row: &Row<'_>) -> Result<Volume, LedgerError> {
    let failed = failed("read a volume");
    let text: String = row.get("id").map_err(failed)?;
    let entry = format!("volume {text}");
    let labels: String = row.get("labels").map_err(failed)?;
    let labels: BTreeMap<String, String> = parse(&entry, serde_json::from_str(&labels))?;
    let draft = VolumeDraft {
        name: row.get("name").map_err(failed)?,
        labels,
        uid: row.get("uid").map_err(failed)?,
        gid: row.get("gid").map_err(failed)?,
        mode: row.get("mode").map_err(failed)?,
        size: row.get::<_, Option<i64>>("size").map_err(failed)?.map(i64::unsigned_abs),
    };
    let instance: Option<String> = row.get("instance").map_err(failed)?;
    let target: Option<String> = row.get("target").map_err(failed)?;
    let owner = match instance.zip(target) {
        Some((instance, target)) => Some(VolumeOwner { instance: parse(&entry, instance.parse())?, target }),
        None => None,
    };
    Ok(Volume {
        id: parse(&entry, text.parse())?,
        spec: parse(&entry, draft.validate())?,
        created_at: Timestamp(row.get::<_, i64>("created_at").map_err(failed)?.unsigned_abs()),
        owner,
        deleting: row.get("deleting").map_err(failed)?,
    })
}
