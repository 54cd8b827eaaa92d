//! Ports as users write them, and which of them clash.

use std::net::IpAddr;
use std::ops::RangeInclusive;

/// Why a port could not be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PortError {
    /// Not a number from 1 to 65535.
    #[error("\"{0}\" is no port")]
    Malformed(String),
    /// `8010-8000`.
    #[error("the range \"{0}\" ends before it begins")]
    Backwards(String),
}

impl PortError {
    /// What to write instead.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "Write a number from 1 to 65535, or a range such as \"8000-8010\".",
            Self::Backwards(_) => "Write its lower end first.",
        }
    }
}

/// The port that `8080` names.
pub fn parse_one(text: &str) -> Result<u16, PortError> {
    number(text).ok_or_else(|| PortError::Malformed(text.to_owned()))
}

fn number(text: &str) -> Option<u16> {
    let plain = !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// The ports that `8080` or `8000-8010` names: the first and the last.
pub fn parse(text: &str) -> Result<RangeInclusive<u16>, PortError> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => Ok(first..=last),
        (Some(_), Some(_)) => Err(PortError::Backwards(text.to_owned())),
        _ => Err(PortError::Malformed(text.to_owned())),
    }
}

/// As [`parse`] reads it.
pub fn format(ports: &RangeInclusive<u16>) -> String {
    match (ports.start(), ports.end()) {
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}-{last}"),
    }
}

/// What one entry of `ports` listens on; entries whose host port the agent chooses never clash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Name of the entry.
    pub name: String,
    /// Where it listens.
    pub address: IpAddr,
    /// The host's ports.
    pub ports: RangeInclusive<u16>,
    /// `tcp` or `udp`.
    pub protocol: String,
}

impl Listener {
    fn clashes_with(&self, other: &Self) -> bool {
        let overlap = self.address == other.address
            || (self.address.is_ipv4() == other.address.is_ipv4()
                && (self.address.is_unspecified() || other.address.is_unspecified()));
        let shared = self.ports.start() <= other.ports.end() && other.ports.start() <= self.ports.end();
        shared && self.protocol == other.protocol && overlap
    }
}

/// The first earlier entry that each clashing entry clashes with.
pub fn clashes(listeners: &[Listener]) -> Vec<(&Listener, &Listener)> {
    let clash = |(index, listener): (usize, &'_ Listener)| {
        listeners[..index]
            .iter()
            .position(|earlier| earlier.clashes_with(listener))
            .map(|earlier| (index, earlier))
    };
    let pairs = listeners.iter().enumerate().filter_map(clash);
    pairs.map(|(later, earlier)| (&listeners[later], &listeners[earlier])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(name: &str, address: &str, port: u16, protocol: &str) -> Listener {
        Listener {
            name: name.to_owned(),
            address: address.parse().unwrap(),
            ports: port..=port,
            protocol: protocol.to_owned(),
        }
    }

    #[test]
    fn ports() {
        for (text, first, last) in [("80", 80, 80), ("65535", 65_535, 65_535), ("8000-8010", 8000, 8010)] {
            assert_eq!(parse(text), Ok(first..=last));
            assert_eq!(format(&(first..=last)), text);
        }
        for text in ["", "0", "080", "65536", "-1", "http", "8.0", "1-", "1-2-3", "80-0", "+1", "1-65536"] {
            assert_eq!(parse(text), Err(PortError::Malformed(text.to_owned())), "{text}");
        }
        assert_eq!((parse_one("80"), parse_one("8000-8010").is_err()), (Ok(80), true));
        assert_eq!(parse("8010-8000"), Err(PortError::Backwards("8010-8000".to_owned())));
    }

    #[test]
    fn the_same_port_clashes_on_overlapping_addresses_only() {
        let all = [
            listener("a", "127.0.0.1", 80, "tcp"),
            listener("b", "127.0.0.1", 80, "udp"),
            listener("c", "127.0.0.2", 80, "tcp"),
            listener("d", "0.0.0.0", 80, "tcp"),
            listener("e", "::", 80, "tcp"),
            listener("f", "127.0.0.1", 81, "tcp"),
            Listener { ports: 70..=79, ..listener("g", "127.0.0.1", 1, "tcp") },
            Listener { ports: 81..=90, ..listener("h", "127.0.0.1", 1, "tcp") },
        ];
        let found: Vec<_> =
            clashes(&all).iter().map(|(one, other)| (one.name.as_str(), other.name.as_str())).collect();
        assert_eq!(found, [("d", "a"), ("h", "f")]);
    }
}
