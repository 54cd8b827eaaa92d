//! Published ports.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use crate::invalid::{Findings, Invalid};
use crate::name::shown;

/// The transport of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// `tcp` or `udp`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A port of an instance that is reached through the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortSpec {
    /// Where the workload listens.
    pub container_port: u16,
    /// Where the host listens; `None`: the agent chooses.
    pub host_port: Option<u16>,
    /// The host's address; 0.0.0.0 and :: are all of their family.
    pub host_address: IpAddr,
    /// The transport.
    pub protocol: Protocol,
}

impl PortSpec {
    /// Checks a port, noting mistakes under `ports.<name>`. Empty texts mean the defaults.
    pub fn check(name: &str, draft: &crate::instance::PortDraft, findings: &mut Findings) -> Option<Self> {
        let path = |field| ["ports", name, field];
        findings.keep(&["ports", name], key(name));
        let container_port = match u16::try_from(draft.container_port) {
            Ok(port) if port != 0 => Some(port),
            _ => {
                let summary = format!("{} is not a port", draft.container_port);
                findings.add(Invalid::new(&path("container_port"), summary, "Use a number from 1 to 65535"));
                None
            }
        };
        let host_port = u16::try_from(draft.host_port).ok().or_else(|| {
            let summary = format!("{} is not a port", draft.host_port);
            let advice = "Use a number from 1 to 65535, or leave it out and one is chosen";
            findings.add(Invalid::new(&path("host_port"), summary, advice));
            None
        })?;
        let host_address = findings.keep(&path("host_address"), address(&draft.host_address))?;
        let protocol = findings.keep(&path("protocol"), protocol(&draft.protocol))?;
        let host_port = (host_port != 0).then_some(host_port);
        Some(Self { container_port: container_port?, host_port, host_address, protocol })
    }

    /// Whether both ask for one and the same port of the host.
    #[must_use]
    pub fn clashes_with(&self, other: &Self) -> bool {
        self.protocol == other.protocol
            && self.host_port.is_some()
            && self.host_port == other.host_port
            && overlap(self.host_address, other.host_address)
    }
}

/// Whether a listener on one address takes the port of the other.
#[must_use]
pub fn overlap(a: IpAddr, b: IpAddr) -> bool {
    a == b || (a.is_ipv4() == b.is_ipv4() && (a.is_unspecified() || b.is_unspecified()))
}

fn key(name: &str) -> Result<(), Invalid> {
    let good = matches!(name.len(), 1..=63)
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if good {
        return Ok(());
    }
    let summary = format!("\"{}\" cannot name a port", shown(name));
    Err(Invalid::new(&[], summary, "Use 1 to 63 letters, digits, dots, hyphens and underscores"))
}

fn address(text: &str) -> Result<IpAddr, Invalid> {
    const ADVICE: &str = "Use an address of the host, 127.0.0.1 or ::1, or 0.0.0.0 or :: for all of a family";
    if text.is_empty() {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) if !address.is_multicast() && !address.is_broadcast() => Ok(address.into()),
        Ok(IpAddr::V6(address)) if address.to_ipv4_mapped().is_some() => {
            let summary = format!("{text} is an IPv4 address in the form of the other family");
            Err(Invalid::new(&[], summary, format!("Write {}", address.to_canonical())))
        }
        Ok(IpAddr::V6(address)) if address.is_unicast_link_local() => {
            let summary = format!("{text} is another address on each of the host's links");
            Err(Invalid::new(&[], summary, ADVICE))
        }
        Ok(IpAddr::V6(address)) if !address.is_multicast() => Ok(address.into()),
        _ => {
            let summary = format!("\"{}\" is not an address of a host", shown(text));
            Err(Invalid::new(&[], summary, ADVICE))
        }
    }
}

fn protocol(text: &str) -> Result<Protocol, Invalid> {
    match text {
        "" | "tcp" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        other => {
            let summary = format!("\"{}\" is not a protocol", shown(other));
            Err(Invalid::new(&[], summary, "Use \"tcp\" or \"udp\""))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_s_address_is_of_either_family() {
        for (text, address) in
            [("", "127.0.0.1"), ("::1", "::1"), ("::", "::"), ("2001:db8::5", "2001:db8::5")]
        {
            assert_eq!(super::address(text).unwrap().to_string(), address);
        }
        for bad in ["fe80::1", "::ffff:10.0.0.1", "ff02::1", "224.0.0.1", "255.255.255.255", "here", "[::1]"]
        {
            assert!(super::address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn all_of_one_family_leave_the_other_alone() {
        let overlap = |a: &str, b: &str| overlap(a.parse().unwrap(), b.parse().unwrap());
        assert!(overlap("::", "::1") && overlap("0.0.0.0", "127.0.0.1") && overlap("::1", "::1"));
        assert!(!overlap("::", "0.0.0.0") && !overlap("::", "127.0.0.1") && !overlap("::1", "::2"));
    }
}
