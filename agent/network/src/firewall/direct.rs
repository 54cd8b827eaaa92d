//! Changes for the kernel itself. Running `nft` takes longer than what it does, and the longer the more there is: it reads
//! all tables first. What changes while instances come and go is therefore sent without it; the rest is left to it.
//!
//! The JSON of the commands is what is translated, so that the tables are told in one language.

use std::net::IpAddr;

use berth_sys::netlink::{
    MacAddress,
    nftables::{Batch, Data, Element, Family, Field, Statement, TableName, Verdict},
};
use ipnet::IpNet;
use serde_json::Value;

use super::table::Table;

/// Adds a table's commands to a batch. `None` where something is among them that only `nft` knows to say.
pub(super) fn translate(table: &Table, commands: &[Value], batch: &mut Batch) -> Option<()> {
    for command in commands {
        let (verb, object) = only(command)?;
        let (kind, object) = only(object)?;
        let text = |field: &str| object.get(field).and_then(Value::as_str);
        let family = match text("family")? {
            "inet" => Family::Inet,
            "bridge" => Family::Bridge,
            _ => return None,
        };
        let of = TableName { family, name: text("table")? };
        match (verb, kind) {
            ("add", "chain") if object.get("hook").is_none() => batch.add_chain(of, text("name")?),
            ("flush", "chain") => batch.flush_chain(of, text("name")?),
            ("delete", "chain") => batch.delete_chain(of, text("name")?),
            ("add", "rule") => {
                let statements = statements(family, object.get("expr")?.as_array()?)?;
                batch.add_rule(of, text("chain")?, &statements, text("comment")?);
            }
            ("add" | "delete", "element") => {
                let name = text("name")?;
                let declaration = table.declaration(name)?;
                let elements = object.get("elem")?.as_array()?.iter();
                let elements = elements.map(|one| element(declaration, one)).collect::<Option<Vec<_>>>()?;
                if verb == "add" {
                    batch.add_elements(of, name, &elements);
                } else {
                    batch.delete_elements(of, name, &elements);
                }
            }
            _ => return None,
        }
    }
    Some(())
}

/// The one field of an object.
fn only(value: &Value) -> Option<(&str, &Value)> {
    let mut fields = value.as_object()?.iter();
    let (name, value) = fields.next()?;
    fields.next().is_none().then_some((name.as_str(), value))
}

fn element(declaration: &Value, element: &Value) -> Option<Element> {
    let (key, data) = match (declaration.get("map"), element) {
        (None, key) => (key, None),
        (Some(kind), Value::Array(pair)) => {
            let [key, data] = pair.as_slice() else { return None };
            let data = match kind.as_str()? {
                "verdict" => Data::Verdict(verdict(data)?),
                kind => Data::Value(encoded(kind, data)?),
            };
            (key, Some(data))
        }
        _ => return None,
    };
    let key = match declaration.get("type")? {
        Value::String(kind) => encoded(kind, key)?,
        Value::Array(kinds) => {
            let parts = key.get("concat")?.as_array()?;
            let mut key = Vec::new();
            for (kind, part) in kinds.iter().zip(parts) {
                key.extend(encoded(kind.as_str()?, part)?);
                key.resize(key.len().next_multiple_of(4), 0);
            }
            (kinds.len() == parts.len()).then_some(key)?
        }
        _ => return None,
    };
    Some(Element { key, data })
}

/// A value of one of nft's types.
fn encoded(kind: &str, value: &Value) -> Option<Vec<u8>> {
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
        "inet_proto" => match value.as_str()? {
            "icmp" => Some(vec![1]),
            "tcp" => Some(vec![6]),
            "udp" => Some(vec![17]),
            "ipv6-icmp" => Some(vec![58]),
            _ => None,
        },
        "inet_service" => Some(u16::try_from(value.as_u64()?).ok()?.to_be_bytes().into()),
        "few bits" => {
            let number = u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()?;
            number.to_be_bytes().strip_prefix(&[0, 0]).map(<[u8]>::to_vec)
        }
        "bits" => {
            Some(u128::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()?.to_be_bytes().into())
        }
        _ => None,
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().into(),
        IpAddr::V6(v6) => v6.octets().into(),
    }
}

fn statements(family: Family, expression: &[Value]) -> Option<Vec<Statement>> {
    let mut statements = Vec::new();
    for statement in expression {
        match only(statement)? {
            ("match", matched) => {
                let (left, right) = (matched.get("left")?, matched.get("right")?);
                let not = match matched.get("op")?.as_str()? {
                    "==" => false,
                    "!=" => true,
                    _ => return None,
                };
                let looked_at = LookedAt::read(left)?;
                statements.extend(looked_at.of_protocol(family));
                statements.push(looked_at.compared(right, not)?);
            }
            ("counter", _) => statements.push(Statement::Count),
            _ => statements.push(Statement::Verdict(verdict(statement)?)),
        }
    }
    Some(statements)
}

fn verdict(value: &Value) -> Option<Verdict> {
    let target = |object: &Value| Some(object.get("target")?.as_str()?.to_owned());
    match only(value)? {
        ("accept", _) => Some(Verdict::Accept),
        ("drop", _) => Some(Verdict::Drop),
        ("return", _) => Some(Verdict::Return),
        ("jump", object) => target(object).map(Verdict::Jump),
        ("goto", object) => target(object).map(Verdict::Goto),
        _ => None,
    }
}

/// What a match looks at.
struct LookedAt {
    field: Field,
    /// nft's name and number of its type.
    kind: &'static str,
    number: u32,
}

impl LookedAt {
    fn read(left: &Value) -> Option<Self> {
        let (name, of) = only(left)?;
        let text = |field: &str| of.get(field).and_then(Value::as_str);
        let (field, kind, number) = match name {
            "meta" if text("key")? == "l4proto" => (Field::Transport, "inet_proto", 12),
            "payload" => match (text("protocol"), text("field"), text("base")) {
                (Some("ip"), Some("saddr"), None) => (Field::NetworkHeader(12, 4), "ipv4_addr", 7),
                (Some("ip"), Some("daddr"), None) => (Field::NetworkHeader(16, 4), "ipv4_addr", 7),
                (Some("ip6"), Some("saddr"), None) => (Field::NetworkHeader(8, 16), "ipv6_addr", 8),
                (Some("ip6"), Some("daddr"), None) => (Field::NetworkHeader(24, 16), "ipv6_addr", 8),
                (Some("th"), Some("dport"), None) => (Field::TransportHeader(2, 2), "inet_service", 13),
                (None, None, Some("th")) if of.get("len")?.as_u64()? == 128 => {
                    let offset = u32::try_from(of.get("offset")?.as_u64()?).ok()?;
                    (Field::TransportHeader(offset / 8, 16), "bits", 4)
                }
                (None, None, Some("th")) if of.get("len")?.as_u64()? == 48 => {
                    let offset = u32::try_from(of.get("offset")?.as_u64()?).ok()?;
                    (Field::TransportHeader(offset / 8, 6), "few bits", 4)
                }
                _ => return None,
            },
            _ => return None,
        };
        Some(Self { field, kind, number })
    }

    /// An address is looked for in packets of its family alone.
    fn of_protocol(&self, family: Family) -> Option<Statement> {
        let (own, ether) = match self.kind {
            "ipv4_addr" => (2, 0x0800_u16),
            "ipv6_addr" => (10, 0x86dd),
            _ => return None,
        };
        let (field, value) = match family {
            Family::Inet => (Field::Family, vec![own]),
            Family::Bridge => (Field::Protocol, ether.to_be_bytes().into()),
        };
        Some(Statement::Is { field, value, not: false })
    }

    fn compared(&self, right: &Value, not: bool) -> Option<Statement> {
        let Self { field, kind, number } = *self;
        let Some(set) = right.get("set") else {
            return Some(Statement::Is { field, value: encoded(kind, right)?, not });
        };
        let ranges = set.as_array()?.iter().map(|one| range(kind, one)).collect::<Option<Vec<_>>>()?;
        let ranges = merged(ranges);
        match ranges.as_slice() {
            [] => None,
            [(first, last)] if first == last => Some(Statement::Is { field, value: first.clone(), not }),
            // Raw bits have no type that a set could be of.
            _ if not || kind.ends_with("bits") => None,
            _ => Some(Statement::Among { field, kind: number, ranges }),
        }
    }
}

type Range = (Vec<u8>, Vec<u8>);

fn range(kind: &str, value: &Value) -> Option<Range> {
    if let Some(range) = value.get("range") {
        let [first, last] = range.as_array()?.as_slice() else { return None };
        return Some((encoded(kind, first)?, encoded(kind, last)?));
    }
    if let Some(prefix) = value.get("prefix") {
        let address: IpAddr = prefix.get("addr")?.as_str()?.parse().ok()?;
        let net = IpNet::new(address, u8::try_from(prefix.get("len")?.as_u64()?).ok()?).ok()?;
        return Some((octets(net.network()), octets(net.broadcast())));
    }
    encoded(kind, value).map(|value| (value.clone(), value))
}

/// In their order. Where one is more than a single value, those that touch become one, as they must not then.
fn merged(mut ranges: Vec<Range>) -> Vec<Range> {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::{
        Access, AccessProtocol, AccessRule, Desired, HostPort, Interface, Network, Protocol, Target, changed,
    };
    use super::*;

    fn interface(number: u8, access: Access) -> Interface {
        Interface {
            name: format!("v{number}"),
            bridge: "b".to_owned(),
            mac: MacAddress([2, 0, 0, 0, 0, number]),
            addresses: vec![
                format!("10.1.2.{number}").parse().unwrap(),
                format!("fd00::{number:x}").parse().unwrap(),
            ],
            access,
        }
    }

    fn desired() -> Desired {
        let rule = AccessRule {
            protocol: Some(AccessProtocol::Tcp),
            ports: vec![80..=80, 8000..=8010],
            peers: Some(vec!["10.0.0.0/8".parse().unwrap(), "fd01::1/128".parse().unwrap()]),
        };
        let access = Access { ingress: Some(vec![rule]), egress: Some(vec![AccessRule::default()]) };
        let port = HostPort { address: "0.0.0.0".parse().unwrap(), protocol: Protocol::Tcp, port: 80 };
        let target = Target { address: "10.1.2.2".parse().unwrap(), port: 8080 };
        let network = Network::new("b".to_owned(), "10.1.2.0/24".parse().unwrap());
        Desired {
            networks: vec![Network { dhcp: true, ..network }],
            interfaces: vec![interface(2, access.clone()), interface(3, access)],
            ports: BTreeMap::from([(port, target)]),
        }
    }

    fn is_direct(from: &Desired, to: &Desired) -> bool {
        let mut batch = Batch::new();
        let changes = changed("t", from, to);
        assert!(changes.iter().any(|(_, commands)| !commands.is_empty()));
        changes.iter().all(|(table, commands)| translate(table, commands, &mut batch).is_some())
    }

    type Edit = fn(&mut Desired);

    #[test]
    fn what_instances_change_needs_no_nft() {
        let before = desired();
        let edits: [(&str, Edit); 5] = [
            ("a port less", |desired| desired.ports.clear()),
            ("a port that leads elsewhere", |desired| {
                desired.ports.values_mut().for_each(|target| target.port += 1)
            }),
            ("an instance less", |desired| desired.interfaces.truncate(1)),
            ("other rules", |desired| desired.interfaces[0].access.ingress = Some(Vec::new())),
            ("no list", |desired| desired.interfaces[0].access = Access::default()),
        ];
        for (what, edit) in edits {
            let mut after = before.clone();
            edit(&mut after);
            assert!(is_direct(&before, &after), "{what}");
            assert!(is_direct(&after, &before), "{what}, and back");
        }
    }

    #[test]
    fn what_networks_change_is_left_to_nft() {
        let (before, mut after) = (desired(), desired());
        after.networks[0].isolated = true;
        assert!(!is_direct(&before, &after));
    }

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
        for (kind, value) in [
            ("ifname", "a name of more than 15".into()),
            ("ipv4_addr", "fd00::1".into()),
            ("inet_service", Value::from(65_536)),
            ("inet_proto", "sctp".into()),
            ("integer", Value::from(1)),
        ] {
            assert_eq!(encoded(kind, &value), None, "{kind}");
        }
    }
}
