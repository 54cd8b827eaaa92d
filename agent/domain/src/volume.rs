//! A volume: a directory that outlives instances and is shared by them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::InstanceId;
use crate::invalid::{Findings, Invalid, Invalids};
use crate::name::VolumeName;
use crate::value::text;

/// Instances have ids below this.
pub const IDS: u32 = 65_536;
/// Permissions with the set-id and sticky bits.
pub const MODES: u32 = 0o7777;

/// A file system of its own does not fit into less.
pub const MIN_SIZE: u64 = 16 << 20;
/// No ext4 has a larger file to be in.
pub const MAX_SIZE: u64 = 15 << 40;

const MAX_LABELS: usize = 4096;
const MAX_TEXT: usize = 64 * 1024;

/// A volume as it was asked for; only [`VolumeDraft::validate`] makes one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct VolumeSpec {
    /// Its name, unique on its host.
    pub name: VolumeName,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Who owns its root, as instances see it. `None`: what the image says, or root.
    pub uid: Option<u32>,
    /// The group of its root. `None`: what the image says, or root.
    pub gid: Option<u32>,
    /// The permissions of its root. `None`: what the image says, or 0755.
    pub mode: Option<u32>,
    /// Bytes that it has room for, with what its file system needs itself. `None`: as many as the host has.
    #[serde(default)]
    pub size: Option<u64>,
}

/// The instance that a volume follows, because the instance's image declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeOwner {
    /// Whose.
    pub instance: InstanceId,
    /// Where it is mounted there.
    pub target: String,
}

/// A volume before it is checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "as in VolumeSpec")]
pub struct VolumeDraft {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub mode: Option<u32>,
    pub size: Option<u64>,
}

impl VolumeDraft {
    /// Checks everything, and makes the spec.
    ///
    /// # Errors
    /// Every mistake, each with the path of its argument.
    pub fn validate(&self) -> Result<VolumeSpec, Invalids> {
        let mut findings = Findings::default();
        let name = findings.keep(&["name"], VolumeName::new(&self.name));
        if self.labels.len() > MAX_LABELS {
            let summary = format!("There are {} labels", self.labels.len());
            findings.add(Invalid::new(&["labels"], summary, format!("Use at most {MAX_LABELS}")));
        }
        for (key, value) in &self.labels {
            findings.keep(&["labels", key], text::bounded(key, 1024));
            findings.keep(&["labels", key], text::bounded(value, MAX_TEXT));
        }
        for (field, id) in [("uid", self.uid), ("gid", self.gid)] {
            if let Some(id) = id {
                findings.keep(&[field], owner(id));
            }
        }
        if let Some(mode) = self.mode {
            findings.keep(&["mode"], permissions(mode));
        }
        if let Some(size) = self.size {
            findings.keep(&["size"], room(size));
        }
        let spec = name.map(|name| VolumeSpec {
            name,
            labels: self.labels.clone(),
            uid: self.uid,
            gid: self.gid,
            mode: self.mode,
            size: self.size,
        });
        findings.finish(spec)
    }
}

/// Checks an id that a file has inside an instance.
///
/// # Errors
/// The id is beyond those that an instance has.
pub fn owner(id: u32) -> Result<u32, Invalid> {
    if id < IDS {
        return Ok(id);
    }
    Err(Invalid::new(&[], format!("No instance has the id {id}"), format!("Use an id below {IDS}")))
}

fn room(size: u64) -> Result<u64, Invalid> {
    if (MIN_SIZE..=MAX_SIZE).contains(&size) {
        return Ok(size);
    }
    let summary = format!("A volume cannot have a size of {size} bytes");
    Err(Invalid::new(&[], summary, "Use a size from 16 MiB to 15 TiB, or none"))
}

/// Checks permissions.
///
/// # Errors
/// There are other bits than those of permissions.
pub fn permissions(mode: u32) -> Result<u32, Invalid> {
    if mode <= MODES {
        return Ok(mode);
    }
    Err(Invalid::new(
        &[],
        format!("{mode:o} are no permissions"),
        "Write an octal number up to 7777, such as 0755",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_s_mistakes_are_all_told_with_their_arguments() {
        let draft = VolumeDraft {
            name: "../etc".to_owned(),
            uid: Some(65_536),
            gid: Some(u32::MAX),
            mode: Some(0o10000),
            size: Some(1 << 20),
            ..VolumeDraft::default()
        };
        let invalids = draft.validate().unwrap_err();
        let paths: Vec<_> = invalids.as_slice().iter().map(|invalid| invalid.attribute.join(".")).collect();
        assert_eq!(paths, ["name", "uid", "gid", "mode", "size"]);
        let good = VolumeDraft { name: "pg_data".to_owned(), mode: Some(0o1777), ..VolumeDraft::default() };
        assert_eq!(good.validate().unwrap().mode, Some(0o1777));
    }
}
