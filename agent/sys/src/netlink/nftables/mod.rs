//! Changes of nftables' tables without the program `nft`. What is in a [`Batch`] the kernel does all of, or none.
//!
//! It speaks of those expressions that the rules of a host of instances need, and keeps beside sets and rules what nft keeps
//! there, so that nft shows them as its own.

mod attribute;
mod questions;
mod refusal;
mod set;
mod socket;
mod statement;

use netlink_packet_core::{NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_REQUEST};

use super::ruleset::SUBSYSTEM;
use attribute::{Attributes, user_data};

pub use questions::Generation;
pub use set::{ByteOrder, Data, DataKind, Element, Kind, Range, Set};
pub use socket::Nftables;
pub use statement::{Addresses, Field, Lookup, Statement, Verdict};

// linux/netfilter/nf_tables.h and nfnetlink.h.
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_TABLE: u16 = 0;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const DELETE_CHAIN: u16 = 5;
const NEW_RULE: u16 = 6;
const DELETE_RULE: u16 = 8;
const NEW_SET: u16 = 9;
const DELETE_SET: u16 = 11;
const NEW_ELEMENTS: u16 = 12;
const DELETE_ELEMENTS: u16 = 14;
const ACCEPT: u32 = 1;

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

/// Where the kernel calls a chain. What comes to the chain's end passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base<'a> {
    /// `filter` or `nat`.
    pub kind: &'a str,
    /// The place on a packet's way.
    pub hook: Hook,
    /// Its turn among all chains there: lower ones come first.
    pub priority: i32,
}

/// A place on a packet's way, by the number that the kernel has for it in either family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// It has come.
    Prerouting = 0,
    /// It is for the host.
    Input = 1,
    /// It is for another.
    Forward = 2,
    /// It is from the host.
    Output = 3,
    /// It goes.
    Postrouting = 4,
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

    /// A table; that it is there already is no error.
    pub fn add_table(&mut self, table: TableName<'_>) {
        let attributes = Attributes::default().text(1, table.name).number(2, 0);
        self.message(NEW_TABLE, 0, table.family, &attributes);
    }

    /// A table with all that is in it.
    pub fn delete_table(&mut self, table: TableName<'_>) {
        self.message(DELETE_TABLE, 0, table.family, &Attributes::default().text(1, table.name));
    }

    /// A chain, which the kernel calls or another chain.
    pub fn add_chain(&mut self, table: TableName<'_>, name: &str, base: Option<Base<'_>>) {
        let mut attributes = Attributes::default().text(1, table.name).text(3, name);
        if let Some(Base { kind, hook, priority }) = base {
            let hook = Attributes::default().number(1, hook as u32).bytes(2, &priority.to_be_bytes());
            attributes = attributes.text(7, kind).number(5, ACCEPT).nest(4, &hook);
        }
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
            let declare = |kind, ranges: &[Range]| self.anonymous_set(table, kind, ranges);
            expressions = expressions.statement(statement, declare);
        }
        let attributes = Attributes::default().text(1, table.name).text(2, chain);
        let attributes = attributes.nest(4, &expressions).bytes(7, &user_data(comment));
        self.message(NEW_RULE, NLM_F_CREATE | NLM_F_APPEND, table.family, &attributes);
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

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::*;
    use crate::netlink::NetlinkError;

    fn refused(batch: Batch) -> NetlinkError {
        let refused = std::thread::spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            let mut nftables = Nftables::open().unwrap();
            let refused = nftables.apply(batch).unwrap_err();
            // What was said of the one is no answer to the next.
            nftables.apply(Batch::new()).unwrap();
            refused
        });
        refused.join().unwrap()
    }

    #[test]
    fn an_empty_batch_asks_for_nothing() {
        Nftables::open().unwrap().apply(Batch::new()).unwrap();
    }

    #[test]
    fn a_table_that_is_not_there_is_the_kernels_refusal() {
        let mut batch = Batch::new();
        let table = TableName { family: Family::Inet, name: "nowhere" };
        batch.flush_chain(table, "c");
        batch.add_chain(table, "d", None);
        let refused = refused(batch);
        assert_eq!(refused.errno(), Some(Errno::ENOENT));
        assert_eq!(refused.to_string(), "cannot change the rules of chain c in table inet nowhere");
    }

    #[test]
    fn the_first_of_many_refusals_is_heard() {
        let mut batch = Batch::new();
        let table = TableName { family: Family::Inet, name: "nowhere" };
        for number in 0..3000 {
            batch.delete_chain(table, &format!("c{number}"));
        }
        assert_eq!(refused(batch).to_string(), "cannot change chain c0 in table inet nowhere");
    }

    #[test]
    fn what_is_refused_is_named() {
        let table = TableName { family: Family::Bridge, name: "t" };
        let has = |set: &str| {
            let lookup = Lookup { key: vec![Field::Incoming], set: set.to_owned() };
            [Statement::Has { lookup, not: false }]
        };
        let name = Kind { number: 41, length: 16, order: ByteOrder::Host };
        let set = Set { key: name, data: None, remembers: None, counts: false };
        type Write = fn(&mut Batch, TableName<'_>);
        let wrong: [(Write, &str); 3] = [
            (|batch, table| batch.delete_chain(table, "none"), "chain none"),
            (|batch, table| batch.delete_set(table, "none"), "set none"),
            (
                |batch, table| {
                    let element = Element { key: vec![1; 3], data: None };
                    batch.add_elements(table, "names", &[element]);
                },
                "the elements of set names",
            ),
        ];
        let all = || {
            let mut batch = Batch::new();
            batch.add_table(table);
            batch.add_set(table, "names", &set);
            batch.add_chain(table, "c", None);
            batch.add_rule(table, "c", &has("names"), "right");
            batch
        };
        for (write, what) in wrong {
            let mut batch = all();
            write(&mut batch, table);
            assert_eq!(refused(batch).to_string(), format!("cannot change {what} in table bridge t"));
        }
        let mut batch = all();
        batch.add_rule(table, "c", &has("others"), "wrong");
        batch.add_rule(table, "c", &has("names"), "right again");
        let refused = refused(batch).to_string();
        assert_eq!(refused, "cannot change the rule \"wrong\" of chain c in table bridge t");
    }
}
