//! Choosing an IPv4 network that nothing on the host uses.

use std::net::{IpAddr, Ipv4Addr};

use berth_sys::netlink::{Netlink, NetlinkError};
use ipnet::Ipv4Net;

use crate::Prefix;

/// The private ranges in the order in which they are tried, with the number of /24 networks in each.
const RANGES: [(Ipv4Addr, u32); 3] = [
    (Ipv4Addr::new(10, 0, 0, 0), 1 << 16),
    (Ipv4Addr::new(172, 16, 0, 0), 1 << 12),
    (Ipv4Addr::new(192, 168, 0, 0), 1 << 8),
];

/// Why no network was chosen.
#[derive(Debug, thiserror::Error)]
pub enum SubnetError {
    /// The host's routes could not be listed.
    #[error("cannot see which networks the host uses")]
    Observe(#[source] NetlinkError),
    /// Routes and networks of other use cover all private ranges.
    #[error(
        "no private IPv4 /24 is free of the host's routes: give the network a subnet that the host does not need"
    )]
    NoneFree,
}

/// Chooses a /24 that overlaps neither a route or address of the host nor a network of `taken`.
///
/// The order in which networks are tried follows from the prefix, so that an agent makes the same choice again, and
/// two agents that choose at the same moment choose differently.
///
/// # Errors
/// If the host's routes cannot be listed, or they leave nothing free.
pub fn choose(netlink: &mut Netlink, prefix: &Prefix, taken: &[Ipv4Net]) -> Result<Ipv4Net, SubnetError> {
    let mut used = used(netlink).map_err(SubnetError::Observe)?;
    used.extend_from_slice(taken);
    first_free(prefix, &used).ok_or(SubnetError::NoneFree)
}

/// The networks that the host has a route to or an address in. The default route says nothing of what it leads to.
fn used(netlink: &mut Netlink) -> Result<Vec<Ipv4Net>, NetlinkError> {
    let routes = netlink.routes()?.into_iter().map(|route| (route.destination, route.prefix_len));
    let addresses = netlink.addresses()?.into_iter().map(|address| (address.address, address.prefix_len));
    let networks = routes.chain(addresses).filter_map(|(address, prefix_len)| match address {
        IpAddr::V4(address) if prefix_len > 0 => Ipv4Net::new(address, prefix_len).ok(),
        _ => None,
    });
    Ok(networks.collect())
}

fn first_free(prefix: &Prefix, used: &[Ipv4Net]) -> Option<Ipv4Net> {
    let hash = prefix.hash();
    RANGES.iter().find_map(|(base, count)| {
        // An odd step visits each network of a power of two once.
        let start = (hash & 0xffff_ffff) as u32;
        let step = (hash >> 32) as u32 | 1;
        (0..*count).find_map(|attempt| {
            let number = start.wrapping_add(step.wrapping_mul(attempt)) % count;
            let candidate = Ipv4Net::new(Ipv4Addr::from(u32::from(*base) + (number << 8)), 24).ok()?;
            let free = used.iter().all(|other| !overlaps(&candidate, other));
            free.then_some(candidate)
        })
    })
}

fn overlaps(one: &Ipv4Net, other: &Ipv4Net) -> bool {
    one.contains(&other.network()) || other.contains(&one.network())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        Prefix::new(text).unwrap()
    }

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    #[test]
    fn the_choice_is_steady_and_differs_between_agents() {
        let first = first_free(&prefix("aaaa"), &[]).unwrap();
        assert_eq!(first_free(&prefix("aaaa"), &[]), Some(first));
        assert_eq!(first.prefix_len(), 24);
        assert!(net("10.0.0.0/8").contains(&first));
        let others = ["aaab", "aaac", "zzzz", "2345"].map(|text| first_free(&prefix(text), &[]).unwrap());
        assert!(others.iter().all(|other| *other != first), "{first} {others:?}");
    }

    #[test]
    fn what_is_used_is_passed_over_whatever_its_size() {
        let first = first_free(&prefix("aaaa"), &[]).unwrap();
        let inside = Ipv4Net::new(first.hosts().nth(9).unwrap(), 32).unwrap();
        for used in [first, inside, first.supernet().unwrap()] {
            let second = first_free(&prefix("aaaa"), &[used]).unwrap();
            assert!(!overlaps(&second, &used), "{second} {used}");
        }
    }

    #[test]
    fn the_last_free_network_is_found_and_none_is_none() {
        let all = [net("10.0.0.0/8"), net("172.16.0.0/12"), net("192.168.0.0/16")];
        assert_eq!(first_free(&prefix("aaaa"), &all), None);
        let mut but_one = vec![all[0], all[1]];
        but_one.extend(net("192.168.0.0/16").subnets(24).unwrap().filter(|n| *n != net("192.168.77.0/24")));
        assert_eq!(first_free(&prefix("aaaa"), &but_one), Some(net("192.168.77.0/24")));
    }
}
