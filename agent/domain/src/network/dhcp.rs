//! What a network's DHCP server gives to who is not the agent's.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::invalid::{Findings, Invalid};
use crate::name::shown;

/// How long a lease is where nobody says.
pub const DEFAULT_LEASE_SECONDS: u32 = 3600;
/// Shorter, and clients do nothing but ask; longer, and nobody lives to see the end.
const LEASE_SECONDS: std::ops::RangeInclusive<u64> = 60..=365 * 24 * 3600;

/// A DHCP server as it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Dhcp {
    /// What it gives; `None`: the upper half of the subnet.
    #[serde(default)]
    pub ipv4_range: Option<AddressRange>,
    /// How long a lease is; `None`: an hour.
    #[serde(default)]
    pub lease_seconds: Option<u32>,
}

/// Addresses from the first to the last, which may be the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AddressRange {
    /// The first.
    pub first: Ipv4Addr,
    /// The last.
    pub last: Ipv4Addr,
}

/// A DHCP server before it is checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DhcpDraft {
    /// Empty: the upper half of the subnet.
    pub ipv4_range: String,
    /// 0: an hour.
    pub lease_time_ms: u64,
}

impl AddressRange {
    /// Whether an address is one of them.
    #[must_use]
    pub fn contains(&self, address: &Ipv4Addr) -> bool {
        (self.first..=self.last).contains(address)
    }

    /// The upper half of a subnet, without the address that means all of it.
    #[must_use]
    pub fn upper_half(subnet: Ipv4Net) -> Self {
        let (first, last) = (u32::from(subnet.network()), u32::from(subnet.broadcast()));
        let middle = first + (last - first) / 2 + 1;
        Self { first: middle.into(), last: last.saturating_sub(1).max(middle).into() }
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl From<AddressRange> for String {
    fn from(range: AddressRange) -> Self {
        range.to_string()
    }
}

impl TryFrom<String> for AddressRange {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl FromStr for AddressRange {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let ends = text.split_once('-').and_then(|(first, last)| {
            Some((first.trim().parse::<Ipv4Addr>().ok()?, last.trim().parse::<Ipv4Addr>().ok()?))
        });
        match ends {
            Some((first, last)) if first <= last => Ok(Self { first, last }),
            Some((first, last)) => Err(Invalid::new(
                &[],
                format!("The range {first}-{last} ends before it begins"),
                format!("Write {last}-{first}"),
            )),
            None => Err(Invalid::new(
                &[],
                format!("\"{}\" is not a range of IPv4 addresses", shown(text)),
                "Write the first and the last, such as 10.1.2.100-10.1.2.199",
            )),
        }
    }
}

impl Dhcp {
    /// What it gives on a network with this subnet.
    #[must_use]
    pub fn range(&self, subnet: Ipv4Net) -> AddressRange {
        self.ipv4_range.unwrap_or_else(|| AddressRange::upper_half(subnet))
    }

    /// How long a lease is.
    #[must_use]
    pub fn lease_seconds(&self) -> u32 {
        self.lease_seconds.unwrap_or(DEFAULT_LEASE_SECONDS)
    }

    /// What it gives is the network's to give.
    pub(crate) fn check(&self, subnet: Ipv4Net, gateway: Ipv4Addr) -> Result<(), Invalid> {
        let Some(range) = self.ipv4_range else { return Ok(()) };
        let inside = |address: &Ipv4Addr| {
            subnet.contains(address) && *address != subnet.network() && *address != subnet.broadcast()
        };
        let path = ["dhcp", "ipv4_range"];
        if let Some(outside) = [range.first, range.last].iter().find(|address| !inside(address)) {
            let half = AddressRange::upper_half(subnet);
            let summary = format!("{outside} is no address of the network, {subnet}");
            return Err(Invalid::new(&path, summary, format!("Use a part of it, such as {half}")));
        }
        if range.contains(&gateway) {
            let summary =
                format!("The range holds {gateway}, which is the host's own address on the network");
            return Err(Invalid::new(&path, summary, "Begin the range after it"));
        }
        Ok(())
    }
}

impl DhcpDraft {
    pub(super) fn check(&self, findings: &mut Findings) -> Dhcp {
        let given = (!self.ipv4_range.is_empty()).then(|| self.ipv4_range.parse());
        let ipv4_range = given.and_then(|range| findings.keep(&["dhcp", "ipv4_range"], range));
        let seconds = self.lease_time_ms / 1000;
        let whole = self.lease_time_ms.is_multiple_of(1000) && LEASE_SECONDS.contains(&seconds);
        if self.lease_time_ms != 0 && !whole {
            let summary = "The time of a lease is out of range";
            let advice = "Use whole seconds, from a minute (1m) to a year (8760h)";
            findings.add(Invalid::new(&["dhcp", "lease_time"], summary, advice));
        }
        let lease_seconds = u32::try_from(seconds).ok().filter(|seconds| *seconds != 0);
        Dhcp { ipv4_range, lease_seconds }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    #[test]
    fn the_upper_half_is_given_where_nobody_says_what() {
        for (subnet, range) in [
            ("10.1.2.0/24", "10.1.2.128-10.1.2.254"),
            ("10.0.0.0/8", "10.128.0.0-10.255.255.254"),
            ("10.1.2.8/29", "10.1.2.12-10.1.2.14"),
            ("10.1.2.8/30", "10.1.2.10-10.1.2.10"),
        ] {
            assert_eq!(Dhcp::default().range(net(subnet)).to_string(), range);
        }
    }

    #[test]
    fn what_is_not_the_network_s_is_not_to_be_given() {
        let checked = |range: &str| {
            let dhcp = Dhcp { ipv4_range: Some(range.parse().unwrap()), lease_seconds: None };
            dhcp.check(net("10.1.2.0/24"), Ipv4Addr::new(10, 1, 2, 1)).map_err(|invalid| invalid.summary)
        };
        assert_eq!(checked("10.1.2.2-10.1.2.254"), Ok(()));
        for (range, words) in [
            ("10.1.2.1-10.1.2.9", "the host's own"),
            ("10.1.2.0-10.1.2.9", "no address of the network"),
            ("10.1.2.9-10.1.2.255", "no address of the network"),
            ("10.1.1.9-10.1.2.9", "10.1.1.9 is no address"),
            ("10.1.2.9-10.1.3.9", "10.1.3.9 is no address"),
        ] {
            let said = checked(range).unwrap_err();
            assert!(said.contains(words), "{range}: {said}");
        }
    }

    #[test]
    fn mistakes_are_told_at_their_arguments() {
        for (range, time, path) in [
            ("10.1.2.9-10.1.2.3", 0, "ipv4_range"),
            ("10.1.2.9", 0, "ipv4_range"),
            ("10.1.2.9-x", 0, "ipv4_range"),
            ("", 59_000, "lease_time"),
            ("", 90_500, "lease_time"),
            ("", u64::MAX, "lease_time"),
        ] {
            let mut findings = Findings::default();
            DhcpDraft { ipv4_range: range.to_owned(), lease_time_ms: time }.check(&mut findings);
            let told = findings.into_error().unwrap();
            assert_eq!(told.as_slice()[0].attribute, ["dhcp", path], "{range} {time}");
        }
        let text = r#"{"ipv4_range":"10.1.2.3-10.1.2.9","lease_seconds":60}"#;
        let dhcp: Dhcp = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&dhcp).unwrap(), text);
    }
}
