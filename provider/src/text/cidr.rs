//! Addresses as text: networks such as `"10.1.2.0/24"`, and single ones.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Text that is no network.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CidrError {
    /// No address and prefix.
    #[error("\"{0}\" is not a network")]
    Form(String),
    /// Bits beyond the prefix are set.
    #[error("\"{given}\" has bits beyond its prefix")]
    Bits {
        /// What was written.
        given: String,
        /// The network that it lies in.
        network: String,
    },
    /// Of the other family.
    #[error("\"{0}\" is of the other family of addresses")]
    Family(String),
}

impl CidrError {
    /// What to write instead.
    pub fn advice(&self) -> String {
        match self {
            Self::Form(_) => {
                "Write an address and the bits of its prefix, such as \"10.20.30.0/24\".".to_owned()
            }
            Self::Bits { network, .. } => format!("Write \"{network}\"."),
            Self::Family(_) => "There is an argument for each family.".to_owned(),
        }
    }
}

/// A network: its first address, and the bits of its prefix.
pub type Cidr = (IpAddr, u8);

/// Reads a network; a single address is a network of its own.
pub fn parse(text: &str) -> Result<Cidr, CidrError> {
    let form = || CidrError::Form(text.to_owned());
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| form())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        None => most,
        Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => bits.parse().map_err(|_| form())?,
        Some(_) => return Err(form()),
    };
    if bits > most {
        return Err(form());
    }
    let first = match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or_default();
            IpAddr::V4(Ipv4Addr::from(u32::from(v4) & mask))
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or_default();
            IpAddr::V6(Ipv6Addr::from(u128::from(v6) & mask))
        }
    };
    if first != address {
        let network = format!("{first}/{bits}");
        return Err(CidrError::Bits { given: text.to_owned(), network });
    }
    Ok((address, bits))
}

/// Reads a network of one family, written with its prefix.
pub fn parse_of(text: &str, v6: bool) -> Result<Cidr, CidrError> {
    let (address, bits) = parse(text)?;
    if address.is_ipv6() != v6 {
        return Err(CidrError::Family(text.to_owned()));
    }
    if !text.contains('/') {
        return Err(CidrError::Form(text.to_owned()));
    }
    Ok((address, bits))
}

/// Whether two texts mean one network.
pub fn same(one: &str, other: &str) -> bool {
    one == other || parse(one).is_ok_and(|one| parse(other) == Ok(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_and_their_spellings_are_one() {
        assert!(same("FD00:0::/64", "fd00::/64") && same("10.0.0.1", "10.0.0.1/32"));
        assert!(!same("10.0.0.0/8", "10.0.0.0/9") && !same("x", "y"));
        assert_eq!(parse("10.1.2.3/24").unwrap_err().advice(), "Write \"10.1.2.0/24\".");
        assert_eq!(parse("0.0.0.0/0").unwrap().1, 0);
        for bad in ["", "10.1.2.0/33", "fd00::/129", "10.1.2/24", "a/8", "10.0.0.0/+8", "10.0.0.0/"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse_of("fd00::/64", false).is_err() && parse_of("10.0.0.1", false).is_err());
    }
}
