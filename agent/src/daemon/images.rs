//! `[images]` of the configuration: how long unused images stay, and what an image may at most be.

use std::time::Duration;

use berth_engine::engine::UnusedImages;
use berth_image::import::limits::Limits;
use serde::{Deserialize, Deserializer, de};

/// What becomes of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Images {
    #[serde(deserialize_with = "duration")]
    keep_unused_for: Duration,
    #[serde(deserialize_with = "size")]
    keep_unused_bytes: Option<u64>,
    #[serde(deserialize_with = "size")]
    max_archive_bytes: Option<u64>,
    #[serde(deserialize_with = "size")]
    max_layer_bytes: Option<u64>,
    max_layers: Option<u64>,
    max_entries: Option<u64>,
    max_nodes: Option<u64>,
    max_path: Option<u64>,
    max_depth: Option<u64>,
    max_header: Option<u64>,
    max_xattrs: Option<u64>,
    max_ratio: Option<u64>,
}

impl Images {
    /// What becomes of images that nothing uses any more.
    #[must_use]
    pub fn unused(&self) -> UnusedImages {
        UnusedImages { keep_for: self.keep_unused_for, keep_bytes: self.keep_unused_bytes }
    }

    /// What an image may at most be: the defaults where nothing is said.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        let set = |limit: &mut u64, value: Option<u64>| *limit = value.unwrap_or(*limit);
        set(&mut limits.max_archive_bytes, self.max_archive_bytes);
        set(&mut limits.max_layer_bytes, self.max_layer_bytes);
        set(&mut limits.max_layers, self.max_layers);
        set(&mut limits.max_entries, self.max_entries);
        set(&mut limits.max_nodes, self.max_nodes);
        // What the kernel and the EROFS writer take is the most there can be.
        set(&mut limits.max_path, self.max_path.map(|path| path.min(4095)));
        set(&mut limits.max_depth, self.max_depth.map(|depth| depth.min(1024)));
        set(&mut limits.max_header, self.max_header);
        set(&mut limits.max_xattrs, self.max_xattrs);
        set(&mut limits.max_ratio, self.max_ratio.map(|ratio| ratio.max(1)));
        limits
    }
}

/// `"72h"`, `"1d 12h"`.
fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let signed = jiff::SignedDuration::deserialize(deserializer)?;
    Duration::try_from(signed).map_err(|_| de::Error::custom("a duration is not negative"))
}

/// A number of bytes, or `"20GiB"`.
fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Bytes(u64),
        Text(String),
    }
    match Written::deserialize(deserializer)? {
        Written::Bytes(bytes) => Ok(Some(bytes)),
        Written::Text(text) => parse_size(&text).map(Some).ok_or_else(|| {
            de::Error::custom(format!(
                "{text:?} is no size: write a number of bytes, or one with KiB, MiB, GiB or TiB"
            ))
        }),
    }
}

fn parse_size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim_start() {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}
