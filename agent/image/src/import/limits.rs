//! What an image may at most be. Each limit has a name that errors tell.

use super::ImportError;

/// Bounds on what an image may ask of the host.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Layers of one image.
    pub max_layers: u64,
    /// Entries of one layer.
    pub max_entries: u64,
    /// Bytes of one path, or of a link's target.
    pub max_path: u64,
    /// Bytes of one extended header.
    pub max_header: u64,
    /// Bytes of the extended attributes of one entry.
    pub max_xattrs: u64,
    /// Bytes of an archive, compressed or not.
    pub max_archive_bytes: u64,
    /// Bytes of one layer when it is inflated.
    pub max_layer_bytes: u64,
    /// How many times larger than its compressed form a layer may become…
    pub max_ratio: u64,
    /// …once it has this many bytes.
    pub ratio_from: u64,
    /// Memory that a zstd frame may ask for, as a power of two.
    pub max_zstd_window_log: u32,
    /// Names in the merged tree.
    pub max_nodes: u64,
    /// Levels of directories in the merged tree.
    pub max_depth: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_layers: 1024,
            max_entries: 2_000_000,
            max_path: 4095,
            max_header: 1024 * 1024,
            max_xattrs: 64 * 1024,
            max_archive_bytes: 128 << 30,
            max_layer_bytes: 128 << 30,
            max_ratio: 200,
            ratio_from: 4 << 30,
            max_zstd_window_log: 27,
            max_nodes: 2_000_000,
            max_depth: 1024,
        }
    }
}

impl Limits {
    pub(super) fn check_inflated(&self, inflated: u64, compressed: u64) -> Result<(), ImportError> {
        if inflated > self.max_layer_bytes {
            return Err(ImportError::Limit { name: "max_layer_bytes", limit: self.max_layer_bytes });
        }
        if inflated > self.ratio_from && inflated / self.max_ratio > compressed {
            return Err(ImportError::Limit { name: "max_ratio", limit: self.max_ratio });
        }
        Ok(())
    }
}
