//! The parts of rules in the JSON that nft takes (libnftables-json(5)).

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};

pub(super) fn meta(key: &str) -> Value {
    json!({ "meta": { "key": key } })
}

pub(super) fn ct(key: &str) -> Value {
    json!({ "ct": { "key": key } })
}

pub(super) fn payload(protocol: &str, field: &str) -> Value {
    json!({ "payload": { "protocol": protocol, "field": field } })
}

/// Bits of the transport header, for what nft's older versions have no name for.
pub(super) fn transport_bits(offset: u32, length: u32) -> Value {
    json!({ "payload": { "base": "th", "offset": offset, "len": length } })
}

pub(super) fn concat(parts: Vec<Value>) -> Value {
    json!({ "concat": parts })
}

pub(super) fn set(elements: impl IntoIterator<Item = impl Into<Value>>) -> Value {
    json!({ "set": elements.into_iter().map(Into::into).collect::<Vec<Value>>() })
}

pub(super) fn prefix(net: impl Into<IpNet>) -> Value {
    let net = net.into();
    json!({ "prefix": { "addr": net.network().to_string(), "len": net.prefix_len() } })
}

/// A network as an element of an anonymous set, which takes no prefix of the whole length.
pub(super) fn prefix_or_address(net: IpNet) -> Value {
    if net.prefix_len() == net.max_prefix_len() { json!(net.addr().to_string()) } else { prefix(net) }
}

pub(super) fn matching(left: Value, operator: &str, right: impl Into<Value>) -> Value {
    json!({ "match": { "left": left, "op": operator, "right": right.into() } })
}

pub(super) fn equal(left: Value, right: impl Into<Value>) -> Value {
    matching(left, "==", right)
}

pub(super) fn is_not(left: Value, right: impl Into<Value>) -> Value {
    matching(left, "!=", right)
}

pub(super) fn in_state(states: &[&str]) -> Value {
    matching(ct("state"), "in", states.to_vec())
}

/// Of a connection that was sent elsewhere by a published port.
pub(super) fn translated() -> Value {
    matching(ct("status"), "in", "dnat")
}

pub(super) fn fib_local() -> Value {
    equal(json!({ "fib": { "result": "type", "flags": ["daddr"] } }), "local")
}

pub(super) fn count() -> Value {
    json!({ "counter": { "packets": 0, "bytes": 0 } })
}

pub(super) fn accept() -> Value {
    json!({ "accept": null })
}

pub(super) fn drop() -> Value {
    json!({ "drop": null })
}

pub(super) fn give_back() -> Value {
    json!({ "return": null })
}

pub(super) fn masquerade() -> Value {
    json!({ "masquerade": null })
}

pub(super) fn jump(chain: &str) -> Value {
    json!({ "jump": { "target": chain } })
}

pub(super) fn go_to(chain: &str) -> Value {
    json!({ "goto": { "target": chain } })
}

/// A verdict looked up in a map; where the map has none, the next rule is looked at.
pub(super) fn verdict(key: Value, map: &str) -> Value {
    json!({ "vmap": { "key": key, "data": format!("@{map}") } })
}

/// The name of an address's family in rules.
pub(super) fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "ip" } else { "ip6" }
}
