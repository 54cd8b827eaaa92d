//! Between the wire's types and the domain's. Wire types stop here.

mod contents;
pub(super) mod image;
pub(super) mod instance;
pub(super) mod network;
pub(super) mod process;
pub(super) mod remote;

use std::str::FromStr;

use berth_domain::{Digest, Invalid, Platform, Timestamp};
use tonic::Status;

use super::status;

/// An id of the wire.
pub(super) fn id<T: FromStr>(text: &str) -> Result<T, Status> {
    text.parse().map_err(|_| {
        let summary = format!("\"{}\" is not an id", berth_domain::name::shown(text));
        status::invalid(Invalid::new(&["id"], summary, "Give the UUID that the agent gave it"))
    })
}

/// A digest, where one is given.
pub(super) fn digest(text: &str) -> Result<Option<Digest>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        let summary = format!("\"{}\" is not a digest", berth_domain::name::shown(text));
        let advice = "Write sha256: and 64 lower-case hexadecimal digits";
        status::invalid(Invalid::new(&["reference"], summary, advice))
    })
}

/// A platform, where one is given.
pub(super) fn platform(text: &str) -> Result<Option<Platform>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    Platform::new(text).map(Some).map_err(status::invalid)
}

/// A moment as in RFC 3339.
pub(super) fn rfc3339(time: Timestamp) -> String {
    i64::try_from(time.0)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map(|time| time.to_string())
        .unwrap_or_default()
}

/// How a thing is looked up.
pub(super) mod by {
    use std::str::FromStr;

    use berth_engine::view::By;
    use tonic::Status;

    pub(in crate::api) fn id<T: FromStr>(text: &str) -> Result<By<T>, Status> {
        super::id(text).map(By::Id)
    }

    pub(in crate::api) fn name<T>(name: String) -> By<T> {
        By::Name(name)
    }

    pub(in crate::api) fn missing() -> Status {
        crate::api::instances::incomplete("id or name")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_in_utc() {
        assert_eq!(rfc3339(Timestamp(0)), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(Timestamp(1_700_000_000_123)), "2023-11-14T22:13:20.123Z");
        assert_eq!(rfc3339(Timestamp(u64::MAX)), "");
    }
}
