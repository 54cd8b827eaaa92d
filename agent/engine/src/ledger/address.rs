//! Addresses and id ranges: given out once, kept as long as the instance is there, and given again to the next
//! instance of the same name.

use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use berth_domain::{InstanceId, KnownNetwork, NetworkKind, NetworkSpec, Timestamp};
use ipnet::Ipv4Net;
use rusqlite::{Transaction, params};

use super::{LedgerError, failed, parse};

/// Ids in a range.
pub(crate) const IDS: u32 = 65_536;

/// The lowest range that no instance has; `None` where all are given out.
pub(super) fn free_uid_base(
    transaction: &Transaction<'_>,
    base: u32,
    count: u32,
) -> Result<Option<u32>, LedgerError> {
    let failed = failed("choose an id range");
    let mut query = transaction.prepare_cached("SELECT uid_base FROM instance").map_err(failed)?;
    let rows = query.query_map([], |row| row.get::<_, u32>(0)).map_err(failed)?;
    let taken = rows.collect::<rusqlite::Result<HashSet<u32>>>().map_err(failed)?;
    let mut ranges =
        (0..count / IDS).filter_map(|n| n.checked_mul(IDS).and_then(|offset| base.checked_add(offset)));
    Ok(ranges.find(|range| !taken.contains(range)))
}

/// Marks an instance's addresses as released; the instance's row is about to go.
pub(super) fn release(transaction: &Transaction<'_>, instance: InstanceId) -> Result<(), LedgerError> {
    let sql = "UPDATE address SET instance = NULL, released_at = ?2 WHERE instance = ?1";
    let row = params![instance.to_string(), i64::try_from(Timestamp::now().0).unwrap_or(i64::MAX)];
    transaction.execute(sql, row).map_err(failed("release an address"))?;
    Ok(())
}

/// An instance's addresses follow its name.
pub(super) fn rename(
    transaction: &Transaction<'_>,
    instance: InstanceId,
    name: &str,
) -> Result<(), LedgerError> {
    let failed = failed("rename an address");
    let forget = "DELETE FROM address WHERE name = ?1 AND instance IS NULL
                  AND ?2 IN (SELECT instance FROM address WHERE name <> ?1)";
    transaction.execute(forget, params![name, instance.to_string()]).map_err(failed)?;
    let follow = "UPDATE address SET name = ?2 WHERE instance = ?1 AND name <> ?2";
    transaction.execute(follow, params![instance.to_string(), name]).map_err(failed)?;
    Ok(())
}

/// Gives everyone on a network an address of its subnet: the one at the same place in it where that is free. False where
/// the subnet has not enough of them.
pub(super) fn move_to(transaction: &Transaction<'_>, network: &KnownNetwork) -> Result<bool, LedgerError> {
    let Some(subnet) = network.spec.ipv4_subnet else { return Ok(true) };
    let failed = failed("move addresses");
    let id = network.id.to_string();
    let mut query = transaction
        .prepare_cached("SELECT ipv4, instance IS NOT NULL FROM address WHERE network = ?1 AND ipv4 IS NOT NULL ORDER BY instance IS NULL, ipv4")
        .map_err(failed)?;
    let rows = query.query_map([&id], |row| Ok((row.get::<_, String>(0)?, row.get::<_, bool>(1)?)));
    let rows = rows.map_err(failed)?.collect::<rusqlite::Result<Vec<_>>>().map_err(failed)?;
    let mut all = Vec::new();
    for (text, held) in rows {
        let address: Ipv4Addr = parse("address", text.parse())?;
        all.push((address, held));
    }
    let mut taken: HashSet<Ipv4Addr> =
        all.iter().map(|(address, _)| *address).filter(|address| subnet.contains(address)).collect();
    taken.extend(network.spec.ipv4_gateway());
    for (address, held) in all {
        if subnet.contains(&address) && Some(address) != network.spec.ipv4_gateway() {
            continue;
        }
        let free = |candidate: &Ipv4Addr| !taken.contains(candidate);
        let same = same_place(address, subnet).filter(free);
        match same.or_else(|| subnet.hosts().find(free)) {
            Some(next) => {
                taken.insert(next);
                let sql = "UPDATE address SET ipv4 = ?3 WHERE network = ?1 AND ipv4 = ?2";
                let row = params![id, address.to_string(), next.to_string()];
                transaction.execute(sql, row).map_err(failed)?;
            }
            None if held => return Ok(false),
            None => {
                let sql = "DELETE FROM address WHERE network = ?1 AND ipv4 = ?2";
                transaction.execute(sql, params![id, address.to_string()]).map_err(failed)?;
            }
        }
    }
    Ok(true)
}

/// Likewise of IPv6; on a network without it, nobody has an address of it.
pub(super) fn move_to6(transaction: &Transaction<'_>, network: &KnownNetwork) -> Result<bool, LedgerError> {
    let (failed, id) = (failed("move addresses"), network.id.to_string());
    if network.spec.kind != NetworkKind::Bridge {
        // Addresses there are users' own.
        return Ok(true);
    }
    let Some(subnet) = network.spec.ipv6_subnet else {
        let sql = "UPDATE address SET ipv6 = NULL WHERE network = ?1";
        return transaction.execute(sql, [&id]).map(|_| true).map_err(failed);
    };
    let sql = "SELECT name, interface, ipv4, ipv6, instance IS NOT NULL FROM address WHERE network = ?1
               ORDER BY instance IS NULL, ipv4, name, interface";
    let mut query = transaction.prepare_cached(sql).map_err(failed)?;
    let text = |row: &rusqlite::Row<'_>, index| row.get::<_, Option<String>>(index);
    let rows = query.query_map([&id], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, text(row, 2)?, text(row, 3)?, row.get(4)?))
    });
    let rows = rows.map_err(failed)?.collect::<rusqlite::Result<Vec<_>>>().map_err(failed)?;
    let gateway = network.spec.ipv6_gateway();
    let stays = |ipv6: &Option<String>| {
        let ipv6 = ipv6.as_ref().and_then(|text| text.parse::<Ipv6Addr>().ok());
        ipv6.filter(|ipv6| subnet.contains(ipv6) && Some(*ipv6) != gateway)
    };
    let mut taken: HashSet<Ipv6Addr> = rows.iter().filter_map(|(_, _, _, ipv6, _)| stays(ipv6)).collect();
    for (name, interface, ipv4, ipv6, held) in rows {
        if stays(&ipv6).is_some() {
            continue;
        }
        let next = free6(&network.spec, ipv4.and_then(|text| text.parse().ok()), &taken);
        if next.is_none() && held {
            return Ok(false);
        }
        taken.extend(next);
        let sql = "UPDATE address SET ipv6 = ?4 WHERE network = ?1 AND name = ?2 AND interface = ?3";
        let row = params![id, name, interface, next.map(|next| next.to_string())];
        transaction.execute(sql, row).map_err(failed)?;
    }
    Ok(true)
}

/// A free IPv6 address of a network: the one at the place of the IPv4 address in its own subnet, or else the lowest.
pub(super) fn free6(
    spec: &NetworkSpec,
    ipv4: Option<Ipv4Addr>,
    taken: &HashSet<Ipv6Addr>,
) -> Option<Ipv6Addr> {
    let subnet = spec.ipv6_subnet?;
    let at = |place: u128| Ipv6Addr::from(u128::from(subnet.network()) | place);
    let free = |candidate: &Ipv6Addr| {
        subnet.contains(candidate) && Some(*candidate) != spec.ipv6_gateway() && !taken.contains(candidate)
    };
    let place = ipv4.zip(spec.ipv4_subnet).map(|(ipv4, net)| u32::from(ipv4) & u32::from(net.hostmask()));
    let same = place.filter(|place| *place > 1).map(|place| at(place.into())).filter(free);
    // One more than are taken is enough to find one that is not.
    same.or_else(|| (2..=taken.len() as u128 + 2).map(at).find(free))
}

/// The address at the same place of another subnet, where that has one there.
fn same_place(address: Ipv4Addr, subnet: Ipv4Net) -> Option<Ipv4Addr> {
    let place = u32::from(address) & u32::from(subnet.hostmask());
    let candidate = Ipv4Addr::from(u32::from(subnet.network()) | place);
    (candidate != subnet.network() && candidate != subnet.broadcast()).then_some(candidate)
}
