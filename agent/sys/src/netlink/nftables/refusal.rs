//! What the kernel refused, in words.

use netlink_packet_core::NetlinkBuffer;

use super::{
    DELETE_CHAIN, DELETE_ELEMENTS, DELETE_RULE, DELETE_SET, NEW_CHAIN, NEW_ELEMENTS, NEW_RULE, NEW_SET,
    attribute::find,
};
use crate::netlink::ruleset::SUBSYSTEM;

/// `struct nfgenmsg`, before the attributes.
const HEADER: usize = 4;
/// Before a comment: what it is, and its length.
const BEFORE_COMMENT: usize = 2;

/// What the message of this number changes.
pub(super) fn object(mut batch: &[u8], sequence: u32) -> Option<String> {
    loop {
        let message = NetlinkBuffer::new_checked(batch).ok()?;
        let kind = message.message_type();
        if message.sequence_number() == sequence && kind >> 8 == SUBSYSTEM {
            return describe(kind & 0xff, message.payload());
        }
        batch = batch.get((message.length() as usize).next_multiple_of(4)..)?;
    }
}

fn describe(kind: u16, payload: &[u8]) -> Option<String> {
    let attributes = payload.get(HEADER..)?;
    let named = |number| find(attributes, number).map(text).unwrap_or_default();
    let table = match payload.first()? {
        1 => format!("table inet {}", named(1)),
        _ => format!("table bridge {}", named(1)),
    };
    let object = match kind {
        NEW_CHAIN | DELETE_CHAIN => format!("chain {}", named(3)),
        NEW_RULE => {
            let comment = find(attributes, 7).and_then(|kept| kept.get(BEFORE_COMMENT..)).map(text);
            format!("the rule {:?} of chain {}", comment.unwrap_or_default(), named(2))
        }
        DELETE_RULE => format!("the rules of chain {}", named(2)),
        NEW_SET | DELETE_SET => format!("set {}", named(2)),
        NEW_ELEMENTS | DELETE_ELEMENTS => format!("the elements of set {}", named(2)),
        _ => return Some(table),
    };
    Some(format!("{object} in {table}"))
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}
