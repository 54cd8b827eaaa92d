//! Instances in the ledger.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use berth_domain::{
    Desired, Digest, ExitRecord, InstanceId, InstanceSpec, KnownNetwork, MacAddress, PortSpec, Timestamp,
    UidRange, VolumeId, Wanted,
};
use rusqlite::{Row, Transaction, params};
use serde::{Deserialize, Serialize};

use super::address::{self, IDS};
use super::{Ledger, LedgerError, failed, parse};
use crate::ports::network::PublishedPort;

/// What is under way with an instance.
///
/// ```text
/// Creating --> Settled <--> Updating
///     |           |            |
///     +-----------+--> Deleting
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Asked for, and not brought up yet.
    Creating,
    /// Nothing.
    Settled,
    /// A change is being brought up; the version before it is kept.
    Updating,
    /// It is on its way out.
    Deleting,
}

impl Phase {
    fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Settled => "settled",
            Self::Updating => "updating",
            Self::Deleting => "deleting",
        }
    }

    fn read(text: &str) -> Option<Self> {
        [Self::Creating, Self::Settled, Self::Updating, Self::Deleting]
            .into_iter()
            .find(|p| p.as_str() == text)
    }
}

/// One version of an instance: what was asked for, with what was chosen for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// What was asked for.
    pub spec: InstanceSpec,
    /// The generation at which its workload was last asked to start anew.
    pub revision: u64,
    /// Which root filesystem.
    pub rootfs: u32,
    /// What it is made from.
    pub image: Digest,
    /// As it was written when it was resolved.
    pub image_reference: String,
    /// The host's port of each published port, given or chosen.
    pub host_ports: BTreeMap<String, u16>,
    /// Which volume each mount of one means, by the mount's name.
    #[serde(default)]
    pub volumes: BTreeMap<String, VolumeId>,
    /// What was written last into its root filesystem, by path: the fingerprint of each file.
    #[serde(default)]
    pub written: BTreeMap<String, String>,
    /// How the workload of this revision ended for good.
    pub exit: Option<ExitRecord>,
}

/// The format of a version in JSON, for the day when it needs another.
#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    version: Version,
}

const FORMAT: u32 = 1;

/// An instance, as the ledger has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its id.
    pub id: InstanceId,
    /// What is under way.
    pub phase: Phase,
    /// Counts everything that was asked for.
    pub generation: u64,
    /// What is wanted.
    pub current: Version,
    /// What was before, while `Updating`.
    pub previous: Option<Version>,
    /// Its ids.
    pub uids: UidRange,
    /// Its address on the default network.
    pub ipv4: Ipv4Addr,
    /// Its hardware address there.
    pub mac: MacAddress,
    /// Why it could not be brought up, the last time that was tried.
    pub failure: Option<String>,
    /// How often it was started again.
    pub restarts: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was started last.
    pub started_at: Option<Timestamp>,
}

/// What a new instance is made of.
#[derive(Debug, Clone)]
pub struct NewInstance {
    /// Its id.
    pub id: InstanceId,
    /// What is wanted.
    pub version: Version,
    /// Where it gets its address.
    pub network: KnownNetwork,
    /// Where its ids are from.
    pub uid_base: u32,
    /// How many there are for all instances.
    pub uid_count: u32,
}

/// What was left to give to a new instance.
#[derive(Debug)]
pub enum Inserted {
    /// All it needs.
    Record(Box<Record>),
    /// No id range.
    NoUids,
    /// No address.
    NoAddress,
}

impl Record {
    /// The ledger's side of a plan.
    #[must_use]
    pub fn desired(&self) -> Desired {
        let wanted = match self.phase {
            Phase::Deleting => Wanted::Absent,
            _ if self.current.spec.running => Wanted::Running,
            _ => Wanted::Stopped,
        };
        Desired {
            wanted,
            generation: self.generation,
            revision: self.current.revision,
            ended: self.current.exit.is_some(),
            rootfs: self.current.rootfs,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.current.spec.name.as_str()
    }
}

impl Version {
    /// The spec's ports with the host ports chosen.
    #[must_use]
    pub fn ports(&self) -> BTreeMap<String, PortSpec> {
        let chosen = |(name, port): (&String, &PortSpec)| {
            let host_port = self.host_ports.get(name).copied().or(port.host_port);
            (name.clone(), PortSpec { host_port, ..*port })
        };
        self.spec.ports.iter().map(chosen).collect()
    }

    /// The ports as the network publishes them.
    #[must_use]
    pub fn published(&self) -> Vec<PublishedPort> {
        let ports = self.ports().into_iter().filter_map(|(name, port)| {
            Some(PublishedPort {
                name,
                host_address: port.host_address,
                host_port: port.host_port?,
                container_port: port.container_port,
                protocol: port.protocol,
            })
        });
        ports.collect()
    }

    fn to_json(&self) -> Result<String, LedgerError> {
        let stored = Stored { format: FORMAT, version: self.clone() };
        parse("instance", serde_json::to_string(&stored))
    }

    fn from_json(entry: &str, text: &str) -> Result<Self, LedgerError> {
        let stored: Stored = parse(entry, serde_json::from_str(text))?;
        if stored.format == FORMAT {
            return Ok(stored.version);
        }
        let source = std::io::Error::other(format!("its format is {}", stored.format));
        Err(LedgerError::BadEntry { entry: entry.to_owned(), source: Box::new(source) })
    }
}

impl Ledger {
    /// All instances, by name.
    pub(crate) async fn instances(&self) -> Result<Vec<Record>, LedgerError> {
        self.call("read the instances", |transaction| {
            let failed = failed("read the instances");
            let sql = "SELECT instance.*, ipv4, mac FROM instance
                       JOIN address ON address.instance = instance.id ORDER BY instance.name";
            let mut query = transaction.prepare_cached(sql).map_err(failed)?;
            let rows = query.query_map([], |row| Ok(read(row))).map_err(failed)?;
            rows.map(|row| row.map_err(failed).and_then(|row| row)).collect()
        })
        .await
    }

    /// Writes a new instance, and gives it its ids and its address.
    pub(crate) async fn insert_instance(&self, new: NewInstance) -> Result<Inserted, LedgerError> {
        self.call("write a new instance", move |transaction| {
            let Some(uid_base) = address::free_uid_base(transaction, new.uid_base, new.uid_count)? else {
                return Ok(Inserted::NoUids);
            };
            let record = |ipv4, mac| Record {
                id: new.id,
                phase: Phase::Creating,
                generation: new.version.revision,
                current: new.version.clone(),
                previous: None,
                uids: UidRange { base: uid_base, count: IDS },
                ipv4,
                mac,
                failure: None,
                restarts: 0,
                created_at: Timestamp::now(),
                started_at: None,
            };
            // The address refers to the instance, so the instance is written first, and taken back by the
            // transaction's end where no address is left.
            write(transaction, &record(Ipv4Addr::UNSPECIFIED, MacAddress::of_instance(new.id)))?;
            match address::give(transaction, &new.network, new.version.spec.name.as_str(), new.id)? {
                Some((ipv4, mac)) => Ok(Inserted::Record(Box::new(record(ipv4, mac)))),
                None => {
                    delete(transaction, new.id)?;
                    Ok(Inserted::NoAddress)
                }
            }
        })
        .await
    }

    /// The address that an instance has now.
    pub(crate) async fn address(
        &self,
        id: InstanceId,
    ) -> Result<Option<(Ipv4Addr, MacAddress)>, LedgerError> {
        self.call("read an address", move |transaction| address::of(transaction, id)).await
    }

    /// Writes what changed of an instance.
    pub(crate) async fn save_instance(&self, record: Record) -> Result<(), LedgerError> {
        self.call("write an instance", move |transaction| {
            address::rename(transaction, record.id, record.name())?;
            write(transaction, &record)
        })
        .await
    }

    /// Forgets an instance; its address waits for the next of its name.
    pub(crate) async fn delete_instance(&self, id: InstanceId) -> Result<(), LedgerError> {
        self.call("delete an instance", move |transaction| delete(transaction, id)).await
    }
}

fn delete(transaction: &Transaction<'_>, id: InstanceId) -> Result<(), LedgerError> {
    address::release(transaction, id)?;
    let deleted = transaction.execute("DELETE FROM instance WHERE id = ?1", [id.to_string()]);
    deleted.map_err(failed("delete an instance"))?;
    Ok(())
}

fn write(transaction: &Transaction<'_>, record: &Record) -> Result<(), LedgerError> {
    let sql = "INSERT INTO instance (id, name, phase, generation, current, previous, image, previous_image, uid_base,
                   failure, restarts, created_at, started_at)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
               ON CONFLICT (id) DO UPDATE SET name = ?2, phase = ?3, generation = ?4, current = ?5, previous = ?6,
                   image = ?7, previous_image = ?8, failure = ?10, restarts = ?11, started_at = ?13";
    let millis = |time: Timestamp| i64::try_from(time.0).unwrap_or(i64::MAX);
    let row = params![
        record.id.to_string(),
        record.name(),
        record.phase.as_str(),
        i64::try_from(record.generation).unwrap_or(i64::MAX),
        record.current.to_json()?,
        record.previous.as_ref().map(Version::to_json).transpose()?,
        record.current.image.as_str(),
        record.previous.as_ref().map(|previous| previous.image.as_str()),
        record.uids.base,
        record.failure,
        record.restarts,
        millis(record.created_at),
        record.started_at.map(millis),
    ];
    transaction.execute(sql, row).map_err(failed("write an instance"))?;
    Ok(())
}

fn read(row: &Row<'_>) -> Result<Record, LedgerError> {
    let failed = failed("read an instance");
    let text = |column| row.get::<_, String>(column).map_err(failed);
    let number = |column| row.get::<_, i64>(column).map(i64::unsigned_abs).map_err(failed);
    let id = text("id")?;
    let entry = format!("instance {id}");
    let phase = text("phase")?;
    let phase = Phase::read(&phase).ok_or_else(|| LedgerError::BadEntry {
        entry: entry.clone(),
        source: Box::new(std::io::Error::other(format!("\"{phase}\" is no phase"))),
    })?;
    let previous: Option<String> = row.get("previous").map_err(failed)?;
    let mac = text("mac")?.parse::<MacAddress>().map_err(berth_domain::Invalids::from);
    let started_at: Option<i64> = row.get("started_at").map_err(failed)?;
    Ok(Record {
        id: parse(&entry, id.parse())?,
        phase,
        generation: number("generation")?,
        current: Version::from_json(&entry, &text("current")?)?,
        previous: previous.map(|text| Version::from_json(&entry, &text)).transpose()?,
        uids: UidRange { base: row.get("uid_base").map_err(failed)?, count: IDS },
        ipv4: parse(&entry, text("ipv4")?.parse())?,
        mac: parse(&entry, mac)?,
        failure: row.get("failure").map_err(failed)?,
        restarts: row.get("restarts").map_err(failed)?,
        created_at: Timestamp(number("created_at")?),
        started_at: started_at.map(|millis| Timestamp(millis.unsigned_abs())),
    })
}
