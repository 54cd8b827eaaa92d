//! Choosing an IPv4 network that nothing on the host uses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use berth_sys::netlink::{Netlink, NetlinkError};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::{Prefix, sysctl};

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
    /// Likewise of IPv6.
    #[error("no IPv6 /64 of the agent's own is free of the host's routes: give the network a subnet")]
    NoneFree6,
}

/// Chooses a /24 that overlaps neither a route or address of the host nor a network of `taken`.
///
/// The order in which networks are tried follows from the prefix, so that an agent makes the same choice again, and
/// two agents that choose at the same moment choose differently.
///
/// # Errors
/// If the host's routes cannot be listed, or they leave nothing free.
pub fn choose(netlink: &mut Netlink, prefix: &Prefix, taken: &[Ipv4Net]) -> Result<Ipv4Net, SubnetError> {
    let used = used(netlink).map_err(SubnetError::Observe)?;
    let mut used: Vec<Ipv4Net> = used.into_iter().filter_map(v4).collect();
    used.extend_from_slice(taken);
    first_free(prefix, &used).ok_or(SubnetError::NoneFree)
}

/// Whether the host has IPv6, and may use it.
#[must_use]
pub fn has_ipv6() -> bool {
    sysctl::read("net/ipv6/conf/all/disable_ipv6").is_ok_and(|value| value == "0")
}

/// Chooses an IPv6 /64 of the agent's own /48 of unique local addresses (RFC 4193), likewise.
///
/// # Errors
/// If the host's routes cannot be listed, or they leave nothing free.
pub fn choose6(netlink: &mut Netlink, prefix: &Prefix, taken: &[Ipv6Net]) -> Result<Ipv6Net, SubnetError> {
    let used = used(netlink).map_err(SubnetError::Observe)?;
    let mut used: Vec<Ipv6Net> = used.into_iter().filter_map(v6).collect();
    used.extend_from_slice(taken);
    first_free6(prefix, &used).ok_or(SubnetError::NoneFree6)
}

fn first_free6(prefix: &Prefix, used: &[Ipv6Net]) -> Option<Ipv6Net> {
    let site = (0xfd_u128 << 120) | (u128::from(prefix.hash() >> 24) << 80);
    (0..=u128::from(u16::MAX)).find_map(|number| {
        let candidate = Ipv6Net::new(Ipv6Addr::from(site | (number << 64)), 64).ok()?;
        let overlaps =
            |other: &&Ipv6Net| candidate.contains(&other.network()) || other.contains(&candidate.network());
        used.iter().find(overlaps).is_none().then_some(candidate)
    })
}

fn v4(net: IpNet) -> Option<Ipv4Net> {
    if let IpNet::V4(net) = net { Some(net) } else { None }
}

fn v6(net: IpNet) -> Option<Ipv6Net> {
    if let IpNet::V6(net) = net { Some(net) } else { None }
}

/// The networks that the host has a route to or an address in. The default route says nothing of what it leads to.
fn used(netlink: &mut Netlink) -> Result<Vec<IpNet>, NetlinkError> {
    let routes = netlink.routes()?.into_iter().map(|route| (route.destination, route.prefix_len));
    let addresses = netlink.addresses()?.into_iter().map(|address| (address.address, address.prefix_len));
    let networks = routes.chain(addresses).filter(|(_, prefix_len)| *prefix_len > 0);
    Ok(networks
        .filter_map(|(address, prefix_len): (IpAddr, u8)| IpNet::new(address, prefix_len).ok())
        .collect())
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
    fn ipv6_networks_are_of_the_agents_own_site() {
        let first = first_free6(&prefix("aaaa"), &[]).unwrap();
        assert_eq!((first.prefix_len(), first.addr().octets()[0]), (64, 0xfd));
        let second = first_free6(&prefix("aaaa"), &[first]).unwrap();
        assert_ne!(first, second);
        assert_eq!(first.addr().octets()[..6], second.addr().octets()[..6]);
        assert_ne!(
            first_free6(&prefix("aaab"), &[]).unwrap().addr().octets()[..6],
            first.addr().octets()[..6]
        );
        assert_eq!(first_free6(&prefix("aaaa"), &["fc00::/7".parse().unwrap()]), None);
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
