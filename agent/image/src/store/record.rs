//! The record of an image: a small JSON file, written when everything it names is there.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{StoreError, StoredLayer};
use crate::digest::Digest;
use crate::platform::Platform;

/// The version that is written. Older ones are read for as long as there are any.
pub(super) const VERSION: u32 = 1;

/// What is kept of an image beside its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub version: u32,
    pub digest: Digest,
    pub config: Digest,
    pub platform: Platform,
    pub layers: Vec<StoredLayer>,
    /// SHA-256 of the EROFS file.
    pub tree: Digest,
    /// Whether a barrier has passed since it was written.
    pub durable: bool,
    /// The boot in which it was written: within it the page cache holds what the disk may not.
    pub boot: String,
}

impl Record {
    /// `None` where there is no such file.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, StoreError> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StoreError::io("read", path)(source)),
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| StoreError::Record { path: path.to_owned(), source })
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        // A struct of strings and numbers always serializes.
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }
}

/// The id of this boot.
pub(super) fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

/// The digests that name files in a directory. What is named otherwise is not the store's.
pub(super) fn digests_in(dir: &Path, suffix: &str) -> Result<Vec<Digest>, StoreError> {
    let mut digests = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(StoreError::io("list", dir))? {
        let entry = entry.map_err(StoreError::io("list", dir))?;
        let name = entry.file_name();
        let digest = name.to_str().and_then(|name| name.strip_suffix(suffix));
        digests.extend(digest.and_then(|hex| Digest::from_hex(hex).ok()));
    }
    Ok(digests)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The format that stores of this version have on their disks. It must be read for ever.
    #[test]
    fn version_1_reads() {
        let json = r#"{"version":1,
            "digest":"sha256:0000000000000000000000000000000000000000000000000000000000000001",
            "config":"sha256:0000000000000000000000000000000000000000000000000000000000000002",
            "platform":{"os":"linux","architecture":"arm","variant":"v7"},
            "layers":[{"digest":"sha256:0000000000000000000000000000000000000000000000000000000000000003",
                       "diff_id":"sha256:0000000000000000000000000000000000000000000000000000000000000004","size":5}],
            "tree":"sha256:0000000000000000000000000000000000000000000000000000000000000006",
            "durable":true,"boot":"b"}"#;
        let record: Record = serde_json::from_str(json).unwrap();
        assert_eq!(record.version, VERSION);
        assert_eq!(record.layers[0].size, 5);
        assert_eq!(serde_json::from_slice::<Record>(&record.to_json()).unwrap(), record);
    }
}
