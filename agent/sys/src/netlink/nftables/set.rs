//! Sets and maps: how they are declared, and what is in them.

use netlink_packet_core::NLM_F_CREATE;

use super::{
    Batch, DELETE_ELEMENTS, DELETE_SET, NEW_ELEMENTS, NEW_SET, TableName, Verdict,
    attribute::{Attributes, LIST_ELEMENT, of_verdict},
};

const ANONYMOUS: u32 = 1;
const CONSTANT: u32 = 2;
const INTERVAL: u32 = 4;
const MAP: u32 = 8;
const TIMEOUT: u32 = 0x10;
const FROM_PACKETS: u32 = 0x20;
/// Of an element: it is not in the set, but ends a range.
const INTERVAL_END: u32 = 1;
const VERDICTS: u32 = 0xffff_ff00;

/// The name of a set that one rule has for itself: the kernel puts a number for the sign.
pub(super) const ANY_NAME: &str = "__set%d";

/// As many elements as surely fit in an attribute, whose length has 16 bits.
const AT_ONCE: usize = 500;

/// The first and the last.
pub type Range = (Vec<u8>, Vec<u8>);

/// A type of values. The kernel knows but their length; the rest is what nft shows them by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// nft's number of it.
    pub number: u32,
    /// How long they are.
    pub length: u32,
    /// How they are kept.
    pub order: ByteOrder,
}

impl Kind {
    /// Values that are looked up together, each padded to a register.
    #[must_use]
    pub fn of_parts(parts: &[Self]) -> Self {
        let nothing = Self { number: 0, length: 0, order: ByteOrder::OfParts };
        parts.iter().fold(nothing, |whole, part| Self {
            number: whole.number << 6 | part.number,
            length: whole.length + part.length.next_multiple_of(4),
            ..whole
        })
    }
}

/// A byte order, as nft numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteOrder {
    /// Each part has its own.
    OfParts = 0,
    /// The host's.
    Host = 1,
    /// The packet's.
    Network = 2,
}

/// A set or map with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Set {
    /// What is looked up.
    pub key: Kind,
    /// What a map has for it.
    pub data: Option<DataKind>,
    /// Its elements come from packets and go after a time, and are no more than this.
    pub remembers: Option<u32>,
    /// Each element counts the packets that it was found for.
    pub counts: bool,
}

/// What the values of a map are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataKind {
    /// Of a type.
    Value(Kind),
    /// Verdicts.
    Verdict,
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

impl Batch {
    /// A set or map with nothing in it.
    pub fn add_set(&mut self, table: TableName<'_>, name: &str, set: &Set) {
        let Set { key, data, remembers, counts } = set;
        let flags = data.map_or(0, |_| MAP) | remembers.map_or(0, |_| TIMEOUT | FROM_PACKETS);
        let mut attributes = self.declaration(table, name, flags, *key);
        let mut kept = beside(KEY_ORDER, key.order);
        if let Some(data) = data {
            let (number, length, order) = match data {
                DataKind::Value(kind) => (kind.number, kind.length, kind.order),
                DataKind::Verdict => (VERDICTS, 0, ByteOrder::OfParts),
            };
            attributes = attributes.number(6, number).number(7, length);
            kept.extend(beside(DATA_ORDER, order));
        }
        if let Some(size) = remembers {
            attributes = attributes.nest(9, &Attributes::default().number(1, *size));
        }
        attributes = attributes.bytes(13, &kept);
        if *counts {
            let counter = Attributes::default().text(1, "counter").nest(2, &Attributes::default());
            attributes = attributes.nest(17, &counter);
        }
        self.message(NEW_SET, NLM_F_CREATE, table.family, &attributes);
    }

    /// Takes out all elements of a set or map.
    pub fn flush_set(&mut self, table: TableName<'_>, name: &str) {
        let attributes = Attributes::default().text(1, table.name).text(2, name);
        self.message(DELETE_ELEMENTS, 0, table.family, &attributes);
    }

    /// A set or map that no rule looks anything up in.
    pub fn delete_set(&mut self, table: TableName<'_>, name: &str) {
        let attributes = Attributes::default().text(1, table.name).text(2, name);
        self.message(DELETE_SET, 0, table.family, &attributes);
    }

    /// Elements of a set with a name.
    pub fn add_elements(&mut self, table: TableName<'_>, set: &str, elements: &[Element]) {
        self.elements(NEW_ELEMENTS, NLM_F_CREATE, table, (set, None), elements.iter().map(of_element));
    }

    /// Takes out elements that are there.
    pub fn delete_elements(&mut self, table: TableName<'_>, set: &str, elements: &[Element]) {
        self.elements(DELETE_ELEMENTS, 0, table, (set, None), elements.iter().map(of_element));
    }

    /// The set that one rule looks something up in; its number in this batch.
    pub(super) fn anonymous_set(&mut self, table: TableName<'_>, kind: Kind, ranges: &[Range]) -> u32 {
        let plain = ranges.iter().all(|(first, last)| first == last);
        let elements = if plain { singles(ranges) } else { borders(ranges) };
        let count = u32::try_from(elements.len()).unwrap_or(u32::MAX);
        let flags = ANONYMOUS | CONSTANT | if plain { 0 } else { INTERVAL };
        let attributes = self.declaration(table, ANY_NAME, flags, kind);
        let attributes = attributes.nest(9, &Attributes::default().number(1, count));
        let attributes = attributes.bytes(13, &beside(KEY_ORDER, kind.order));
        self.message(NEW_SET, NLM_F_CREATE, table.family, &attributes);
        let elements = elements.iter().map(|(key, flags)| {
            let one = of_key(key);
            if *flags == 0 { one } else { one.number(3, *flags) }
        });
        let id = self.sets;
        self.elements(NEW_ELEMENTS, NLM_F_CREATE, table, (ANY_NAME, Some(id)), elements);
        id
    }

    /// What is said of every set; each has its number in the batch.
    fn declaration(&mut self, table: TableName<'_>, name: &str, flags: u32, key: Kind) -> Attributes {
        self.sets += 1;
        let attributes = Attributes::default().text(1, table.name).text(2, name).number(3, flags);
        attributes.number(4, key.number).number(5, key.length).number(10, self.sets)
    }

    fn elements(
        &mut self,
        kind: u16,
        flags: u16,
        table: TableName<'_>,
        (name, id): (&str, Option<u32>),
        elements: impl Iterator<Item = Attributes>,
    ) {
        let mut elements = elements.peekable();
        while elements.peek().is_some() {
            let some = elements.by_ref().take(AT_ONCE);
            let list = some.fold(Attributes::default(), |list, one| list.nest(LIST_ELEMENT, &one));
            let attributes = Attributes::default().text(1, table.name).text(2, name);
            let attributes = match id {
                Some(id) => attributes.number(4, id),
                None => attributes,
            };
            self.message(kind, flags, table.family, &attributes.nest(3, &list));
        }
    }
}

fn of_element(Element { key, data }: &Element) -> Attributes {
    let one = of_key(key);
    match data {
        None => one,
        Some(Data::Value(value)) => one.nest(2, &Attributes::default().bytes(1, value)),
        Some(Data::Verdict(verdict)) => one.nest(2, &Attributes::default().nest(2, &of_verdict(verdict))),
    }
}

fn of_key(key: &[u8]) -> Attributes {
    Attributes::default().nest(1, &Attributes::default().bytes(1, key))
}

const KEY_ORDER: u8 = 0;
const DATA_ORDER: u8 = 1;

/// A byte order as nft keeps it beside a set.
fn beside(which: u8, order: ByteOrder) -> Vec<u8> {
    let [a, b, c, d] = (order as u32).to_ne_bytes();
    vec![which, 4, a, b, c, d]
}

fn singles(ranges: &[Range]) -> Vec<(Vec<u8>, u32)> {
    ranges.iter().map(|(first, _)| (first.clone(), 0)).collect()
}

/// Where ranges begin, and where what follows them does.
fn borders(ranges: &[Range]) -> Vec<(Vec<u8>, u32)> {
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
    use super::*;

    #[test]
    fn ranges_have_borders_and_the_last_of_all_has_none() {
        let range = |first: u16, last: u16| (first.to_be_bytes().to_vec(), last.to_be_bytes().to_vec());
        let of = |ranges: &[Range]| {
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
    fn parts_are_padded_and_numbered_as_nft_does() {
        let part = |number, length| Kind { number, length, order: ByteOrder::Network };
        let whole = Kind::of_parts(&[part(7, 4), part(12, 1), part(13, 2)]);
        assert_eq!(whole, Kind { number: 0x730d, length: 12, order: ByteOrder::OfParts });
    }
}
