//! What the helpers of bridges have given to who is no instance, as they keep it in the data directory.

use std::path::{Path, PathBuf};

use berth_domain::{MacAddress, Timestamp};
use berth_engine::ports::network::{Lease, Leases, NetworkError};
use berth_network::helper::{self, LeasesError};

use super::{Inner, host};

impl Inner {
    /// Where what is given on a bridge is kept.
    pub(super) fn leases_directory(&self, bridge: &str) -> PathBuf {
        self.place.data.join("leases").join(bridge)
    }
}

/// Those that are in force. What a helper wrote is taken at its word no further than that it is an address.
pub(super) fn read(path: &Path) -> Result<Leases, NetworkError> {
    let kept = match helper::Leases::read_in(path) {
        // The helper goes on without it, as those who have something ask for it again.
        Err(LeasesError::Damaged(error)) => {
            tracing::warn!(path = %path.display(), %error, "what was leased is damaged, and taken for nothing");
            helper::Leases::default()
        }
        kept => kept.map_err(|error| host("tell what is leased", error))?,
    };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_or_damaged_is_no_lease() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(read(&directory.path().join("none")).unwrap(), Leases::default());
        let lease = |address: &str, mac: &str, expires_ms| {
            format!(
                r#"{{"address":"{address}","mac":"{mac}","hostname":"a guest","expires_ms":{expires_ms}}}"#
            )
        };
        let all = [
            lease("10.1.2.3", "52:54:00:00:00:03", u64::MAX),
            lease("10.1.2.4", "52:54:00:00:00:04", 7),
            lease("10.1.2.5", "nobody", u64::MAX),
        ];
        let file = directory.path().join("leases.json");
        std::fs::write(&file, format!(r#"{{"leases":[{}],"exhausted_ms":9}}"#, all.join(","))).unwrap();
        let found = read(directory.path()).unwrap();
        let told: Vec<_> = found.all.iter().map(|it| (it.address.to_string(), it.hostname.clone())).collect();
        assert_eq!((told, found.exhausted), (vec![("10.1.2.3".to_owned(), None)], Some(Timestamp(9))));
        std::fs::write(&file, "{").unwrap();
        assert_eq!(read(directory.path()).unwrap(), Leases::default());
        forget(directory.path()).unwrap();
        assert!(!directory.path().exists());
    }
}
