//! DHCP messages (RFC 2131, 2132, 3396), as the clients of supervisors and the servers of bridges read and write them. What
//! comes may say anything. Pure.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// The server's port.
pub const SERVER_PORT: u16 = 67;
/// The client's port.
pub const CLIENT_PORT: u16 = 68;

/// Kinds of messages.
pub mod kind {
    pub const DISCOVER: u8 = 1;
    pub const OFFER: u8 = 2;
    pub const REQUEST: u8 = 3;
    pub const DECLINE: u8 = 4;
    pub const ACK: u8 = 5;
    pub const NAK: u8 = 6;
    pub const RELEASE: u8 = 7;
    pub const INFORM: u8 = 8;
}

/// Codes of options.
pub mod option {
    pub const SUBNET_MASK: u8 = 1;
    pub const ROUTER: u8 = 3;
    pub const DNS: u8 = 6;
    pub const HOSTNAME: u8 = 12;
    pub const DOMAIN: u8 = 15;
    pub const MTU: u8 = 26;
    pub const BROADCAST: u8 = 28;
    pub const REQUESTED_ADDRESS: u8 = 50;
    pub const LEASE_TIME: u8 = 51;
    pub const SERVER: u8 = 54;
    pub const WANTED: u8 = 55;
    pub const TEXT: u8 = 56;
    pub const LARGEST_MESSAGE: u8 = 57;
    pub const RENEW_TIME: u8 = 58;
    pub const REBIND_TIME: u8 = 59;
    pub const CLIENT: u8 = 61;
    pub const ROUTES: u8 = 121;

    pub(super) const OVERLOAD: u8 = 52;
    pub(super) const KIND: u8 = 53;
    pub(super) const END: u8 = 255;
}

const MAGIC: [u8; 4] = [99, 130, 83, 99];
/// All before the magic number.
const HEADER: usize = 236;
/// Some relays drop what is shorter than a BOOTP message.
const SHORTEST: usize = 300;
const BROADCAST: u16 = 0x8000;

/// Who says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// Who wants an address.
    Client,
    /// Who has some.
    Server,
}

/// A message about an Ethernet interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who says it.
    pub sender: Sender,
    /// Of [`kind`].
    pub kind: u8,
    /// The number of the exchange.
    pub xid: u32,
    /// For how long the client has been asking.
    pub seconds: u16,
    /// The client hears nothing that is sent to it alone.
    pub broadcast: bool,
    /// The address that the client uses, or 0.0.0.0.
    pub own: Ipv4Addr,
    /// The address that the client is to have, or 0.0.0.0.
    pub given: Ipv4Addr,
    /// Who carried it to another link, or 0.0.0.0.
    pub relay: Ipv4Addr,
    /// The client.
    pub mac: [u8; 6],
    /// Of [`option`], but for the kind.
    pub options: BTreeMap<u8, Vec<u8>>,
}

impl Default for Message {
    fn default() -> Self {
        let nobody = Ipv4Addr::UNSPECIFIED;
        Self {
            sender: Sender::Client,
            kind: 0,
            xid: 0,
            seconds: 0,
            broadcast: false,
            own: nobody,
            given: nobody,
            relay: nobody,
            mac: [0; 6],
            options: BTreeMap::new(),
        }
    }
}

impl Message {
    /// `None` where it is no message of DHCP about an Ethernet interface, or one that is cut short.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let header = bytes.get(..HEADER)?;
        let sender = match header.get(..3)? {
            [1, 1, 6] => Sender::Client,
            [2, 1, 6] => Sender::Server,
            _ => return None,
        };
        if bytes.get(HEADER..HEADER + 4)? != MAGIC {
            return None;
        }
        let mut options = Options::default();
        options.take(bytes.get(HEADER + 4..)?)?;
        // What did not fit stands where else a file and a server are named.
        let overload = options.0.remove(&option::OVERLOAD).unwrap_or_default();
        let (file, server) = match overload.as_slice() {
            [] => (false, false),
            [which @ 1..=3] => (which & 1 != 0, which & 2 != 0),
            _ => return None,
        };
        for (_, field) in [(file, 108..236), (server, 44..108)].into_iter().filter(|(used, _)| *used) {
            options.take(header.get(field)?)?;
        }
        let mut options = options.0;
        options.remove(&option::OVERLOAD);
        let kind = match options.remove(&option::KIND)?.as_slice() {
            [kind] => *kind,
            _ => return None,
        };
        let at = |from: usize| header.get(from..from + 4).and_then(address);
        Some(Self {
            sender,
            kind,
            xid: u32::from_be_bytes(header.get(4..8)?.try_into().ok()?),
            seconds: u16::from_be_bytes(header.get(8..10)?.try_into().ok()?),
            broadcast: u16::from_be_bytes(header.get(10..12)?.try_into().ok()?) & BROADCAST != 0,
            own: at(12)?,
            given: at(16)?,
            relay: at(24)?,
            mac: header.get(28..34)?.try_into().ok()?,
            options,
        })
    }

    /// As it is sent.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let op = if self.sender == Sender::Client { 1 } else { 2 };
        let mut out = vec![op, 1, 6, 0];
        out.extend(self.xid.to_be_bytes());
        out.extend(self.seconds.to_be_bytes());
        out.extend(if self.broadcast { BROADCAST } else { 0 }.to_be_bytes());
        // The third is whom to ask for a file.
        for address in [self.own, self.given, Ipv4Addr::UNSPECIFIED, self.relay] {
            out.extend(address.octets());
        }
        out.extend(self.mac);
        out.resize(HEADER, 0);
        out.extend(MAGIC);
        out.extend([option::KIND, 1, self.kind]);
        for (code, value) in &self.options {
            if value.is_empty() {
                out.extend([*code, 0]);
            }
            for part in value.chunks(255) {
                out.extend([*code, u8::try_from(part.len()).unwrap_or(u8::MAX)]);
                out.extend(part);
            }
        }
        out.push(option::END);
        out.resize(out.len().max(SHORTEST), 0);
        out
    }

    /// An option, empty where it is not there.
    #[must_use]
    pub fn option(&self, code: u8) -> &[u8] {
        self.options.get(&code).map(Vec::as_slice).unwrap_or_default()
    }

    /// An option that is one address.
    #[must_use]
    pub fn address(&self, code: u8) -> Option<Ipv4Addr> {
        address(self.option(code))
    }

    /// An option that is a number of seconds.
    #[must_use]
    pub fn number(&self, code: u8) -> Option<u32> {
        Some(u32::from_be_bytes(self.option(code).try_into().ok()?))
    }

    /// Sets an option; one that is empty is none.
    #[must_use]
    pub fn with(mut self, code: u8, value: impl Into<Vec<u8>>) -> Self {
        let value = value.into();
        if !value.is_empty() {
            self.options.insert(code, value);
        }
        self
    }
}

/// An address as it is written.
#[must_use]
pub fn address(value: &[u8]) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?))
}

#[derive(Default)]
struct Options(BTreeMap<u8, Vec<u8>>);

impl Options {
    /// Option by option; one that comes in parts is put together. `None` where one is cut short.
    fn take(&mut self, mut rest: &[u8]) -> Option<()> {
        loop {
            match rest {
                [] | [option::END, ..] => return Some(()),
                [0, more @ ..] => rest = more,
                [code, length, more @ ..] => {
                    let length = usize::from(*length);
                    self.0.entry(*code).or_default().extend(more.get(..length)?);
                    rest = more.get(length..)?;
                }
                [_] => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message() -> Message {
        Message {
            kind: kind::REQUEST,
            xid: 7,
            seconds: 3,
            broadcast: true,
            own: Ipv4Addr::new(10, 0, 0, 7),
            mac: [2, 0, 0, 0, 0, 7],
            ..Message::default()
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let message = message().with(option::HOSTNAME, "web").with(option::DOMAIN, "").with(200, [7; 600]);
        let written = message.write();
        assert_eq!(written[236..244], [99, 130, 83, 99, 53, 1, 3, 12], "the kind first");
        assert_eq!(Message::read(&written), Some(message));
        let short = Message { sender: Sender::Server, options: BTreeMap::new(), ..self::message() };
        assert_eq!(short.write().len(), SHORTEST);
        assert_eq!(Message::read(&short.write()), Some(short));
    }

    #[test]
    fn what_is_cut_short_or_of_another_link_is_no_message() {
        let written = message().with(option::HOSTNAME, "web").write();
        // All up to the end of the last option, but between two of them.
        for length in (0..243).chain(244..248) {
            assert_eq!(Message::read(&written[..length]), None, "cut at {length}");
        }
        for (at, value) in [(0, 3), (1, 6), (2, 16), (2, 0), (236, 0), (238, 0), (241, 2)] {
            let mut other = written.clone();
            other[at] = value;
            assert_eq!(Message::read(&other), None, "byte {at}");
        }
    }

    #[test]
    fn options_are_found_where_the_others_did_not_fit() {
        let mut written = message().write();
        written.splice(243.., [52, 1, 3, 255]);
        written[108..113].copy_from_slice(&[12, 3, b'w', b'e', b'b']);
        written[44..50].copy_from_slice(&[50, 4, 10, 0, 0, 9]);
        let read = Message::read(&written).unwrap();
        assert_eq!(read.option(option::HOSTNAME), b"web");
        assert_eq!(read.address(option::REQUESTED_ADDRESS), Some(Ipv4Addr::new(10, 0, 0, 9)));
        // A part that goes beyond its field, and a word that says nothing.
        written[106..108].copy_from_slice(&[12, 9]);
        written[50..106].fill(0);
        assert_eq!(Message::read(&written), None);
        written[245] = 4;
        assert_eq!(Message::read(&written), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_fail(bytes in proptest::collection::vec(any::<u8>(), 0..700)) {
            let _ = Message::read(&bytes);
            let mut framed = message().write();
            framed.truncate(240);
            framed.extend(bytes);
            if let Some(message) = Message::read(&framed) {
                prop_assert_eq!(Message::read(&message.write()), Some(message));
            }
        }
    }
}
