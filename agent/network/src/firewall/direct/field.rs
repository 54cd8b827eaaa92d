//! What a rule looks at, and what a packet must be to have it.

use berth_sys::netlink::nftables::Field;
use serde_json::Value;

use super::{Untranslated, list, only, text, value::encoded};

/// A field with what nft knows of it.
#[derive(Debug, Clone)]
pub(super) struct Looked {
    pub(super) field: Field,
    /// nft's name of its type.
    pub(super) kind: &'static str,
    /// The bits of it that count, where they are not all.
    pub(super) mask: Option<Vec<u8>>,
    pub(super) needs: Needs,
}

/// What a packet must be for a field to be in it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Needs {
    /// The protocol inside of Ethernet.
    pub(super) network: Option<Network>,
    /// On a bridge it is Ethernet's header that nft asks for it, and else what the kernel takes it for.
    pub(super) of_link: bool,
    /// The protocol inside of IP.
    pub(super) transport: Option<u8>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Network {
    Arp,
    V4,
    V6,
}

const NOTHING: Needs = Needs { network: None, of_link: false, transport: None };

const fn network(network: Network) -> Needs {
    Needs { network: Some(network), ..NOTHING }
}

const fn of_link(network: Network, transport: Option<u8>) -> Needs {
    Needs { network: Some(network), of_link: true, transport }
}

const fn transport(transport: u8) -> Needs {
    Needs { transport: Some(transport), ..NOTHING }
}

/// The fields that are looked up together.
pub(super) fn key(key: &Value) -> Result<Vec<Looked>, Untranslated> {
    match key.get("concat") {
        Some(_) => list(key, "concat")?.iter().map(looked).collect(),
        None => Ok(vec![looked(key)?]),
    }
}

pub(super) fn looked(what: &Value) -> Result<Looked, Untranslated> {
    let (name, of) = only(what)?;
    let (field, kind, needs) = match name {
        "&" => {
            let [inner, mask] = list(what, "&")? else { return Err(Untranslated::part(what)) };
            let inner = looked(inner)?;
            return Ok(Looked { mask: Some(encoded(inner.kind, mask)?), ..inner });
        }
        "exthdr" if (text(of, "name")?, text(of, "field")?) == ("frag", "frag-off") => {
            let field = Field::ExtensionHeader(44, 2, 2);
            let mask = Some(0xfff8_u16.to_be_bytes().to_vec());
            return Ok(Looked { field, kind: "16 bits", mask, needs: of_link(Network::V6, None) });
        }
        "payload" if of.get("base").is_some() => bits(of)?,
        "payload" => {
            in_packet(text(of, "protocol")?, text(of, "field")?).ok_or_else(|| Untranslated::part(what))?
        }
        "fib" => (Field::DestinationType, "fib_addrtype", NOTHING),
        _ => of_packet(name, text(of, "key")?).ok_or_else(|| Untranslated::part(what))?,
    };
    Ok(Looked { field, kind, mask: None, needs })
}

type Found = (Field, &'static str, Needs);

/// What the kernel knows of a packet.
fn of_packet(name: &str, key: &str) -> Option<Found> {
    let (field, kind) = match (name, key) {
        ("meta", "iifname") => (Field::Incoming, "ifname"),
        ("meta", "oifname") => (Field::Outgoing, "ifname"),
        ("meta", "nfproto") => (Field::Family, "nf_proto"),
        ("meta", "l4proto") => (Field::Transport, "inet_proto"),
        ("ct", "state") => (Field::ConnectionState, "ct_state"),
        ("ct", "status") => (Field::ConnectionStatus, "ct_status"),
        _ => return None,
    };
    Some((field, kind, NOTHING))
}

/// What is in its headers.
fn in_packet(protocol: &str, field: &str) -> Option<Found> {
    let (at, kind) = match (protocol, field) {
        ("ether", "saddr") => (Field::LinkHeader(6, 6), "ether_addr"),
        ("ether", "type") => (Field::LinkHeader(12, 2), "ether_type"),
        ("arp", "operation") => (Field::NetworkHeader(6, 2), "arp_op"),
        ("arp", "saddr ether") => (Field::NetworkHeader(8, 6), "ether_addr"),
        ("arp", "saddr ip") => (Field::NetworkHeader(14, 4), "ipv4_addr"),
        ("ip", "frag-off") => (Field::NetworkHeader(6, 2), "16 bits"),
        ("ip", "saddr") => (Field::NetworkHeader(12, 4), "ipv4_addr"),
        ("ip", "daddr") => (Field::NetworkHeader(16, 4), "ipv4_addr"),
        ("ip6", "saddr") => (Field::NetworkHeader(8, 16), "ipv6_addr"),
        ("ip6", "daddr") => (Field::NetworkHeader(24, 16), "ipv6_addr"),
        ("icmp", "type") => (Field::TransportHeader(0, 1), "icmp_type"),
        ("icmpv6", "type") => (Field::TransportHeader(0, 1), "icmpv6_type"),
        ("tcp", "flags") => (Field::TransportHeader(13, 1), "tcp_flag"),
        ("udp", "sport") => (Field::TransportHeader(0, 2), "inet_service"),
        ("udp" | "th", "dport") => (Field::TransportHeader(2, 2), "inet_service"),
        _ => return None,
    };
    let needs = match protocol {
        "arp" => of_link(Network::Arp, None),
        "ip" => network(Network::V4),
        "ip6" => network(Network::V6),
        "icmp" => of_link(Network::V4, Some(1)),
        "icmpv6" => of_link(Network::V6, Some(58)),
        "tcp" => transport(6),
        "udp" => transport(17),
        _ => NOTHING,
    };
    Some((at, kind, needs))
}

/// Bits of the transport header that have no name.
fn bits(of: &Value) -> Result<Found, Untranslated> {
    let number = |field: &str| of.get(field).and_then(Value::as_u64);
    let offset = number("offset").and_then(|offset| u32::try_from(offset / 8).ok());
    match (text(of, "base")?, offset, number("len")) {
        ("th", Some(offset), Some(48)) => Ok((Field::TransportHeader(offset, 6), "48 bits", NOTHING)),
        ("th", Some(offset), Some(128)) => Ok((Field::TransportHeader(offset, 16), "128 bits", NOTHING)),
        _ => Err(Untranslated::part(of)),
    }
}
