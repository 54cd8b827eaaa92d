//! Pins in the ledger, and who uses which image.

use std::collections::BTreeSet;

use berth_domain::{Digest, PinId, Platform};
use rusqlite::{Row, params};

use super::{Ledger, LedgerError, failed, parse};

/// Something that keeps an image in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// Its id.
    pub id: PinId,
    /// As it was written.
    pub reference: String,
    /// What it runs on.
    pub platform: Platform,
    /// `host/repository@digest`.
    pub reference_resolved: String,
    /// What the tag pointed at.
    pub index_digest: Digest,
    /// What it pins.
    pub image_digest: Digest,
    /// The first removal only takes this mark away.
    pub keep_on_destroy: bool,
}

impl Ledger {
    /// All pins, by reference.
    pub(crate) async fn pins(&self) -> Result<Vec<Pin>, LedgerError> {
        self.call("read the pins", |transaction| {
            let failed = failed("read the pins");
            let sql = "SELECT * FROM pin ORDER BY reference, platform, id";
            let mut query = transaction.prepare_cached(sql).map_err(failed)?;
            let rows = query.query_map([], |row| Ok(read(row))).map_err(failed)?;
            rows.map(|row| row.map_err(failed).and_then(|row| row)).collect()
        })
        .await
    }

    /// Writes a pin, new or moved.
    pub(crate) async fn save_pin(&self, pin: Pin) -> Result<(), LedgerError> {
        self.call("write a pin", move |transaction| {
            let sql =
                "INSERT INTO pin (id, reference, platform, reference_resolved, index_digest, image_digest,
                           keep_on_destroy)
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                       ON CONFLICT (id) DO UPDATE SET reference = ?2, platform = ?3, reference_resolved = ?4,
                           index_digest = ?5, image_digest = ?6, keep_on_destroy = ?7";
            let row = params![
                pin.id.to_string(),
                pin.reference,
                pin.platform.as_str(),
                pin.reference_resolved,
                pin.index_digest.as_str(),
                pin.image_digest.as_str(),
                pin.keep_on_destroy,
            ];
            transaction.execute(sql, row).map_err(failed("write a pin"))?;
            Ok(())
        })
        .await
    }

    /// Forgets a pin.
    pub(crate) async fn delete_pin(&self, id: PinId) -> Result<(), LedgerError> {
        self.call("delete a pin", move |transaction| {
            let deleted = transaction.execute("DELETE FROM pin WHERE id = ?1", [id.to_string()]);
            deleted.map_err(failed("delete a pin"))?;
            Ok(())
        })
        .await
    }

    /// Every image that a pin pins or an instance uses, or may go back to.
    pub(crate) async fn images_in_use(&self) -> Result<BTreeSet<Digest>, LedgerError> {
        self.call("read the use of images", |transaction| {
            let failed = failed("read the use of images");
            let sql = "SELECT image_digest FROM pin UNION SELECT image FROM instance
                       UNION SELECT previous_image FROM instance WHERE previous_image IS NOT NULL";
            let mut query = transaction.prepare_cached(sql).map_err(failed)?;
            let rows = query.query_map([], |row| row.get::<_, String>(0)).map_err(failed)?;
            rows.map(|row| parse("use of an image", row.map_err(failed)?.parse())).collect()
        })
        .await
    }
}

fn read(row: &Row<'_>) -> Result<Pin, LedgerError> {
    let failed = failed("read a pin");
    let text = |column| row.get::<_, String>(column).map_err(failed);
    let id = text("id")?;
    let entry = format!("pin {id}");
    Ok(Pin {
        id: parse(&entry, id.parse())?,
        reference: text("reference")?,
        platform: Platform::new(&text("platform")?).map_err(|invalid| bad(&entry, invalid))?,
        reference_resolved: text("reference_resolved")?,
        index_digest: parse(&entry, text("index_digest")?.parse())?,
        image_digest: parse(&entry, text("image_digest")?.parse())?,
        keep_on_destroy: row.get("keep_on_destroy").map_err(failed)?,
    })
}

fn bad(entry: &str, invalid: berth_domain::Invalid) -> LedgerError {
    let source: berth_domain::Invalids = invalid.into();
    LedgerError::BadEntry { entry: entry.to_owned(), source: Box::new(source) }
}
