//! Changes of nftables' tables without the program `nft`: chains without a hook, their rules, and elements of sets. What
//! is in a [`Batch`] the kernel does all of, or none.
//!
//! It speaks of few expressions, those that lists of addresses and ports need. Tables, sets with names and chains with a
//! hook are left to `nft`, which keeps beside them what it wants to know of them later.

mod attribute;
mod questions;
mod socket;

use netlink_packet_core::{NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_REQUEST};

use super::ruleset::SUBSYSTEM;
use attribute::{Attributes, LIST_ELEMENT, REGISTER, VERDICT_REGISTER, of_verdict, user_data};

pub use questions::Generation;
pub use socket::Nftables;

// linux/netfilter/nf_tables.h and nfnetlink.h.
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_CHAIN: u16 = 3;
const DELETE_CHAIN: u16 = 5;
const NEW_RULE: u16 = 6;
const DELETE_RULE: u16 = 8;
const NEW_SET: u16 = 9;
const NEW_ELEMENTS: u16 = 12;
const DELETE_ELEMENTS: u16 = 14;
const ANONYMOUS: u32 = 1;
const CONSTANT: u32 = 2;
const INTERVAL: u32 = 4;
const INTERVAL_END: u32 = 1;

/// As many elements as surely fit in an attribute, whose length has 16 bits.
const AT_ONCE: usize = 500;

/// A table.
#[derive(Debug, Clone, Copy)]
pub struct TableName<'a> {
    /// Of which family.
    pub family: Family,
    /// Its name.
    pub name: &'a str,
}

/// A family of tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4 and IPv6.
    Inet,
    /// What passes a bridge.
    Bridge,
}

impl Family {
    fn number(self) -> u8 {
        match self {
            Self::Inet => 1,
            Self::Bridge => 7,
        }
    }
}

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It passes this hook.
    Accept,
    /// It is gone.
    Drop,
    /// The chain that came here goes on.
    Return,
    /// Another chain is asked, and then this one goes on.
    Jump(String),
    /// Another chain is asked instead.
    Goto(String),
}

/// An element of a set or map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// As it stands in registers: each part padded to four bytes.
    pub key: Vec<u8>,
    /// What a map has for it.
    pub data: Option<Data>,
}

/// What a map has for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// A value, as it stands in registers.
    Value(Vec<u8>),
    /// What to do.
    Verdict(Verdict),
}

/// A field of a packet, or of what the kernel knows of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// `meta protocol`: the protocol inside of Ethernet.
    Protocol,
    /// `meta nfproto`: the family.
    Family,
    /// `meta l4proto`: the protocol inside of IP.
    Transport,
    /// Of the network header: offset and length.
    NetworkHeader(u32, u32),
    /// Of the transport header: offset and length.
    TransportHeader(u32, u32),
}

/// A statement of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// The field is this, or is not.
    Is {
        /// Which.
        field: Field,
        /// What it is compared with, in the packet's byte order.
        value: Vec<u8>,
        /// Whether it is to differ.
        not: bool,
    },
    /// The field is in one of these ranges, which are in order and do not touch.
    Among {
        /// Which.
        field: Field,
        /// The number that nft knows the field's type by.
        kind: u32,
        /// First and last of each.
        ranges: Vec<(Vec<u8>, Vec<u8>)>,
    },
    /// Counts what comes here.
    Count,
    /// Ends the rule.
    Verdict(Verdict),
}

/// Changes that are made together.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    /// Where the last message begins.
    last: usize,
    last_flags: u16,
    sequence: u32,
    sets: u32,
}

impl Batch {
    /// With nothing in it.
    #[must_use]
    pub fn new() -> Self {
        let mut batch = Self::default();
        batch.delimiter(BATCH_BEGIN);
        batch
    }

    /// A chain without a hook.
    pub fn add_chain(&mut self, table: TableName<'_>, name: &str) {
        let attributes = Attributes::default().text(1, table.name).text(3, name);
        self.message(NEW_CHAIN, NLM_F_CREATE, table.family, &attributes);
    }

    /// Takes out all rules of a chain.
    pub fn flush_chain(&mut self, table: TableName<'_>, name: &str) {
        let attributes = Attributes::default().text(1, table.name).text(2, name);
        self.message(DELETE_RULE, 0, table.family, &attributes);
    }

    /// A chain that has no rules and that nothing leads to.
    pub fn delete_chain(&mut self, table: TableName<'_>, name: &str) {
        let attributes = Attributes::default().text(1, table.name).text(3, name);
        self.message(DELETE_CHAIN, 0, table.family, &attributes);
    }

    /// A rule at the end of a chain.
    pub fn add_rule(&mut self, table: TableName<'_>, chain: &str, statements: &[Statement], comment: &str) {
        let mut expressions = Attributes::default();
        for statement in statements {
            expressions = match statement {
                Statement::Is { field, value, not } => {
                    let operator = u32::from(*not);
                    let data = Attributes::default().bytes(1, value);
                    let compare = Attributes::default().number(1, REGISTER).number(2, operator);
                    expressions.load(*field).expression("cmp", compare.nest(3, &data))
                }
                Statement::Among { field, kind, ranges } => {
                    let set = self.anonymous_set(table, *kind, ranges);
                    let lookup = Attributes::default().number(2, REGISTER).text(1, ANY_NAME).number(4, set);
                    expressions.load(*field).expression("lookup", lookup)
                }
                Statement::Count => expressions.expression("counter", Attributes::default()),
                Statement::Verdict(verdict) => {
                    let data = Attributes::default().nest(2, &of_verdict(verdict));
                    let immediate = Attributes::default().number(1, VERDICT_REGISTER).nest(2, &data);
                    expressions.expression("immediate", immediate)
                }
            };
        }
        let attributes = Attributes::default().text(1, table.name).text(2, chain);
        let attributes = attributes.nest(4, &expressions).bytes(7, &user_data(comment));
        self.message(NEW_RULE, NLM_F_CREATE | NLM_F_APPEND, table.family, &attributes);
    }

    /// Elements of a set with a name.
    pub fn add_elements(&mut self, table: TableName<'_>, set: &str, elements: &[Element]) {
        self.named_elements(NEW_ELEMENTS, NLM_F_CREATE, table, set, elements);
    }

    /// Takes out elements that are there.
    pub fn delete_elements(&mut self, table: TableName<'_>, set: &str, elements: &[Element]) {
        self.named_elements(DELETE_ELEMENTS, 0, table, set, elements);
    }

    fn named_elements(
        &mut self,
        kind: u16,
        flags: u16,
        table: TableName<'_>,
        set: &str,
        elements: &[Element],
    ) {
        for some in elements.chunks(AT_ONCE) {
            let list = some.iter().fold(Attributes::default(), |list, element| {
                let value = Attributes::default().bytes(1, &element.key);
                let one = Attributes::default().nest(1, &value);
                let one = match &element.data {
                    None => one,
                    Some(Data::Value(value)) => one.nest(2, &Attributes::default().bytes(1, value)),
                    Some(Data::Verdict(verdict)) => {
                        one.nest(2, &Attributes::default().nest(2, &of_verdict(verdict)))
                    }
                };
                list.nest(LIST_ELEMENT, &one)
            });
            let attributes = Attributes::default().text(1, table.name).text(2, set).nest(3, &list);
            self.message(kind, flags, table.family, &attributes);
        }
    }

    /// The set that one rule looks something up in; its number in this batch.
    fn anonymous_set(&mut self, table: TableName<'_>, kind: u32, ranges: &[(Vec<u8>, Vec<u8>)]) -> u32 {
        self.sets += 1;
        let id = self.sets;
        let plain = ranges.iter().all(|(first, last)| first == last);
        let elements = if plain { singles(ranges) } else { borders(ranges) };
        let count = u32::try_from(elements.len()).unwrap_or(u32::MAX);
        let length = ranges.first().map_or(0, |(first, _)| first.len());
        let flags = ANONYMOUS | CONSTANT | if plain { 0 } else { INTERVAL };
        let description = Attributes::default().number(1, count);
        let attributes = Attributes::default().text(1, table.name).text(2, ANY_NAME).number(3, flags);
        let attributes = attributes.number(4, kind).number(5, u32::try_from(length).unwrap_or(0));
        let attributes = attributes.number(10, id).nest(9, &description).bytes(13, &KEYS_ARE_BIG_ENDIAN);
        self.message(NEW_SET, NLM_F_CREATE, table.family, &attributes);
        for some in elements.chunks(AT_ONCE) {
            let list = some.iter().fold(Attributes::default(), |list, (key, flags)| {
                let one = Attributes::default().nest(1, &Attributes::default().bytes(1, key));
                list.nest(LIST_ELEMENT, &if *flags == 0 { one } else { one.number(3, *flags) })
            });
            let attributes = Attributes::default().text(1, table.name).text(2, ANY_NAME).number(4, id);
            self.message(NEW_ELEMENTS, NLM_F_CREATE, table.family, &attributes.nest(3, &list));
        }
        id
    }

    /// All of it, with a question for an answer.
    fn finish(mut self) -> Option<Vec<u8>> {
        if self.last == 0 {
            return None;
        }
        // The kernel answers for what it refuses, and for this one in any case.
        let flags = NLM_F_REQUEST | NLM_F_ACK | self.last_flags;
        if let Some(place) = self.bytes.get_mut(self.last + 6..self.last + 8) {
            place.copy_from_slice(&flags.to_ne_bytes());
        }
        self.delimiter(BATCH_END);
        Some(self.bytes)
    }

    fn message(&mut self, kind: u16, flags: u16, family: Family, attributes: &Attributes) {
        (self.last, self.last_flags) = (self.bytes.len(), flags);
        self.write(SUBSYSTEM << 8 | kind, flags, family.number(), 0, &attributes.0);
    }

    fn delimiter(&mut self, kind: u16) {
        self.write(kind, 0, 0, SUBSYSTEM, &[]);
    }

    fn write(&mut self, kind: u16, flags: u16, family: u8, resource: u16, attributes: &[u8]) {
        self.bytes.extend(message(kind, NLM_F_REQUEST | flags, family, resource, self.sequence, attributes));
        self.sequence += 1;
    }
}

fn message(kind: u16, flags: u16, family: u8, resource: u16, sequence: u32, attributes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(20 + attributes.len()).unwrap_or(u32::MAX);
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend(sequence.to_ne_bytes());
    message.extend([0; 4]);
    message.extend([family, 0]);
    message.extend(resource.to_be_bytes());
    message.extend(attributes);
    message
}

/// The kernel puts a number for the sign.
const ANY_NAME: &str = "__set%d";
/// What nft keeps beside a set: the byte order of its keys.
const KEYS_ARE_BIG_ENDIAN: [u8; 6] = {
    let [a, b, c, d] = 2_u32.to_ne_bytes();
    [0, 4, a, b, c, d]
};

fn singles(ranges: &[(Vec<u8>, Vec<u8>)]) -> Vec<(Vec<u8>, u32)> {
    ranges.iter().map(|(first, _)| (first.clone(), 0)).collect()
}

/// Where ranges begin, and where what follows them does.
fn borders(ranges: &[(Vec<u8>, Vec<u8>)]) -> Vec<(Vec<u8>, u32)> {
    let mut borders = Vec::new();
    if let Some((first, _)) = ranges.first()
        && first.iter().any(|byte| *byte != 0)
    {
        borders.push((vec![0; first.len()], INTERVAL_END));
    }
    for (first, last) in ranges {
        borders.push((first.clone(), 0));
        borders.extend(next(last).map(|next| (next, INTERVAL_END)));
    }
    borders
}

/// The number after this one, if there is one of its length.
fn next(number: &[u8]) -> Option<Vec<u8>> {
    let mut next = number.to_vec();
    for byte in next.iter_mut().rev() {
        let (sum, over) = byte.overflowing_add(1);
        *byte = sum;
        if !over {
            return Some(next);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::*;

    #[test]
    fn ranges_have_borders_and_the_last_of_all_has_none() {
        let range = |first: u16, last: u16| (first.to_be_bytes().to_vec(), last.to_be_bytes().to_vec());
        let of = |ranges: &[(Vec<u8>, Vec<u8>)]| {
            let number = |(key, flags): (Vec<u8>, u32)| (u16::from_be_bytes([key[0], key[1]]), flags);
            borders(ranges).into_iter().map(number).collect::<Vec<_>>()
        };
        assert_eq!(
            of(&[range(80, 0x00ff), range(443, 443)]),
            [(0, 1), (80, 0), (256, 1), (443, 0), (444, 1)]
        );
        assert_eq!(of(&[range(0, 9), range(60_000, u16::MAX)]), [(0, 0), (10, 1), (60_000, 0)]);
    }

    #[test]
    fn an_empty_batch_asks_for_nothing() {
        Nftables::open().unwrap().apply(Batch::new()).unwrap();
    }

    #[test]
    fn a_table_that_is_not_there_is_the_kernels_refusal() {
        let refused = std::thread::spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            let mut batch = Batch::new();
            let table = TableName { family: Family::Inet, name: "nowhere" };
            batch.flush_chain(table, "c");
            batch.add_chain(table, "d");
            let mut nftables = Nftables::open().unwrap();
            let refused = nftables.apply(batch).unwrap_err();
            // What was said of the one is no answer to the next.
            nftables.apply(Batch::new()).unwrap();
            refused
        });
        assert_eq!(refused.join().unwrap().errno(), Some(Errno::ENOENT));
    }
}
