//! What a rule says, in the kernel's expressions: what is loaded into registers by one is looked at by the next.

use std::time::Duration;

use super::{
    attribute::{Attributes, of_verdict},
    set::{ANY_NAME, Kind, Range},
};

// linux/netfilter/nf_tables.h.
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
const AT_MOST: u32 = 3;
const AT_LEAST: u32 = 5;
const LOOKED_UP_IN_VAIN: u32 = 1;
const UPDATE: u32 = 1;
const DESTINATION_NAT: u32 = 1;
const PORT_IS_GIVEN: u32 = 2;
const DESTINATION: u32 = 2;
const ADDRESS_TYPE: u32 = 3;

const VERDICT_REGISTER: u32 = 0;
/// Where what is looked at begins.
const FIRST: u32 = 0;
/// Behind an address of either family.
const SECOND: u32 = 4;

/// The number of a register of four bytes.
fn register(place: u32) -> u32 {
    8 + place
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

/// A field of a packet, or of what the kernel knows of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// `meta protocol`: the protocol inside of Ethernet.
    Protocol,
    /// `meta nfproto`: the family.
    Family,
    /// `meta l4proto`: the protocol inside of IP.
    Transport,
    /// `meta iifname`: the name of the interface that it came in by.
    Incoming,
    /// `meta oifname`: that of the interface that it goes out by.
    Outgoing,
    /// `ct state`.
    ConnectionState,
    /// `ct status`.
    ConnectionStatus,
    /// `fib daddr type`: what the host knows its destination as.
    DestinationType,
    /// Of Ethernet's header: offset and length.
    LinkHeader(u32, u32),
    /// Of the network header: offset and length.
    NetworkHeader(u32, u32),
    /// Of the transport header: offset and length.
    TransportHeader(u32, u32),
    /// Of an extension header of IPv6: its protocol number, offset and length.
    ExtensionHeader(u8, u32, u32),
}

impl Field {
    fn registers(self) -> u32 {
        match self {
            Self::Incoming | Self::Outgoing => 4,
            Self::LinkHeader(_, length)
            | Self::NetworkHeader(_, length)
            | Self::TransportHeader(_, length)
            | Self::ExtensionHeader(_, _, length) => length.div_ceil(4),
            _ => 1,
        }
    }
}

/// Fields that are looked up together in a set or map with a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// The fields, in the order of the set's type.
    pub key: Vec<Field>,
    /// The set or map.
    pub set: String,
}

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addresses {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Addresses {
    /// `NFPROTO_IPV4`, `NFPROTO_IPV6`.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::V4 => 2,
            Self::V6 => 10,
        }
    }
}

/// A statement of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// The field, or what a mask leaves of it, is this, or is not.
    Is {
        /// Which.
        field: Field,
        /// The bits that count, where they are not all.
        mask: Option<Vec<u8>>,
        /// What it is compared with, in the field's byte order.
        value: Vec<u8>,
        /// Whether it is to differ.
        not: bool,
    },
    /// The field is in this range.
    Within {
        /// Which.
        field: Field,
        /// First and last.
        range: Range,
    },
    /// The field is in one of these ranges, which are in order and do not touch; or in none.
    Among {
        /// Which.
        field: Field,
        /// The field's type.
        kind: Kind,
        /// First and last of each.
        ranges: Vec<Range>,
        /// Whether it is to be in none.
        not: bool,
    },
    /// A set has the fields, or does not have them.
    Has {
        /// Which, and where.
        lookup: Lookup,
        /// Whether it is not to have them.
        not: bool,
    },
    /// What a map of verdicts has for the fields; where it has nothing, the next rule is looked at.
    Decide(Lookup),
    /// Puts the fields into a set for so long, or keeps them there.
    Remember(Lookup, Duration),
    /// Sends a connection to the address and the port that two maps have; where they have none, the next rule is looked at.
    Redirect {
        /// The family of both addresses.
        addresses: Addresses,
        /// Where the address is.
        address: Lookup,
        /// Where the port is.
        port: Lookup,
    },
    /// Gives a connection the address of the interface that it goes out by.
    Masquerade,
    /// Counts what comes here.
    Count,
    /// Ends the rule.
    Verdict(Verdict),
}

impl Attributes {
    /// The expressions of a statement. What they need a set without a name for is declared before them, by `declare`, which
    /// gives back its number.
    pub(super) fn statement(
        self,
        statement: &Statement,
        declare: impl FnOnce(Kind, &[Range]) -> u32,
    ) -> Self {
        match statement {
            Statement::Is { field, mask, value, not } => {
                let loaded = self.load(*field, FIRST);
                let masked = match mask {
                    Some(mask) => loaded.masked(mask),
                    None => loaded,
                };
                masked.compared(if *not { NOT_EQUAL } else { EQUAL }, value)
            }
            Statement::Within { field, range: (first, last) } => {
                self.load(*field, FIRST).compared(AT_LEAST, first).compared(AT_MOST, last)
            }
            Statement::Among { field, kind, ranges, not } => {
                let number = Self::default().number(4, declare(*kind, ranges));
                self.load(*field, FIRST).looked_up(ANY_NAME, FIRST, &number.in_vain(*not))
            }
            Statement::Has { lookup, not } => self.look_up(lookup, FIRST, &Self::default().in_vain(*not)),
            Statement::Decide(lookup) => {
                self.look_up(lookup, FIRST, &Self::default().number(3, VERDICT_REGISTER))
            }
            Statement::Remember(Lookup { key, set }, timeout) => {
                let milliseconds = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
                let set = Self::default().text(1, set).number(3, UPDATE).number(4, register(FIRST));
                let set = set.bytes(6, &milliseconds.to_be_bytes());
                self.load_all(key, FIRST).expression("dynset", set)
            }
            Statement::Redirect { addresses, address, port } => {
                let to = |place| Self::default().number(3, register(place));
                let found = self.look_up(address, FIRST, &to(FIRST)).look_up(port, SECOND, &to(SECOND));
                let nat = Self::default().number(1, DESTINATION_NAT).number(2, addresses.number().into());
                let nat = nat.number(3, register(FIRST)).number(5, register(SECOND));
                found.expression("nat", nat.number(7, PORT_IS_GIVEN))
            }
            Statement::Masquerade => self.expression("masq", Self::default()),
            Statement::Count => self.expression("counter", Self::default()),
            Statement::Verdict(verdict) => {
                let data = Self::default().nest(2, &of_verdict(verdict));
                let immediate = Self::default().number(1, VERDICT_REGISTER).nest(2, &data);
                self.expression("immediate", immediate)
            }
        }
    }

    /// Loads a field into registers from this place on.
    fn load(self, field: Field, place: u32) -> Self {
        let to = Self::default().number(1, register(place));
        let payload = |base, offset, length| {
            let data = Self::default().number(1, register(place)).number(2, base);
            ("payload", data.number(3, offset).number(4, length))
        };
        let (name, data) = match field {
            Field::Protocol => ("meta", to.number(2, 1)),
            Field::Incoming => ("meta", to.number(2, 6)),
            Field::Outgoing => ("meta", to.number(2, 7)),
            Field::Family => ("meta", to.number(2, 15)),
            Field::Transport => ("meta", to.number(2, 16)),
            Field::ConnectionState => ("ct", to.number(2, 0)),
            Field::ConnectionStatus => ("ct", to.number(2, 2)),
            Field::DestinationType => ("fib", to.number(2, ADDRESS_TYPE).number(3, DESTINATION)),
            Field::LinkHeader(offset, length) => payload(0, offset, length),
            Field::NetworkHeader(offset, length) => payload(1, offset, length),
            Field::TransportHeader(offset, length) => payload(2, offset, length),
            Field::ExtensionHeader(header, offset, length) => {
                ("exthdr", to.bytes(2, &[header]).number(3, offset).number(4, length))
            }
        };
        self.expression(name, data)
    }

    fn load_all(self, key: &[Field], place: u32) -> Self {
        let mut place = place;
        key.iter().fold(self, |loaded, field| {
            let loaded = loaded.load(*field, place);
            place += field.registers();
            loaded
        })
    }

    fn masked(self, mask: &[u8]) -> Self {
        let length = u32::try_from(mask.len()).unwrap_or(u32::MAX);
        let data = |bytes: &[u8]| Self::default().bytes(1, bytes);
        let bits = Self::default().number(1, register(FIRST)).number(2, register(FIRST)).number(3, length);
        let bits = bits.nest(4, &data(mask)).nest(5, &data(&vec![0; mask.len()]));
        self.expression("bitwise", bits)
    }

    fn compared(self, operator: u32, value: &[u8]) -> Self {
        let compare = Self::default().number(1, register(FIRST)).number(2, operator);
        self.expression("cmp", compare.nest(3, &Self::default().bytes(1, value)))
    }

    fn look_up(self, Lookup { key, set }: &Lookup, place: u32, more: &Self) -> Self {
        self.load_all(key, place).looked_up(set, place, more)
    }

    fn looked_up(self, set: &str, place: u32, more: &Self) -> Self {
        self.expression("lookup", Self::default().text(1, set).number(2, register(place)).and(more))
    }

    fn in_vain(self, not: bool) -> Self {
        if not { self.number(5, LOOKED_UP_IN_VAIN) } else { self }
    }
}
