//! Ports as users write them, and which of them clash.

use std::net::IpAddr;

/// Why a port could not be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PortError {
    /// Not a number from 1 to 65535.
    #[error("\"{0}\" is no port")]
    Malformed(String),
    /// `8000-8010`.
    #[error("\"{0}\" is a range of ports, which cannot be published yet")]
    Range(String),
}

impl PortError {
    /// What to write instead.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "Write a number from 1 to 65535.",
            Self::Range(_) => "Write one entry of ports for each port of the range.",
        }
    }
}

/// A port's number.
pub fn parse(text: &str) -> Result<u16, PortError> {
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if let Some((low, high)) = text.split_once('-')
        && plain(low)
        && plain(high)
    {
        return Err(PortError::Range(text.to_owned()));
    }
    let port = if plain(text) && !text.starts_with('0') { text.parse().ok() } else { None };
    port.ok_or_else(|| PortError::Malformed(text.to_owned()))
}

/// What one entry of `ports` listens on; entries whose host port the agent chooses never clash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Name of the entry.
    pub name: String,
    /// Where it listens.
    pub address: IpAddr,
    /// The host's port.
    pub port: u16,
    /// `tcp` or `udp`.
    pub protocol: String,
}

impl Listener {
    fn clashes_with(&self, other: &Self) -> bool {
        let overlap = self.address == other.address
            || (self.address.is_ipv4() == other.address.is_ipv4()
                && (self.address.is_unspecified() || other.address.is_unspecified()));
        self.port == other.port && self.protocol == other.protocol && overlap
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
            port,
            protocol: protocol.to_owned(),
        }
    }

    #[test]
    fn ports() {
        assert_eq!(parse("80"), Ok(80));
        assert_eq!(parse("65535"), Ok(65_535));
        for text in ["", "0", "080", "65536", "-1", "http", "8.0", "1-"] {
            assert_eq!(parse(text), Err(PortError::Malformed(text.to_owned())), "{text}");
        }
        assert_eq!(parse("8000-8010"), Err(PortError::Range("8000-8010".to_owned())));
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
        ];
        let found: Vec<_> =
            clashes(&all).iter().map(|(one, other)| (one.name.as_str(), other.name.as_str())).collect();
        assert_eq!(found, [("d", "a")]);
    }
}
