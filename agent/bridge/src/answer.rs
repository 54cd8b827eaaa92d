//! What is known here, and what is said of it. Pure.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use berth_network::helper::{Config, Zone};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR, SOA};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

/// Names of all networks of Berth's that say nothing else end in this: nobody else is asked for them.
const TOP: &str = "berth";
/// Instances come and go: nothing is to be remembered.
const TTL: u32 = 0;
/// What a datagram of ours may hold, wherever it goes.
const PAYLOAD: u16 = 1232;

/// What is to be done about a question.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Say this.
    Reply(Vec<u8>),
    /// Ask the host's resolvers.
    Forward,
    /// Say nothing: it was no question.
    Ignore,
}

/// All names.
#[derive(Default)]
pub(crate) struct Names {
    config: Config,
    /// The names of addresses, by zone.
    reverse: Vec<HashMap<IpAddr, String>>,
}

/// What is known of a name.
enum Found<'a> {
    /// It means these.
    Addresses(&'a Zone, &'a BTreeSet<IpAddr>),
    /// It is the name of an address.
    Pointer(&'a Zone, String),
    /// It is there and means nothing by itself.
    Empty(&'a str),
    /// There is no such name, as nobody but us could know one.
    Nothing(&'a str),
    /// Somebody else may know.
    Elsewhere,
}

impl Names {
    pub(crate) fn new(config: Config) -> Self {
        let reverse = |zone: &Zone| {
            let pairs =
                zone.names.iter().flat_map(|(name, all)| all.iter().map(move |it| (*it, name.clone())));
            pairs.collect()
        };
        let reverse = config.zones.iter().map(reverse).collect();
        Self { config, reverse }
    }

    pub(crate) fn answer(&self, client: IpAddr, question: &[u8]) -> Answer {
        let Ok(asked) = Message::from_vec(question) else {
            return refusal(question, ResponseCode::FormErr).map_or(Answer::Ignore, Answer::Reply);
        };
        if asked.metadata.message_type != MessageType::Query {
            return Answer::Ignore;
        }
        let code = match asked.queries.as_slice() {
            _ if asked.metadata.op_code != OpCode::Query => ResponseCode::NotImp,
            [query] if query.query_class == DNSClass::IN => match self.find(client, query) {
                Found::Elsewhere if self.config.forward => return Answer::Forward,
                Found::Elsewhere => ResponseCode::Refused,
                found => return self.reply(&asked, query, &found),
            },
            [_] if self.config.forward => return Answer::Forward,
            [_] => ResponseCode::Refused,
            _ => ResponseCode::FormErr,
        };
        said(self.begin(&asked, code))
    }

    /// The zones that this client may ask about, with their places.
    fn zones(&self, client: IpAddr) -> impl Iterator<Item = (usize, &Zone)> {
        let others = self.config.also.get(&client).map(Vec::as_slice).unwrap_or_default();
        let places = std::iter::once(&0).chain(others);
        places.filter_map(|place| Some((*place, self.config.zones.get(*place)?)))
    }

    fn find(&self, client: IpAddr, query: &Query) -> Found<'_> {
        let Some(name) = plain(&query.name) else { return Found::Elsewhere };
        if name.ends_with(".arpa") {
            return self.find_address(client, query);
        }
        for (_, zone) in self.zones(client) {
            let Some(host) = name.strip_suffix(zone.domain.as_str()) else { continue };
            return match host.strip_suffix('.') {
                None if host.is_empty() => Found::Empty(&zone.domain),
                None => continue,
                Some(host) => match zone.names.get(host) {
                    Some(addresses) => Found::Addresses(zone, addresses),
                    None => Found::Nothing(&zone.domain),
                },
            };
        }
        let known = self.zones(client).find_map(|(_, zone)| Some((zone, zone.names.get(&name)?)));
        match known {
            Some((zone, addresses)) => Found::Addresses(zone, addresses),
            None if name.rsplit('.').next() == Some(TOP) => Found::Nothing(TOP),
            None => Found::Elsewhere,
        }
    }

    /// The name of an address.
    fn find_address(&self, client: IpAddr, query: &Query) -> Found<'_> {
        let Ok(net) = query.name.parse_arpa_name() else { return Found::Elsewhere };
        if net.prefix_len() != net.max_prefix_len() {
            return Found::Elsewhere;
        }
        let address = net.addr();
        for (place, zone) in self.zones(client) {
            if zone.subnets.iter().any(|subnet| subnet.contains(&address)) {
                return match self.reverse.get(place).and_then(|reverse| reverse.get(&address)) {
                    Some(name) => Found::Pointer(zone, format!("{name}.{}.", zone.domain)),
                    None => Found::Nothing(&zone.domain),
                };
            }
        }
        Found::Elsewhere
    }

    fn begin(&self, asked: &Message, code: ResponseCode) -> Message {
        let mut reply = Message::response(asked.metadata.id, asked.metadata.op_code);
        reply.metadata.recursion_desired = asked.metadata.recursion_desired;
        reply.metadata.recursion_available = self.config.forward;
        reply.metadata.response_code = code;
        reply.queries.clone_from(&asked.queries);
        if asked.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(PAYLOAD);
            reply.set_edns(edns);
        }
        reply
    }

    fn reply(&self, asked: &Message, query: &Query, found: &Found<'_>) -> Answer {
        let code =
            if matches!(found, Found::Nothing(_)) { ResponseCode::NXDomain } else { ResponseCode::NoError };
        let mut reply = self.begin(asked, code);
        reply.metadata.authoritative = true;
        let wants = |kind| query.query_type == kind || query.query_type == RecordType::ANY;
        let mut add = |data| reply.answers.push(Record::from_rdata(query.name.clone(), TTL, data));
        let domain = match found {
            Found::Addresses(zone, addresses) => {
                for address in *addresses {
                    match address {
                        IpAddr::V4(v4) if wants(RecordType::A) => add(RData::A(A(*v4))),
                        IpAddr::V6(v6) if wants(RecordType::AAAA) => add(RData::AAAA(AAAA(*v6))),
                        _ => {}
                    }
                }
                zone.domain.as_str()
            }
            Found::Pointer(zone, name) => {
                if let Some(name) = Name::from_ascii(name).ok().filter(|_| wants(RecordType::PTR)) {
                    add(RData::PTR(PTR(name)));
                }
                zone.domain.as_str()
            }
            Found::Empty(domain) | Found::Nothing(domain) => domain,
            Found::Elsewhere => return Answer::Ignore,
        };
        if reply.answers.is_empty() {
            // By this resolvers know how long the name is not there, and that it is not an error.
            if let Some(authority) = authority(domain) {
                if query.query_type == RecordType::SOA && matches!(found, Found::Empty(_)) {
                    reply.add_answer(authority);
                } else {
                    reply.add_authority(authority);
                }
            }
        }
        said(reply)
    }
}

fn authority(domain: &str) -> Option<Record> {
    let name = Name::from_ascii(format!("{domain}.")).ok()?;
    let data = SOA::new(name.clone(), name.clone(), 1, 3600, 600, 86_400, TTL);
    Some(Record::from_rdata(name, TTL, RData::SOA(data)))
}

/// A name in lower case without a dot at its end; `None` where a label holds what no name of ours does.
fn plain(name: &Name) -> Option<String> {
    let mut text = String::new();
    for label in name.iter() {
        let fine = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if !label.iter().all(fine) {
            return None;
        }
        if !text.is_empty() {
            text.push('.');
        }
        text.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
    }
    Some(text)
}

fn said(reply: Message) -> Answer {
    // Everything in it is small and was a name before.
    reply.to_vec().map_or(Answer::Ignore, Answer::Reply)
}

/// That nobody knows an answer, to a question that was forwarded.
pub(crate) fn failure(question: &[u8]) -> Option<Vec<u8>> {
    let Ok(asked) = Message::from_vec(question) else { return refusal(question, ResponseCode::ServFail) };
    let mut reply = Message::error_msg(asked.metadata.id, asked.metadata.op_code, ResponseCode::ServFail);
    reply.metadata.recursion_desired = asked.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.queries = asked.queries;
    reply.to_vec().ok()
}

/// An answer to what could not be read beyond its number; none to what says that it is an answer itself.
fn refusal(question: &[u8], code: ResponseCode) -> Option<Vec<u8>> {
    let [high, low, flags, ..] = question else { return None };
    if question.len() < 12 || flags & 0x80 != 0 {
        return None;
    }
    Message::error_msg(u16::from_be_bytes([*high, *low]), OpCode::Query, code).to_vec().ok()
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
