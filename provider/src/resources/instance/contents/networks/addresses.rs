//! Addresses, gateways and resolvers of an interface, as far as they can be judged before there is a network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{InterfaceModel, entries_of};
use crate::attr::Attr;
use crate::report::{self, Diagnostic, Path};

/// The C library asks no more.
const MAX_RESOLVERS: usize = 3;

/// What is said of a family.
struct Family {
    is_v6: bool,
    name: &'static str,
    address: &'static str,
    gateway: &'static str,
    plain: &'static str,
    with_prefix: &'static str,
    router: &'static str,
}

const V4: Family = Family {
    is_v6: false,
    name: "IPv4",
    address: "ipv4_address",
    gateway: "ipv4_gateway",
    plain: "10.20.30.5",
    with_prefix: "192.0.2.5/24",
    router: "192.0.2.1",
};
const V6: Family = Family {
    is_v6: true,
    name: "IPv6",
    address: "ipv6_address",
    gateway: "ipv6_gateway",
    plain: "fd12:3456:789a:1::5",
    with_prefix: "2001:db8::5/64",
    router: "2001:db8::1",
};

/// Checks what is known of one interface.
pub(super) fn validate(name: &str, model: &InterfaceModel, found: &mut Vec<Diagnostic>) {
    let at = |argument: &str| Path::at("networks").key(name).attribute(argument);
    for (family, address, gateway) in
        [(V4, &model.ipv4_address, &model.ipv4_gateway), (V6, &model.ipv6_address, &model.ipv6_gateway)]
    {
        let read = address.as_str().map(|text| check_address(&family, text));
        if let Some(Err((summary, detail))) = &read {
            found.push(report::error(at(family.address), summary.clone(), detail.clone()));
        }
        let beside = match (address, read) {
            (Attr::Null, _) => Beside::Nothing,
            (_, Some(Ok((address, Some(bits))))) => Beside::Net(address, bits),
            (_, Some(Ok((_, None)))) => Beside::Nothing,
            _ => Beside::Unknown,
        };
        let away = model.default_route == Attr::Known(false);
        let wrong = gateway.as_str().and_then(|text| check_gateway(&family, text, &beside, away).err());
        if let Some((summary, detail)) = wrong {
            found.push(report::error(at(family.gateway), summary, detail));
        }
    }
    let servers = model.dns.known().map(Vec::len).unwrap_or_default();
    if servers > MAX_RESOLVERS {
        let detail = format!("Name at most {MAX_RESOLVERS}: programs ask no more.");
        found.push(report::error(at("dns"), format!("There are {servers} resolvers"), detail));
    }
    for (index, text) in entries_of(&model.dns) {
        let good = text.parse::<IpAddr>().is_ok_and(|it| !it.is_unspecified() && !it.is_multicast());
        if !good {
            let detail = "Write an address of either family, such as \"192.0.2.53\".";
            let summary = format!("\"{text}\" is not the address of a resolver");
            found.push(report::error(at("dns").index(index), summary, detail));
        }
    }
}

type Wrong = (String, String);

/// An address that an interface can have, with the bits of its prefix where they are written.
fn check_address(family: &Family, text: &str) -> Result<(IpAddr, Option<u8>), Wrong> {
    let Family { name, plain, with_prefix, .. } = family;
    let (address, bits) = text.split_once('/').map_or((text, None), |(it, bits)| (it, Some(bits)));
    let most = if family.is_v6 { 128 } else { 32 };
    let bits = bits.map(|bits| bits.parse::<u8>().ok().filter(|bits| (1..=most).contains(bits)));
    let address = address.parse::<IpAddr>().ok().filter(|address| address.is_ipv6() == family.is_v6);
    let (Some(address), None | Some(Some(_))) = (address, bits) else {
        let detail = format!(
            "Write an address of the network, such as \"{plain}\"; on a network of the type \"physical\" or \
             \"macvlan\" with its prefix, such as \"{with_prefix}\"."
        );
        return Err((format!("\"{text}\" is not an {name} address"), detail));
    };
    let bits = bits.flatten();
    if is_odd(address) || bits.is_some_and(|bits| is_edge(address, bits)) {
        let detail = format!("Write one such as \"{with_prefix}\".");
        return Err((format!("{text} cannot be the address of an interface"), detail));
    }
    Ok((address, bits))
}

/// An address that is not one interface's, or that no router passes on.
fn is_odd(address: IpAddr) -> bool {
    let odd = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.octets()[0] == 0 || v4.octets()[0] >= 240,
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.to_ipv4_mapped().is_some(),
    };
    odd || address.is_loopback() || address.is_multicast() || address.is_unspecified()
}

/// What stands for the network itself, or for all on it.
fn is_edge(address: IpAddr, bits: u8) -> bool {
    match address {
        IpAddr::V4(v4) => bits < 31 && [0, mask4(bits)].contains(&(u32::from(v4) & mask4(bits))),
        IpAddr::V6(v6) => bits < 127 && u128::from(v6) & mask6(bits) == 0,
    }
}

/// The bits beyond a prefix.
fn mask4(bits: u8) -> u32 {
    u32::MAX.checked_shr(bits.into()).unwrap_or_default()
}

fn mask6(bits: u8) -> u128 {
    u128::MAX.checked_shr(bits.into()).unwrap_or_default()
}

/// What a gateway stands beside.
enum Beside {
    Net(IpAddr, u8),
    /// No address, or one without its prefix.
    Nothing,
    Unknown,
}

fn check_gateway(family: &Family, text: &str, beside: &Beside, away: bool) -> Result<(), Wrong> {
    let Family { name, with_prefix, router, .. } = family;
    let parsed = text.parse::<IpAddr>().ok().filter(|address| address.is_ipv6() == family.is_v6);
    let Some(gateway) = parsed.filter(|it| !it.is_unspecified() && !it.is_multicast() && !it.is_loopback())
    else {
        let detail = format!("Write one without a prefix, such as \"{router}\".");
        return Err((format!("\"{text}\" is not the {name} address of a router"), detail));
    };
    if away {
        let summary = "A gateway leads to elsewhere, and elsewhere is not through this interface";
        return Err((summary.to_owned(), "Leave it out, or default_route.".to_owned()));
    }
    let (address, bits) = match beside {
        Beside::Net(address, bits) => (*address, *bits),
        Beside::Unknown => return Ok(()),
        Beside::Nothing => {
            let detail = format!(
                "Write the address such as \"{with_prefix}\"; leave the gateway out on a network of the type \
                 \"bridge\", which has its own."
            );
            let summary = format!("A gateway goes with an {name} address that is written with its prefix");
            return Err((summary, detail));
        }
    };
    if gateway == address {
        return Err((format!("{gateway} is the instance's own address"), "Name the router.".to_owned()));
    }
    let (inside, first) = match (address, gateway) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            let (one, other, mask) = (u32::from(one), u32::from(other), mask4(bits));
            ((one ^ other) & !mask == 0, IpAddr::from(Ipv4Addr::from(one & !mask)))
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => {
            let local = other.is_unicast_link_local();
            let (one, other, mask) = (u128::from(one), u128::from(other), mask6(bits));
            (local || (one ^ other) & !mask == 0, IpAddr::from(Ipv6Addr::from(one & !mask)))
        }
        _ => (true, address),
    };
    if inside {
        return Ok(());
    }
    let summary = format!("{gateway} is no address of the network {first}/{bits}");
    Err((summary, "Name a router on it, or write another address.".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attr::list;

    fn wrong(model: &InterfaceModel) -> Vec<String> {
        let mut found = Vec::new();
        validate("eth0", model, &mut found);
        found.into_iter().map(|it| format!("{} {}", it.path, it.summary)).collect()
    }

    #[test]
    fn a_gateway_is_on_the_network_of_its_address() {
        let of = |address: &str, gateway: &str| {
            let (address, gateway) = (Attr::from(address), Attr::from(gateway));
            wrong(&InterfaceModel {
                ipv4_address: address,
                ipv4_gateway: gateway,
                ..InterfaceModel::default()
            })
        };
        assert_eq!(of("192.0.2.5/24", "192.0.2.1"), [] as [String; 0]);
        assert_eq!(of("192.0.2.5/31", "192.0.2.4"), [] as [String; 0]);
        for (address, gateway, argument, words) in [
            (
                "192.0.2.5/24",
                "192.0.3.1",
                "ipv4_gateway",
                "192.0.3.1 is no address of the network 192.0.2.0/24",
            ),
            ("192.0.2.5/24", "192.0.2.5", "ipv4_gateway", "own address"),
            ("192.0.2.5/24", "192.0.2.1/24", "ipv4_gateway", "of a router"),
            ("192.0.2.5/24", "2001:db8::1", "ipv4_gateway", "of a router"),
            ("192.0.2.5", "192.0.2.1", "ipv4_gateway", "written with its prefix"),
            ("192.0.2.0/24", "192.0.2.1", "ipv4_address", "cannot be the address"),
            ("192.0.2.255/24", "192.0.2.1", "ipv4_address", "cannot be the address"),
            ("192.0.2.5/33", "192.0.2.1", "ipv4_address", "not an IPv4 address"),
            ("169.254.0.5/16", "169.254.0.1", "ipv4_address", "cannot be the address"),
        ] {
            let found = of(address, gateway);
            let [one] = found.as_slice() else { panic!("{address} {gateway}: {found:?}") };
            assert!(one.contains(argument) && one.contains(words), "{address} {gateway}: {one}");
        }
        let alone = InterfaceModel { ipv6_gateway: Attr::from("fe80::1"), ..InterfaceModel::default() };
        assert!(wrong(&alone)[0].contains("ipv6_gateway"));
        let later = InterfaceModel { ipv6_address: Attr::Unknown, ..alone.clone() };
        assert_eq!(wrong(&later), [] as [String; 0]);
        let six = InterfaceModel { ipv6_address: Attr::from("2001:db8::5/64"), ..alone };
        assert_eq!(wrong(&six), [] as [String; 0]);
        let away = InterfaceModel { default_route: Attr::Known(false), ..six };
        assert!(wrong(&away)[0].contains("not through this interface"));
    }

    #[test]
    fn resolvers_are_addresses_and_few() {
        let of = |servers: &[&str]| {
            let dns = list(servers.iter().map(|it| (*it).to_owned()));
            wrong(&InterfaceModel { dns, ..InterfaceModel::default() })
        };
        assert_eq!(of(&["192.0.2.53", "2001:db8::53"]), [] as [String; 0]);
        assert!(of(&["192.0.2.53", "ns.example"])[0].contains("\"ns.example\" is not the address"));
        assert!(of(&["192.0.2.1"; 4])[0].contains("4 resolvers"));
    }
}
