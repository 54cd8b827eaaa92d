//! The table's content as an nft document.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet},
    net::Ipv4Addr,
};

use ipnet::Ipv4Net;
use nftables::{
    batch::Batch,
    expr::{
        CT, Expression, Fib, FibFlag, FibResult, Map as MapExpression, Meta, MetaKey, NamedExpression,
        Payload, PayloadField, Prefix,
    },
    schema::{Chain, Element, Map, NfListObject, Nftables, Rule, SetType, SetTypeValue, Table},
    stmt::{AnonymousCounter, Counter, JumpTarget, Match, NAT, NATFamily, Operator, Statement},
    types::{NfChainPolicy, NfChainType, NfFamily, NfHook},
};

use super::{Desired, HostPort, Network, Target};
use crate::names::hash;

type Expr = Expression<'static>;
type Stmt = Statement<'static>;

const FAMILY: NfFamily = NfFamily::INet;
const PUBLISHED: &str = "published";

/// The maps of ports at one address of the host, and of ports at all of them: each to the instance's address and
/// to its port, since nft's JSON of the versions in use has no map to both.
const AT_ADDRESS: [(&str, SetType); 2] =
    [("address_hosts", SetType::Ipv4Addr), ("address_ports", SetType::InetService)];
const ANYWHERE: [(&str, SetType); 2] =
    [("any_hosts", SetType::Ipv4Addr), ("any_ports", SetType::InetService)];

/// Replaces the table in one transaction. Adding it first lets the deletion succeed where there is none.
pub(super) fn replace(table: &str, desired: &Desired) -> Nftables<'static> {
    let mut batch = Batch::new();
    batch.add(table_object(table));
    batch.delete(table_object(table));
    batch.add(table_object(table));
    for (name, value) in AT_ADDRESS {
        batch.add(map(table, name, &[SetType::Ipv4Addr, SetType::InetProto, SetType::InetService], value));
    }
    for (name, value) in ANYWHERE {
        batch.add(map(table, name, &[SetType::InetProto, SetType::InetService], value));
    }
    for chain in chains(table) {
        batch.add(NfListObject::Chain(chain));
    }
    for (chain, what, statements) in all_rules(desired) {
        batch.add(rule(table, chain, what, statements));
    }
    for (name, elements) in by_map(&desired.ports) {
        batch.add(NfListObject::Element(element(table, name, elements)));
    }
    batch.to_nftables()
}

pub(super) fn remove(table: &str) -> Nftables<'static> {
    let mut batch = Batch::new();
    batch.add(table_object(table));
    batch.delete(table_object(table));
    batch.to_nftables()
}

pub(super) fn add_port(table: &str, port: HostPort, target: Target) -> Nftables<'static> {
    let mut batch = Batch::new();
    for (name, pair) in elements(port, target) {
        batch.add(NfListObject::Element(element(table, name, vec![pair])));
    }
    batch.to_nftables()
}

pub(super) fn remove_port(table: &str, port: HostPort, target: Target) -> Nftables<'static> {
    let mut batch = Batch::new();
    for (name, pair) in elements(port, target) {
        batch.delete(NfListObject::Element(element(table, name, vec![pair])));
    }
    batch.to_nftables()
}

fn table_object(table: &str) -> NfListObject<'static> {
    NfListObject::Table(Table { family: FAMILY, name: table.to_owned().into(), handle: None })
}

fn map(table: &str, name: &'static str, key: &'static [SetType], value: SetType) -> NfListObject<'static> {
    NfListObject::Map(Box::new(Map {
        family: FAMILY,
        table: table.to_owned().into(),
        name: name.into(),
        set_type: SetTypeValue::Concatenated(key.into()),
        map: SetTypeValue::Single(value),
        ..Map::default()
    }))
}

/// The elements of all published ports by their map; one object a map, since nft takes its time over each object.
fn by_map(ports: &BTreeMap<HostPort, Target>) -> BTreeMap<&'static str, Vec<Expr>> {
    let mut maps: BTreeMap<_, Vec<Expr>> = BTreeMap::new();
    for (port, target) in ports {
        for (name, pair) in elements(*port, *target) {
            maps.entry(name).or_default().push(pair);
        }
    }
    maps
}

/// The elements of a published port, one for each of its two maps.
fn elements(port: HostPort, target: Target) -> Vec<(&'static str, Expr)> {
    let mut key = vec![text(port.protocol.name()), Expression::Number(u32::from(port.port))];
    let maps = if port.address.is_unspecified() {
        ANYWHERE
    } else {
        key.insert(0, address(port.address));
        AT_ADDRESS
    };
    let key = named(NamedExpression::Concat(key));
    let values = [address(target.address), Expression::Number(u32::from(target.port))];
    let pairs = maps.into_iter().zip(values);
    pairs.map(|((name, _), value)| (name, Expression::List(vec![key.clone(), value]))).collect()
}

fn element(table: &str, name: &'static str, elements: Vec<Expr>) -> Element<'static> {
    Element { family: FAMILY, table: table.to_owned().into(), name: name.into(), elem: elements.into() }
}

fn chains(table: &str) -> Vec<Chain<'static>> {
    let plain = |name: &'static str| Chain {
        family: FAMILY,
        table: table.to_owned().into(),
        name: name.into(),
        ..Chain::default()
    };
    let base = |name, kind, hook, priority| Chain {
        _type: Some(kind),
        hook: Some(hook),
        prio: Some(priority),
        policy: Some(NfChainPolicy::Accept),
        ..plain(name)
    };
    vec![
        plain(PUBLISHED),
        base("guard", NfChainType::Filter, NfHook::Prerouting, -300),
        base("prerouting", NfChainType::NAT, NfHook::Prerouting, -100),
        base("output", NfChainType::NAT, NfHook::Output, -100),
        base("forward", NfChainType::Filter, NfHook::Forward, 0),
        base("postrouting", NfChainType::NAT, NfHook::Postrouting, 100),
    ]
}

type RuleParts = (&'static str, &'static str, Vec<Stmt>);

fn all_rules(desired: &Desired) -> Vec<RuleParts> {
    let mut rules = publishing();
    rules.extend(desired.networks.iter().flat_map(guard));
    // What may enter each network is decided before what may leave any, so that one network's right to leave is none
    // to enter another.
    rules.extend(desired.networks.iter().flat_map(entering));
    rules.extend(desired.networks.iter().map(leaving));
    rules.extend(desired.networks.iter().flat_map(source_translation));
    rules
}

fn publishing() -> Vec<RuleParts> {
    let to_local = || equal(fib_destination_type(), text("local"));
    let not_loopback = is_not(ip("daddr"), prefix(LOOPBACK));
    let protocol_and_port = || vec![meta(MetaKey::L4proto), payload("th", "dport")];
    let with_address = || std::iter::once(ip("daddr")).chain(protocol_and_port()).collect();
    vec![
        (PUBLISHED, "ports at one address", vec![translate(with_address(), AT_ADDRESS)]),
        (PUBLISHED, "ports at all addresses", vec![translate(protocol_and_port(), ANYWHERE)]),
        // A neighbour of the host can send to 127.0.0.1: translated here, before routing looks at it, it would reach
        // what is published to the host alone.
        ("prerouting", "from elsewhere", vec![not_loopback, to_local(), jump(PUBLISHED)]),
        ("output", "from the host", vec![to_local(), jump(PUBLISHED)]),
    ]
}

/// Nothing leaves an instance in a foreign name, and nothing of it reaches what listens on the host's loopback, which
/// `route_localnet` would allow.
fn guard(network: &Network) -> Vec<RuleParts> {
    let from = || from_bridge(network);
    vec![
        (
            "guard",
            "no foreign source",
            vec![from(), is_not(ip("saddr"), prefix(network.subnet)), count(), Statement::Drop(None)],
        ),
        (
            "guard",
            "no way to the host's loopback",
            vec![from(), equal(ip("daddr"), prefix(LOOPBACK)), count(), Statement::Drop(None)],
        ),
    ]
}

fn entering(network: &Network) -> Vec<RuleParts> {
    let to = || to_bridge(network);
    let states = Expression::List(vec![text("established"), text("related")]);
    vec![
        ("forward", "replies", vec![to(), within(ct("state"), states), Statement::Accept(None)]),
        ("forward", "published ports", vec![to(), translated(), Statement::Accept(None)]),
        ("forward", "inside", vec![to(), from_bridge(network), Statement::Accept(None)]),
        ("forward", "nothing else enters", vec![to(), count(), Statement::Drop(None)]),
    ]
}

fn leaving(network: &Network) -> RuleParts {
    ("forward", "outward", vec![from_bridge(network), Statement::Accept(None)])
}

fn source_translation(network: &Network) -> Vec<RuleParts> {
    let subnet = || prefix(network.subnet);
    let masquerade = || Statement::Masquerade(None);
    let out = is_not(meta(MetaKey::Oifname), text(&network.bridge));
    let mut rules = Vec::new();
    if network.nat {
        rules.push(("postrouting", "outward", vec![equal(ip("saddr"), subnet()), out, masquerade()]));
    }
    // The instance could not answer to 127.0.0.1, and would answer its own network past the translation.
    for (what, source) in [("from the host's loopback", prefix(LOOPBACK)), ("back inside", subnet())] {
        let statements = vec![to_bridge(network), equal(ip("saddr"), source), translated(), masquerade()];
        rules.push(("postrouting", what, statements));
    }
    rules
}

const LOOPBACK: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);

/// A rule, with a comment of what it is for and a hash of what it does: by its comment alone a listed rule is known to
/// be this one, however the installed nft prints its statements.
fn rule(
    table: &str,
    chain: &'static str,
    what: &'static str,
    statements: Vec<Stmt>,
) -> NfListObject<'static> {
    let content = serde_json::to_vec(&statements).unwrap_or_default();
    let comment = format!("{what} {:016x}", hash(&content));
    NfListObject::Rule(Rule {
        family: FAMILY,
        table: table.to_owned().into(),
        chain: chain.into(),
        expr: statements.into(),
        comment: Some(comment.into()),
        ..Rule::default()
    })
}

/// `dnat ip to KEY map @hosts : KEY map @ports`; a key that is in no map leaves the packet alone.
fn translate(key: Vec<Expr>, [(hosts, _), (ports, _)]: [(&'static str, SetType); 2]) -> Stmt {
    let lookup = |name: &'static str| {
        let key = named(NamedExpression::Concat(key.clone()));
        named(NamedExpression::Map(Box::new(MapExpression { key, data: text(&format!("@{name}")) })))
    };
    Statement::DNAT(Some(NAT {
        family: Some(NATFamily::IP),
        addr: Some(lookup(hosts)),
        port: Some(lookup(ports)),
        flags: None,
    }))
}

fn from_bridge(network: &Network) -> Stmt {
    equal(meta(MetaKey::Iifname), text(&network.bridge))
}

fn to_bridge(network: &Network) -> Stmt {
    equal(meta(MetaKey::Oifname), text(&network.bridge))
}

/// Of a connection that was sent elsewhere by a published port.
fn translated() -> Stmt {
    within(ct("status"), text("dnat"))
}

fn matching(left: Expr, right: Expr, op: Operator) -> Stmt {
    Statement::Match(Match { left, right, op })
}

fn equal(left: Expr, right: Expr) -> Stmt {
    matching(left, right, Operator::EQ)
}

fn is_not(left: Expr, right: Expr) -> Stmt {
    matching(left, right, Operator::NEQ)
}

fn within(left: Expr, right: Expr) -> Stmt {
    matching(left, right, Operator::IN)
}

fn count() -> Stmt {
    Statement::Counter(Counter::Anonymous(Some(AnonymousCounter::default())))
}

fn jump(chain: &'static str) -> Stmt {
    Statement::Jump(JumpTarget { target: chain.into() })
}

fn named(expression: NamedExpression<'static>) -> Expr {
    Expression::Named(expression)
}

fn text(text: &str) -> Expr {
    Expression::String(Cow::Owned(text.to_owned()))
}

fn address(address: Ipv4Addr) -> Expr {
    text(&address.to_string())
}

fn prefix(net: Ipv4Net) -> Expr {
    let len = u32::from(net.prefix_len());
    named(NamedExpression::Prefix(Prefix { addr: Box::new(address(net.network())), len }))
}

fn meta(key: MetaKey) -> Expr {
    named(NamedExpression::Meta(Meta { key }))
}

fn ct(key: &'static str) -> Expr {
    named(NamedExpression::CT(CT { key: key.into(), family: None, dir: None }))
}

fn ip(field: &'static str) -> Expr {
    payload("ip", field)
}

fn payload(protocol: &'static str, field: &'static str) -> Expr {
    let field = PayloadField { protocol: protocol.into(), field: field.into() };
    named(NamedExpression::Payload(Payload::PayloadField(field)))
}

fn fib_destination_type() -> Expr {
    named(NamedExpression::Fib(Fib { result: FibResult::Type, flags: HashSet::from([FibFlag::Daddr]) }))
}
