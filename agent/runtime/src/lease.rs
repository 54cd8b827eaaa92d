//! What an instance's interfaces have: addresses, and leases of DHCP servers.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How an interface takes its address from a DHCP server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DhcpSpec {
    /// Whether the server's routes to elsewhere are taken.
    pub default_route: bool,
    /// Whether the server's resolvers are written to the instance's `resolv.conf`.
    pub dns: bool,
    /// The name that the server is told.
    pub hostname: Option<String>,
    /// How many milliseconds a second of the protocol lasts: for tests, which cannot wait for a lease to end.
    pub second_ms: Option<u32>,
}

/// An address for a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// The length of its network's prefix, in bits.
    pub prefix_len: u8,
    /// Where else leads to.
    pub routes: Vec<LeaseRoute>,
    /// Resolvers.
    pub dns: Vec<Ipv4Addr>,
    /// The domain of short names.
    pub domain: Option<String>,
    /// The largest packet, in bytes.
    pub mtu: Option<u32>,
    /// Who gave it.
    pub server: Ipv4Addr,
    /// For how long, in seconds; absent: without end.
    pub seconds: Option<u32>,
    /// When its server is asked for more time, in seconds from its beginning.
    pub renew_seconds: u32,
    /// When any server is.
    pub rebind_seconds: u32,
    /// Milliseconds since the epoch, of the last time that it was given or renewed.
    #[serde(default)]
    pub since_ms: u64,
    /// Milliseconds since the epoch; absent: without end.
    #[serde(default)]
    pub expires_ms: Option<u64>,
    /// How often it was renewed.
    #[serde(default)]
    pub renewals: u32,
}

/// What two clocks may differ by without either having been set.
const SAME_MS: u64 = 1000;

impl Lease {
    /// As it is told at `now_ms`, so long after it was given: by the time that passed, whatever was done to the wall clock
    /// meanwhile.
    #[must_use]
    pub fn told(&self, after: Duration, now_ms: u64) -> Self {
        let passed = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        let since_ms = now_ms.saturating_sub(passed);
        if since_ms.abs_diff(self.since_ms) < SAME_MS {
            return self.clone();
        }
        let mut lease = self.clone();
        lease.begin(since_ms);
        lease
    }

    /// It counts from here.
    pub fn begin(&mut self, since_ms: u64) {
        self.since_ms = since_ms;
        self.expires_ms = self.seconds.map(|seconds| since_ms.saturating_add(u64::from(seconds) * 1000));
    }
}

/// A route that came with a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRoute {
    /// Where to; 0.0.0.0 with a prefix of 0 is everywhere.
    pub destination: Ipv4Addr,
    /// The length of the destination's prefix.
    pub prefix_len: u8,
    /// The next hop; absent: straight onto the link.
    pub gateway: Option<Ipv4Addr>,
}

/// An interface as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceStatus {
    /// Its name inside.
    pub name: String,
    /// Its MAC address.
    pub mac: String,
    /// Its addresses as the kernel has them, each with its prefix; link-local ones are left out.
    pub addresses: Vec<String>,
    /// What its DHCP server gave.
    #[serde(default)]
    pub lease: Option<Lease>,
    /// Why it has no lease, or what was wrong with the last answer.
    #[serde(default)]
    pub trouble: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumps_moves_neither_the_age_of_a_lease_nor_what_is_left_of_it() {
        const HOUR: u64 = 3_600_000;
        let mut lease = Lease {
            address: Ipv4Addr::new(192, 0, 2, 5),
            prefix_len: 24,
            routes: Vec::new(),
            dns: Vec::new(),
            domain: None,
            mtu: None,
            server: Ipv4Addr::new(192, 0, 2, 1),
            seconds: Some(7200),
            renew_seconds: 3600,
            rebind_seconds: 6300,
            since_ms: 0,
            expires_ms: None,
            renewals: 0,
        };
        let given = 1000 * HOUR;
        lease.begin(given);
        // Ten minutes later, with a clock that was set an hour back, or a day ahead.
        let after = Duration::from_secs(600);
        for now in [given + 600_000 - HOUR, given + 600_000 + 24 * HOUR] {
            let told = lease.told(after, now);
            assert_eq!((now - told.since_ms, told.expires_ms.unwrap() - now), (600_000, 6_600_000));
        }
        // One that is not set is not told anew with each look.
        assert_eq!(lease.told(after, given + 600_003), lease);
        let forever = Lease { seconds: None, expires_ms: None, ..lease };
        assert_eq!(forever.told(after, given).expires_ms, None);
    }
}
