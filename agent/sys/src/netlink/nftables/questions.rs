//! What the kernel knows: what rules and elements have counted, and whether anything was changed.

use std::io;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST};
use nix::errno::Errno;

use super::{
    NEW_ELEMENTS, NEW_RULE, Nftables, TableName,
    attribute::{Attributes, LIST_ELEMENT, find, read},
    message,
    socket::Failed,
};
use crate::netlink::{Cause, NetlinkError, Operation, ruleset::SUBSYSTEM};

const GET_RULE: u16 = 7;
const GET_ELEMENTS: u16 = 13;
const NEW_GENERATION: u16 = 15;
const GET_GENERATION: u16 = 16;
/// `AF_UNSPEC`: of all families.
const ANY: u8 = 0;
const WHAT: &str = "of nftables";

/// Another one after each change of anything in nftables, by whomever; what packets do to sets is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation(u32);

impl Generation {
    /// The one after a single change.
    #[must_use]
    pub fn next(self) -> Self {
        // The kernel leaves out zero.
        Self(self.0.checked_add(1).unwrap_or(1))
    }
}

impl Nftables {
    /// The generation that there is now.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub fn generation(&mut self) -> Result<Generation, NetlinkError> {
        let mut generation = None;
        self.ask(GET_GENERATION, NLM_F_ACK, ANY, &Attributes::default(), |kind, answer| {
            if kind == NEW_GENERATION {
                let number = find(answer, 1).and_then(|number| number.try_into().ok());
                generation = number.map(|number| Generation(u32::from_be_bytes(number)));
            }
        })?;
        let unsaid = || Cause::Exchange(io::ErrorKind::InvalidData.into());
        generation.ok_or_else(|| NetlinkError::new(Operation::ReadRules, WHAT, unsaid()))
    }

    /// How many packets the counters of a chain's rules have counted, all together; none where there is no such chain.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub fn packets_of_chain(&mut self, table: TableName<'_>, chain: &str) -> Result<u64, NetlinkError> {
        let attributes = Attributes::default().text(1, table.name).text(2, chain);
        let mut packets = 0;
        self.ask(GET_RULE, NLM_F_DUMP, table.family.number(), &attributes, |kind, rule| {
            if kind == NEW_RULE {
                packets += find(rule, 4).map_or(0, counted);
            }
        })?;
        Ok(packets)
    }

    /// How many packets an element of a set has counted; none where there is no such element.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub fn packets_of_element(
        &mut self,
        table: TableName<'_>,
        set: &str,
        key: &[u8],
    ) -> Result<u64, NetlinkError> {
        let element = Attributes::default().nest(1, &Attributes::default().bytes(1, key));
        let list = Attributes::default().nest(LIST_ELEMENT, &element);
        let attributes = Attributes::default().text(1, table.name).text(2, set).nest(3, &list);
        let mut packets = 0;
        self.ask(GET_ELEMENTS, NLM_F_ACK, table.family.number(), &attributes, |kind, found| {
            if kind == NEW_ELEMENTS {
                let elements = find(found, 3).into_iter().flat_map(read).map(|(_, element)| element);
                // One expression, or a list of them.
                packets += elements
                    .filter_map(|element| {
                        find(element, 7).map(of_expression).or_else(|| find(element, 11).map(counted))
                    })
                    .sum::<u64>();
            }
        })?;
        Ok(packets)
    }

    fn ask(
        &mut self,
        kind: u16,
        flags: u16,
        family: u8,
        attributes: &Attributes,
        handle: impl FnMut(u16, &[u8]),
    ) -> Result<(), NetlinkError> {
        let (kind, flags) = (SUBSYSTEM << 8 | kind, NLM_F_REQUEST | flags);
        let question = message(kind, flags, family, 0, 0, &attributes.0);
        match self.exchange(&question, handle) {
            // What is not there has counted nothing.
            Err(Failed { cause: Cause::Refused(Errno::ENOENT), .. }) => Ok(()),
            other => other.map_err(|failed| NetlinkError::new(Operation::ReadRules, WHAT, failed.cause)),
        }
    }
}

/// What the counters of a list of expressions have counted.
fn counted(expressions: &[u8]) -> u64 {
    read(expressions).map(|(_, expression)| of_expression(expression)).sum()
}

fn of_expression(expression: &[u8]) -> u64 {
    if find(expression, 1) != Some(&b"counter\0"[..]) {
        return 0;
    }
    let packets = find(expression, 2).and_then(|data| find(data, 2));
    packets.and_then(|packets| packets.try_into().ok()).map_or(0, u64::from_be_bytes)
}
