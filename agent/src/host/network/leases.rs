//! What the helpers of bridges have given to who is no instance, as they keep it in the data directory.

use std::path::{Path, PathBuf};

use berth_domain::{MacAddress, Timestamp};
use berth_engine::ports::network::{Lease, Leases, NetworkError};
use berth_network::helper;

use super::{Inner, host};

impl Inner {
    /// Where what is given on a bridge is kept.
    pub(super) fn leases_directory(&self, bridge: &str) -> PathBuf {
        self.place.data.join("leases").join(bridge)
    }
}

/// Those that are in force. What a helper wrote is taken at its word no further than that it is an address.
pub(super) fn read(path: &Path) -> Result<Leases, NetworkError> {
    let kept = helper::Leases::read_in(path).map_err(|error| host("tell what is leased", error))?;
    let now = Timestamp::now();
    let lease = |lease: helper::Lease| {
        let mac: MacAddress = lease.mac.parse().ok()?;
        let expires = Timestamp(lease.expires_ms);
        let hostname = lease.hostname.filter(|name| name.bytes().all(|byte| byte.is_ascii_graphic()));
        (expires > now).then_some(Lease { address: lease.address, mac, hostname, expires })
    };
    let all = kept.leases.into_iter().filter_map(lease).collect();
    Ok(Leases { all, exhausted: kept.exhausted_ms.map(Timestamp) })
}

/// Nothing is remembered of what was given.
pub(super) fn forget(path: &Path) -> Result<(), NetworkError> {
    helper::Leases::remove(path).map_err(|error| host("forget what was leased", error))
}
