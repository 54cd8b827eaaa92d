//! Instances in the ledger.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use berth_domain::interface::InterfaceSpec;
use berth_domain::{
    Desired, Digest, ExitRecord, InstanceId, InstanceSpec, NetworkId, PortSpec, Timestamp, UidRange,
    VolumeId, Wanted, interface as domain,
};
use rusqlite::{Row, Transaction, params};
use serde::{Deserialize, Serialize};

use super::address::{self, IDS};
use super::interface::{self, Interface, Refused, WantedInterface};
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
    /// Which network each interface means, by the interface's name; those of the spec that says nothing are not among
    /// them.
    #[serde(default)]
    pub networks: BTreeMap<String, NetworkId>,
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
    /// Its interfaces by name.
    pub interfaces: BTreeMap<String, Interface>,
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
    /// Its interfaces by name.
    pub interfaces: BTreeMap<String, WantedInterface>,
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
    /// Not what an interface asks for.
    Refused(Refused),
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

    /// The interface that the default route leads through.
    #[must_use]
    pub fn default_interface(&self) -> Option<&Interface> {
        let interfaces = self.current.spec.interfaces();
        self.interfaces.get(domain::default_route(&interfaces)?)
    }

    /// Where ports lead: its address on the way of the default route, or else its first, on a network of the agent's.
    #[must_use]
    pub fn ipv4(&self) -> Option<Ipv4Addr> {
        self.of_the_agent(|interface| interface.ipv4, |spec| spec.ipv4_prefix)
    }

    /// Likewise of IPv6: ports of it lead there.
    #[must_use]
    pub fn ipv6(&self) -> Option<Ipv6Addr> {
        self.of_the_agent(|interface| interface.ipv6, |spec| spec.ipv6_prefix)
    }

    /// An address with a prefix of its own is on a network of the host's: no port leads there.
    fn of_the_agent<T>(
        &self,
        address: impl Fn(&Interface) -> Option<T>,
        prefix: impl Fn(&InterfaceSpec) -> Option<u8>,
    ) -> Option<T> {
        let specs = self.current.spec.interfaces();
        let own = |name: &str| {
            let foreign = specs.get(name).is_some_and(|spec| prefix(spec).is_some());
            self.interfaces.get(name).filter(|_| !foreign).and_then(&address)
        };
        let default = domain::default_route(&specs).and_then(own);
        default.or_else(|| self.interfaces.keys().find_map(|name| own(name)))
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

    /// The network of each interface; `default` is that of those which the spec says nothing of.
    #[must_use]
    pub fn networks(&self, default: NetworkId) -> BTreeMap<String, NetworkId> {
        match &self.spec.networks {
            Some(_) => self.networks.clone(),
            None => BTreeMap::from([(domain::DEFAULT_INTERFACE.to_owned(), default)]),
        }
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
            let mut interfaces = interface::all(transaction)?;
            let sql = "SELECT * FROM instance ORDER BY name";
            let mut query = transaction.prepare_cached(sql).map_err(failed)?;
            let rows = query.query_map([], |row| Ok(read(row))).map_err(failed)?;
            let mut records = Vec::new();
            for row in rows {
                let record = row.map_err(failed)??;
                let interfaces = interfaces.remove(&record.id.to_string()).unwrap_or_default();
                records.push(Record { interfaces, ..record });
            }
            Ok(records)
        })
        .await
    }

    /// Writes a new instance, and gives it its ids and its address.
    pub(crate) async fn insert_instance(&self, new: NewInstance) -> Result<Inserted, LedgerError> {
        self.call("write a new instance", move |transaction| {
            let Some(uid_base) = address::free_uid_base(transaction, new.uid_base, new.uid_count)? else {
                return Ok(Inserted::NoUids);
            };
            let record = Record {
                id: new.id,
                phase: Phase::Creating,
                generation: new.version.revision,
                current: new.version.clone(),
                previous: None,
                uids: UidRange { base: uid_base, count: IDS },
                interfaces: BTreeMap::new(),
                failure: None,
                restarts: 0,
                created_at: Timestamp::now(),
                started_at: None,
            };
            // Addresses refer to the instance, so the instance is written first, and taken back where they cannot be
            // given: those that it was given wait for the next of its name.
            write(transaction, &record)?;
            match interface::bind(transaction, new.id, record.name(), &new.interfaces)? {
                Ok(interfaces) => Ok(Inserted::Record(Box::new(Record { interfaces, ..record }))),
                Err(refused) => {
                    delete(transaction, new.id)?;
                    Ok(Inserted::Refused(refused))
                }
            }
        })
        .await
    }

    /// The interfaces that an instance has now.
    pub(crate) async fn interfaces(
        &self,
        id: InstanceId,
    ) -> Result<BTreeMap<String, Interface>, LedgerError> {
        self.call("read the interfaces", move |transaction| interface::of(transaction, id)).await
    }

    /// Writes what changed of an instance, and gives it exactly these interfaces; nothing is written where that cannot be.
    pub(crate) async fn save_with_interfaces(
        &self,
        record: Record,
        wanted: BTreeMap<String, WantedInterface>,
    ) -> Result<Result<BTreeMap<String, Interface>, Refused>, LedgerError> {
        let saved = self.try_call("write an instance", move |transaction| {
            address::rename(transaction, record.id, record.name())?;
            match interface::bind(transaction, record.id, record.name(), &wanted)? {
                Ok(interfaces) => {
                    write(transaction, &record)?;
                    Ok(Ok(interfaces))
                }
                refused => Ok(refused),
            }
        });
        saved.await
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
    let started_at: Option<i64> = row.get("started_at").map_err(failed)?;
    Ok(Record {
        id: parse(&entry, id.parse())?,
        phase,
        generation: number("generation")?,
        current: Version::from_json(&entry, &text("current")?)?,
        previous: previous.map(|text| Version::from_json(&entry, &text)).transpose()?,
        uids: UidRange { base: row.get("uid_base").map_err(failed)?, count: IDS },
        interfaces: BTreeMap::new(),
        failure: row.get("failure").map_err(failed)?,
        restarts: row.get("restarts").map_err(failed)?,
        created_at: Timestamp(number("created_at")?),
        started_at: started_at.map(|millis| Timestamp(millis.unsigned_abs())),
    })
}
