//! Values, by nft's types: their numbers, and how they stand in registers.

use std::net::IpAddr;

use berth_sys::netlink::{
    MacAddress,
    nftables::{ByteOrder, Data, Element, Kind, Range, Verdict},
};
use ipnet::IpNet;
use serde_json::Value;

use super::{Untranslated, list, only, text};

/// What nft and the kernel know of a type that sets are of.
pub(super) fn kind(name: &str) -> Result<Kind, Untranslated> {
    let (number, length, order) = match name {
        "ipv4_addr" => (7, 4, ByteOrder::Network),
        "ipv6_addr" => (8, 16, ByteOrder::Network),
        "ether_addr" => (9, 6, ByteOrder::Network),
        "inet_proto" => (12, 1, ByteOrder::Network),
        "inet_service" => (13, 2, ByteOrder::Network),
        "icmp_type" => (14, 1, ByteOrder::Network),
        "icmpv6_type" => (29, 1, ByteOrder::Network),
        "ifname" => (41, 16, ByteOrder::Host),
        _ => return Err(Untranslated::Value { kind: "type of a set".to_owned(), value: name.to_owned() }),
    };
    Ok(Kind { number, length, order })
}

/// The names of the types that a set's keys are of.
pub(super) fn types(declaration: &Value) -> Result<Vec<&str>, Untranslated> {
    let unknown = || Untranslated::part(declaration);
    match declaration.get("type") {
        Some(Value::String(one)) => Ok(vec![one]),
        Some(Value::Array(parts)) => {
            parts.iter().map(|part| part.as_str().ok_or_else(unknown)).collect::<Result<_, _>>()
        }
        _ => Err(unknown()),
    }
}

/// An element of a set or map that is declared so.
pub(super) fn element(declaration: &Value, element: &Value) -> Result<Element, Untranslated> {
    let (key, data) = match (declaration.get("map"), element) {
        (None, key) => (key, None),
        (Some(kind), Value::Array(pair)) => {
            let [key, data] = pair.as_slice() else { return Err(Untranslated::part(element)) };
            let data = match kind.as_str().unwrap_or_default() {
                "verdict" => Data::Verdict(verdict(data)?),
                kind => Data::Value(encoded(kind, data)?),
            };
            (key, Some(data))
        }
        _ => return Err(Untranslated::part(element)),
    };
    let key = match types(declaration)?.as_slice() {
        [one] => encoded(one, key)?,
        types => {
            let parts = list(key, "concat")?;
            if parts.len() != types.len() {
                return Err(Untranslated::part(key));
            }
            let mut key = Vec::new();
            for (kind, part) in types.iter().zip(parts) {
                key.extend(encoded(kind, part)?);
                key.resize(key.len().next_multiple_of(4), 0);
            }
            key
        }
    };
    Ok(Element { key, data })
}

pub(super) fn verdict(value: &Value) -> Result<Verdict, Untranslated> {
    let target = |object| text(object, "target").map(str::to_owned);
    match only(value)? {
        ("accept", _) => Ok(Verdict::Accept),
        ("drop", _) => Ok(Verdict::Drop),
        ("return", _) => Ok(Verdict::Return),
        ("jump", object) => target(object).map(Verdict::Jump),
        ("goto", object) => target(object).map(Verdict::Goto),
        _ => Err(Untranslated::part(value)),
    }
}

/// A value of one of nft's types, or several whose bits are taken together.
pub(super) fn encoded(kind: &str, value: &Value) -> Result<Vec<u8>, Untranslated> {
    match value.get("|").unwrap_or(value) {
        Value::Array(several) => {
            let several = several.iter().map(|one| encoded(kind, one)).collect::<Result<Vec<_>, _>>()?;
            let together = |all: Vec<u8>, one: Vec<u8>| all.iter().zip(one).map(|(a, b)| a | b).collect();
            several.into_iter().reduce(together).ok_or_else(|| Untranslated::part(value))
        }
        one => single(kind, one)
            .ok_or_else(|| Untranslated::Value { kind: kind.to_owned(), value: one.to_string() }),
    }
}

fn single(kind: &str, value: &Value) -> Option<Vec<u8>> {
    let address = || value.as_str()?.parse::<IpAddr>().ok();
    match kind {
        "ifname" => {
            let mut name = value.as_str()?.as_bytes().to_vec();
            name.resize(16, 0);
            name.ends_with(&[0]).then_some(name)
        }
        "ether_addr" => value.as_str()?.parse().ok().map(|MacAddress(mac)| mac.to_vec()),
        "ipv4_addr" => address().filter(IpAddr::is_ipv4).map(octets),
        "ipv6_addr" => address().filter(IpAddr::is_ipv6).map(octets),
        "inet_service" | "16 bits" => Some(u16::try_from(value.as_u64()?).ok()?.to_be_bytes().into()),
        "48 bits" => {
            let number = u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()?;
            number.to_be_bytes().strip_prefix(&[0, 0]).map(<[u8]>::to_vec)
        }
        "128 bits" => {
            Some(u128::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()?.to_be_bytes().into())
        }
        kind => named(kind, value.as_str()?),
    }
}

/// What nft has names for.
fn named(kind: &str, name: &str) -> Option<Vec<u8>> {
    let byte = |number: u8| Some(vec![number]);
    let two_bytes = |number: u16| Some(number.to_be_bytes().to_vec());
    let of_host = |number: u32| Some(number.to_ne_bytes().to_vec());
    match (kind, name) {
        ("ether_type", "ip") => two_bytes(0x0800),
        ("ether_type", "arp") => two_bytes(0x0806),
        ("ether_type", "ip6") => two_bytes(0x86dd),
        ("arp_op", "request") => two_bytes(1),
        ("nf_proto", "ipv4") => byte(2),
        ("nf_proto", "ipv6") => byte(10),
        ("inet_proto", "icmp") => byte(1),
        ("inet_proto", "tcp") => byte(6),
        ("inet_proto", "udp") => byte(17),
        ("inet_proto", "ipv6-icmp") => byte(58),
        ("tcp_flag", "syn") => byte(2),
        ("tcp_flag", "ack") => byte(0x10),
        ("icmp_type", "echo-reply") => byte(0),
        ("icmp_type", "destination-unreachable") => byte(3),
        ("icmp_type", "time-exceeded") => byte(11),
        ("icmp_type", "parameter-problem") => byte(12),
        ("icmpv6_type", "destination-unreachable") => byte(1),
        ("icmpv6_type", "packet-too-big") => byte(2),
        ("icmpv6_type", "time-exceeded") => byte(3),
        ("icmpv6_type", "parameter-problem") => byte(4),
        ("icmpv6_type", "echo-reply") => byte(129),
        ("icmpv6_type", "mld-listener-report") => byte(131),
        ("icmpv6_type", "nd-router-solicit") => byte(133),
        ("icmpv6_type", "nd-router-advert") => byte(134),
        ("icmpv6_type", "nd-neighbor-solicit") => byte(135),
        ("icmpv6_type", "nd-neighbor-advert") => byte(136),
        ("icmpv6_type", "nd-redirect") => byte(137),
        ("icmpv6_type", "mld2-listener-report") => byte(143),
        ("ct_state", "established") => of_host(2),
        ("ct_state", "related") => of_host(4),
        ("ct_status", "dnat") => of_host(0x20),
        ("fib_addrtype", "local") => of_host(2),
        _ => None,
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().into(),
        IpAddr::V6(v6) => v6.octets().into(),
    }
}

/// A network: what its addresses begin with, and how many bits of them that is.
pub(super) fn prefix(value: &Value) -> Result<IpNet, Untranslated> {
    let net = || {
        let length = u8::try_from(value.get("len")?.as_u64()?).ok()?;
        IpNet::new(value.get("addr")?.as_str()?.parse().ok()?, length).ok()
    };
    net().ok_or_else(|| Untranslated::part(value))
}

/// The first and the last of what an element of a set without a name stands for.
pub(super) fn range(kind: &str, value: &Value) -> Result<Range, Untranslated> {
    if value.get("range").is_some() {
        return match list(value, "range")? {
            [first, last] => Ok((encoded(kind, first)?, encoded(kind, last)?)),
            _ => Err(Untranslated::part(value)),
        };
    }
    if let Some(net) = value.get("prefix") {
        let net = prefix(net)?;
        return Ok((octets(net.network()), octets(net.broadcast())));
    }
    encoded(kind, value).map(|value| (value.clone(), value))
}

/// In their order. Where one is more than a single value, those that touch become one, as they must not then.
pub(super) fn merged(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort();
    ranges.dedup();
    if ranges.iter().all(|(first, last)| first == last) {
        return ranges;
    }
    let number = |bytes: &[u8]| bytes.iter().fold(0_u128, |sum, byte| sum << 8 | u128::from(*byte));
    let mut merged: Vec<Range> = Vec::new();
    for (first, last) in ranges {
        match merged.last_mut() {
            Some((_, end)) if number(&first) <= number(end).saturating_add(1) => {
                if last > *end {
                    *end = last;
                }
            }
            _ => merged.push((first, last)),
        }
    }
    merged
}

/// A network's address and its mask.
pub(super) fn network(net: IpNet) -> (Vec<u8>, Vec<u8>) {
    (octets(net.network()), octets(net.netmask()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ranges_are_merged() {
        let one = |first: u8, last: u8| (vec![first], vec![last]);
        assert_eq!(merged(vec![one(2, 2), one(1, 1), one(2, 2)]), [one(1, 1), one(2, 2)]);
        assert_eq!(
            merged(vec![one(5, 9), one(1, 1), one(2, 4), one(6, 7), one(200, 255)]),
            [one(1, 9), one(200, 255)]
        );
    }

    #[test]
    fn what_does_not_fit_is_no_value() {
        for (kind, value, said) in [
            ("ifname", "a name of more than 15".into(), "\"a name of more than 15\" is no ifname"),
            ("ipv4_addr", "fd00::1".into(), "\"fd00::1\" is no ipv4_addr"),
            ("inet_service", Value::from(65_536), "65536 is no inet_service"),
            ("inet_proto", "sctp".into(), "\"sctp\" is no inet_proto"),
            ("integer", Value::from(1), "1 is no integer"),
        ] {
            assert_eq!(encoded(kind, &value).unwrap_err().to_string(), said);
        }
    }

    #[test]
    fn bits_are_taken_together() {
        let flags = serde_json::json!({ "|": ["syn", "ack"] });
        assert_eq!(encoded("tcp_flag", &flags).unwrap(), [0x12]);
    }
}
