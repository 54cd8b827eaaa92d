//! Interfaces: which address and hardware address each has on its network. They wait for the next interface of that name of
//! an instance of that name.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use berth_domain::{InstanceId, KnownNetwork, MacAddress, NetworkId, Timestamp};
use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::address::free6;
use super::{LedgerError, failed, parse};

/// An interface of an instance, as the ledger has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// The network.
    pub network: NetworkId,
    /// Its address; on a network whose addresses are not the agent's to give, a fixed one or none.
    pub ipv4: Option<Ipv4Addr>,
    /// Its IPv6 address, where the network has such, or a fixed one.
    pub ipv6: Option<Ipv6Addr>,
    /// Its hardware address.
    pub mac: MacAddress,
    /// What marks it on the host: no other interface of the instance has it.
    pub slot: u8,
}

impl Interface {
    /// Its addresses of both families.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        self.ipv4.map(IpAddr::V4).into_iter().chain(self.ipv6.map(IpAddr::V6))
    }
}

/// What is wanted of an interface.
#[derive(Debug, Clone)]
pub struct WantedInterface {
    /// The network.
    pub network: KnownNetwork,
    /// `None`: the one it had, or one that is chosen.
    pub ipv4: Option<Ipv4Addr>,
    /// `None`: the one it had, or one that is chosen, where the network has IPv6.
    pub ipv6: Option<Ipv6Addr>,
    /// `None`: the one it had, or one that is chosen.
    pub mac: Option<MacAddress>,
    /// What the network's DHCP server has given to others.
    pub leased: BTreeMap<Ipv4Addr, MacAddress>,
}

/// What an interface could not be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The interface.
    pub interface: String,
    /// What it could not be given.
    pub what: Missing,
}

/// What could not be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// The network has no address left.
    Address,
    /// The address is another instance's.
    Taken {
        /// `ipv4_address`, `ipv6_address` or `mac`.
        argument: &'static str,
        /// Its name.
        holder: String,
    },
    /// The IPv4 address is leased.
    Leased {
        /// To whom.
        mac: MacAddress,
    },
}

/// All interfaces that instances have now.
pub(super) fn all(
    transaction: &Transaction<'_>,
) -> Result<BTreeMap<String, BTreeMap<String, Interface>>, LedgerError> {
    let failed = failed("read the interfaces");
    let sql = "SELECT * FROM address WHERE instance IS NOT NULL";
    let mut query = transaction.prepare_cached(sql).map_err(failed)?;
    let rows = query.query_map([], |row| Ok((row.get::<_, String>("instance")?, read(row))));
    let mut found: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    for row in rows.map_err(failed)? {
        let (instance, read) = row.map_err(failed)?;
        let (name, interface) = read?;
        found.entry(instance).or_default().insert(name, interface);
    }
    Ok(found)
}

/// The interfaces that an instance has now.
pub(super) fn of(
    transaction: &Transaction<'_>,
    instance: InstanceId,
) -> Result<BTreeMap<String, Interface>, LedgerError> {
    let failed = failed("read the interfaces");
    let sql = "SELECT * FROM address WHERE instance = ?1";
    let mut query = transaction.prepare_cached(sql).map_err(failed)?;
    let rows = query.query_map([instance.to_string()], |row| Ok(read(row))).map_err(failed)?;
    rows.map(|row| row.map_err(failed).and_then(|row| row)).collect()
}

fn read(row: &Row<'_>) -> Result<(String, Interface), LedgerError> {
    let failed = failed("read an interface");
    let text = |column| row.get::<_, String>(column).map_err(failed);
    let (name, mac) = (text("interface")?, text("mac")?);
    let entry = format!("address {mac}");
    let ipv4: Option<String> = row.get("ipv4").map_err(failed)?;
    let ipv6: Option<String> = row.get("ipv6").map_err(failed)?;
    let interface = Interface {
        network: parse(&entry, text("network")?.parse())?,
        ipv4: ipv4.map(|text| parse(&entry, text.parse())).transpose()?,
        ipv6: ipv6.map(|text| parse(&entry, text.parse())).transpose()?,
        mac: parse(&entry, mac.parse::<MacAddress>().map_err(berth_domain::Invalids::from))?,
        slot: row.get("slot").map_err(failed)?,
    };
    Ok((name, interface))
}

/// Gives an instance exactly these interfaces: what it has stays, what it had it gets again. With a refusal, nothing may
/// be kept of what was done.
pub(super) fn bind(
    transaction: &Transaction<'_>,
    instance: InstanceId,
    name: &str,
    wanted: &BTreeMap<String, WantedInterface>,
) -> Result<Result<BTreeMap<String, Interface>, Refused>, LedgerError> {
    let had = of(transaction, instance)?;
    for (interface, old) in &had {
        if wanted.get(interface).is_none_or(|wanted| wanted.network.id != old.network) {
            let sql =
                "UPDATE address SET instance = NULL, released_at = ?3 WHERE instance = ?1 AND interface = ?2";
            let now = i64::try_from(Timestamp::now().0).unwrap_or(i64::MAX);
            let row = params![instance.to_string(), interface, now];
            transaction.execute(sql, row).map_err(failed("release an address"))?;
        }
    }
    let kept = had.iter().filter(|(interface, old)| {
        wanted.get(*interface).is_some_and(|wanted| wanted.network.id == old.network)
    });
    let mut slots: HashSet<u8> = kept.map(|(_, old)| old.slot).collect();
    for (interface, wanted) in wanted {
        let one = One { transaction, instance, name, interface, wanted };
        let old = had.get(interface).filter(|old| old.network == wanted.network.id);
        let slot = old.map(|old| old.slot).or_else(|| (0..).find(|slot| !slots.contains(slot)));
        let slot = slot.unwrap_or_default();
        slots.insert(slot);
        if let Err(what) = one.hold(slot, old.and_then(|old| old.ipv4))? {
            return Ok(Err(Refused { interface: interface.clone(), what }));
        }
    }
    of(transaction, instance).map(Ok)
}

/// One interface that is to be held.
struct One<'a> {
    transaction: &'a Transaction<'a>,
    instance: InstanceId,
    name: &'a str,
    interface: &'a str,
    wanted: &'a WantedInterface,
}

impl One<'_> {
    /// `now` is the address that the instance has.
    fn hold(&self, slot: u8, now: Option<Ipv4Addr>) -> Result<Result<(), Missing>, LedgerError> {
        let before = self.before()?;
        let mac = self.wanted.mac.or(before.as_ref().map(|had| had.mac));
        let mac = mac.unwrap_or_else(|| MacAddress::of_interface(self.instance, slot));
        if let Some(holder) =
            self.wanted.mac.map(|mac| self.holder("mac", &mac.to_string())).transpose()?.flatten()
        {
            return Ok(Err(Missing::Taken { argument: "mac", holder }));
        }
        let subnet = self.wanted.network.spec.ipv4_subnet;
        let ipv4 = match (self.wanted.ipv4, subnet) {
            (None, None) => None,
            (Some(wanted), _) => {
                if let Some(holder) = self.holder("ipv4", &wanted.to_string())? {
                    return Ok(Err(Missing::Taken { argument: "ipv4_address", holder }));
                }
                match self.leased(&wanted, mac).filter(|_| now != Some(wanted)) {
                    Some(mac) => return Ok(Err(Missing::Leased { mac })),
                    None => Some(wanted),
                }
            }
            (None, Some(subnet)) => {
                let others = |ipv4: &Ipv4Addr| now != Some(*ipv4) && self.leased(ipv4, mac).is_some();
                let fits = |ipv4: &Ipv4Addr| subnet.contains(ipv4) && !others(ipv4);
                let had = before.as_ref().and_then(|had| had.ipv4).filter(fits);
                match had.map_or_else(|| self.choose(), |had| Ok(Some(had)))? {
                    Some(ipv4) => Some(ipv4),
                    None => return Ok(Err(Missing::Address)),
                }
            }
        };
        let ipv6 = match self.ipv6(before.and_then(|had| had.ipv6), ipv4)? {
            Ok(ipv6) => ipv6,
            Err(missing) => return Ok(Err(missing)),
        };
        self.write(ipv4, ipv6, mac, slot)?;
        Ok(Ok(()))
    }

    fn ipv6(
        &self,
        had: Option<Ipv6Addr>,
        ipv4: Option<Ipv4Addr>,
    ) -> Result<Result<Option<Ipv6Addr>, Missing>, LedgerError> {
        let spec = &self.wanted.network.spec;
        if let Some(wanted) = self.wanted.ipv6 {
            return Ok(match self.holder("ipv6", &wanted.to_string())? {
                Some(holder) => Err(Missing::Taken { argument: "ipv6_address", holder }),
                None => Ok(Some(wanted)),
            });
        }
        let Some(subnet) = spec.ipv6_subnet else { return Ok(Ok(None)) };
        if let Some(had) = had.filter(|had| subnet.contains(had)) {
            return Ok(Ok(Some(had)));
        }
        let failed = failed("read the addresses");
        let sql = "SELECT ipv6 FROM address WHERE network = ?1 AND ipv6 IS NOT NULL";
        let mut query = self.transaction.prepare_cached(sql).map_err(failed)?;
        let id = self.wanted.network.id.to_string();
        let rows = query.query_map([id], |row| row.get::<_, String>(0)).map_err(failed)?;
        let taken = rows.collect::<rusqlite::Result<Vec<String>>>().map_err(failed)?;
        let taken = taken.iter().filter_map(|text| text.parse().ok()).collect();
        Ok(free6(spec, ipv4, &taken).map(Some).ok_or(Missing::Address))
    }

    /// What it has, or had.
    fn before(&self) -> Result<Option<Interface>, LedgerError> {
        let sql = "SELECT * FROM address WHERE network = ?1 AND name = ?2 AND interface = ?3";
        let row = params![self.wanted.network.id.to_string(), self.name, self.interface];
        let found = self.transaction.query_row(sql, row, |row| Ok(read(row))).optional();
        let found = found.map_err(failed("read an interface"))?.transpose()?;
        Ok(found.map(|(_, interface)| interface))
    }

    /// Which other interface on the network has this now. One that only waits for its instance gives it up.
    fn holder(&self, column: &str, value: &str) -> Result<Option<String>, LedgerError> {
        let failed = failed("look for an address");
        let network = self.wanted.network.id.to_string();
        let other = format!("network = ?1 AND {column} = ?2 AND NOT (name = ?3 AND interface = ?4)");
        let row = params![network, value, self.name, self.interface];
        let sql = format!("SELECT name FROM address WHERE {other} AND instance IS NOT NULL");
        let holder = self.transaction.query_row(&sql, row, |row| row.get(0)).optional().map_err(failed)?;
        if holder.is_none() {
            self.transaction.execute(&format!("DELETE FROM address WHERE {other}"), row).map_err(failed)?;
        }
        Ok(holder)
    }

    /// Who else has a lease of an address.
    fn leased(&self, address: &Ipv4Addr, own: MacAddress) -> Option<MacAddress> {
        self.wanted.leased.get(address).copied().filter(|mac| *mac != own)
    }

    /// The lowest free address that the network's DHCP server does not give, else one that it has not given, else the one
    /// that was released longest ago.
    fn choose(&self) -> Result<Option<Ipv4Addr>, LedgerError> {
        let failed = failed("read the addresses");
        let network = self.wanted.network.id.to_string();
        let sql = "SELECT ipv4 FROM address WHERE network = ?1 AND ipv4 IS NOT NULL";
        let mut query = self.transaction.prepare_cached(sql).map_err(failed)?;
        let rows = query.query_map([&network], |row| row.get::<_, String>(0)).map_err(failed)?;
        let taken = rows.collect::<rusqlite::Result<HashSet<String>>>().map_err(failed)?;
        let spec = &self.wanted.network.spec;
        let gateway = spec.ipv4_gateway();
        let leased = &self.wanted.leased;
        let free = |host: &Ipv4Addr| {
            Some(*host) != gateway && !leased.contains_key(host) && !taken.contains(&host.to_string())
        };
        let range = spec.dhcp_range();
        let own = |host: &Ipv4Addr| range.is_none_or(|range| !range.contains(host)) && free(host);
        let lowest = spec
            .ipv4_subnet
            .and_then(|subnet| subnet.hosts().find(own).or_else(|| subnet.hosts().find(free)));
        if lowest.is_some() {
            return Ok(lowest);
        }
        let sql = "SELECT ipv4 FROM address WHERE network = ?1 AND instance IS NULL AND ipv4 IS NOT NULL
                   ORDER BY released_at LIMIT 1";
        let oldest = self.transaction.query_row(sql, [&network], |row| row.get::<_, String>(0)).optional();
        let Some(text) = oldest.map_err(failed)? else { return Ok(None) };
        let sql = "DELETE FROM address WHERE network = ?1 AND ipv4 = ?2";
        self.transaction.execute(sql, params![network, text]).map_err(failed)?;
        parse("address", text.parse()).map(Some)
    }

    fn write(
        &self,
        ipv4: Option<Ipv4Addr>,
        ipv6: Option<Ipv6Addr>,
        mac: MacAddress,
        slot: u8,
    ) -> Result<(), LedgerError> {
        let sql = "INSERT INTO address (network, name, interface, ipv4, mac, slot, instance, released_at, ipv6)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, NULL, ?8)
                   ON CONFLICT (network, name, interface) DO UPDATE SET ipv4 = ?4, mac = ?5, slot = ?6, instance = ?7,
                       released_at = NULL, ipv6 = ?8";
        let row = params![
            self.wanted.network.id.to_string(),
            self.name,
            self.interface,
            ipv4.map(|ipv4| ipv4.to_string()),
            mac.to_string(),
            slot,
            self.instance.to_string(),
            ipv6.map(|ipv6| ipv6.to_string()),
        ];
        self.transaction.execute(sql, row).map_err(failed("write an address"))?;
        Ok(())
    }
}
