//! What is mounted in an instance beside its root filesystem.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::device::DeviceSpec;
use crate::ids::VolumeId;
use crate::invalid::{Findings, Invalid};
use crate::name::shown;
use crate::value::text;
use crate::volume::{VolumeSpec, owner, permissions};

/// More mounts than this in one instance are a mistake.
const MAX: usize = 256;

/// The permissions of a memory filesystem's root where nothing is said: anyone may make files, and remove his own.
const TMPFS_MODE: u32 = 0o1777;

/// A mount as it was asked for; only [`check`] makes one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MountSpec {
    /// What is mounted.
    pub source: MountSource,
    /// Where, inside: absolute, and without `.`, `..` and double slashes.
    pub target: String,
    /// It cannot be written inside.
    pub read_only: bool,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountSource {
    /// A volume, by its name or id; resolved once.
    Volume(String),
    /// A file or directory of the host's.
    Bind {
        /// Absolute.
        path: String,
        /// Its files have the ids inside that they have on the host.
        id_mapped: bool,
    },
    /// An empty filesystem in memory.
    Tmpfs {
        /// Bytes; `None`: half of the host's memory.
        size: Option<u64>,
        /// Who owns its root.
        uid: u32,
        /// The group of its root.
        gid: u32,
        /// The permissions of its root.
        mode: u32,
    },
}

impl MountSource {
    /// The word users know it by.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Volume(_) => "volume",
            Self::Bind { .. } => "bind",
            Self::Tmpfs { .. } => "tmpfs",
        }
    }
}

/// A mount before it is checked; empty texts and absent numbers mean the defaults.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "as in MountSpec")]
pub struct MountDraft {
    /// Empty: a volume.
    pub kind: String,
    pub source: String,
    pub target: String,
    pub read_only: bool,
    pub size: Option<u64>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub mode: Option<u32>,
    /// `None`: true.
    pub id_mapped: Option<bool>,
}

/// A mount of which all is known that the host needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Its name in the spec; of a volume that the image declares, its target; of a device, its name after `device/`.
    pub name: String,
    /// Where, inside.
    pub target: String,
    /// It cannot be written inside.
    pub read_only: bool,
    /// What is mounted.
    pub source: Mounted,
}

/// What is mounted, as the host needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mounted {
    /// A volume.
    Volume {
        /// Which.
        id: VolumeId,
        /// What its root was given.
        spec: VolumeSpec,
    },
    /// A device node.
    Device(DeviceSpec),
    /// Anything else, as it was asked for.
    Other(MountSource),
}

/// Checks all mounts of an instance.
pub fn check(drafts: &BTreeMap<String, MountDraft>, findings: &mut Findings) -> BTreeMap<String, MountSpec> {
    if drafts.len() > MAX {
        let summary = format!("There are {} mounts", drafts.len());
        findings.add(Invalid::new(&["mounts"], summary, format!("Use at most {MAX}")));
    }
    let mut mounts: BTreeMap<String, MountSpec> = BTreeMap::new();
    for (name, draft) in drafts {
        let path = |field| ["mounts", name, field];
        findings.keep(&["mounts", name], mount_name(name));
        let target = findings.keep(&path("target"), target(&draft.target));
        let source = draft.source(name, findings);
        let Some((target, source)) = target.zip(source) else { continue };
        if let Some((other, _)) = mounts.iter().find(|(_, other)| other.target == target) {
            let summary = format!("The mount \"{other}\" has the same target");
            findings.add(Invalid::new(&path("target"), summary, "Give each its own"));
        }
        mounts.insert(name.clone(), MountSpec { source, target, read_only: draft.read_only });
    }
    mounts
}

pub(crate) fn mount_name(name: &str) -> Result<(), Invalid> {
    let good = matches!(name.len(), 1..=63)
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if good {
        return Ok(());
    }
    let advice = "Use 1 to 63 letters, digits, hyphens, underscores and dots";
    Err(Invalid::new(&[], format!("\"{}\" is not a mount's name", shown(name)), advice))
}

impl MountDraft {
    fn source(&self, name: &str, findings: &mut Findings) -> Option<MountSource> {
        let path = |field| ["mounts", name, field];
        let of_tmpfs = [
            ("size", self.size.is_some()),
            ("uid", self.uid.is_some()),
            ("gid", self.gid.is_some()),
            ("mode", self.mode.is_some()),
        ];
        let of_bind = [("idmap", self.id_mapped.is_some())];
        let given = |fields: &[(&'static str, bool)]| -> Vec<&'static str> {
            fields.iter().filter(|(_, given)| *given).map(|(field, _)| *field).collect()
        };
        let (source, useless, of) = match self.kind.as_str() {
            "" | "volume" => {
                let name = findings.keep(&path("source"), volume(&self.source));
                let useless = [given(&of_tmpfs), given(&of_bind)].concat();
                (name.map(MountSource::Volume), useless, "of a volume: berth_volume has its own")
            }
            "bind" => {
                let source = findings.keep(&path("source"), text::absolute_path(&self.source));
                let id_mapped = self.id_mapped.unwrap_or(true);
                let source = source.map(|path| MountSource::Bind { path, id_mapped });
                (source, given(&of_tmpfs), "of a bind: it is what it is on the host")
            }
            "tmpfs" => {
                let mut useless = given(&of_bind);
                if !self.source.is_empty() {
                    useless.push("source");
                }
                (self.tmpfs(name, findings), useless, "of a tmpfs")
            }
            other => {
                let summary = format!("\"{}\" is no type of a mount", shown(other));
                findings.add(Invalid::new(&path("type"), summary, "Use \"volume\", \"bind\" or \"tmpfs\""));
                return None;
            }
        };
        for field in useless {
            let summary = format!("{field} is no argument {of}");
            findings.add(Invalid::new(&path(field), summary, "Leave it out"));
        }
        source
    }

    fn tmpfs(&self, name: &str, findings: &mut Findings) -> Option<MountSource> {
        let mut checked = |field, value: Option<u32>, check: fn(u32) -> Result<u32, Invalid>, default| {
            value.map_or(Some(default), |value| findings.keep(&["mounts", name, field], check(value)))
        };
        let uid = checked("uid", self.uid, owner, 0);
        let gid = checked("gid", self.gid, owner, 0);
        let mode = checked("mode", self.mode, permissions, TMPFS_MODE);
        if self.size == Some(0) {
            let path = ["mounts", name, "size"];
            findings.add(Invalid::new(
                &path,
                "The size is zero",
                "Leave it out for half of the host's memory",
            ));
        }
        Some(MountSource::Tmpfs { size: self.size, uid: uid?, gid: gid?, mode: mode? })
    }
}

fn volume(text: &str) -> Result<String, Invalid> {
    // A name, or an id, which is made of the same characters.
    crate::name::VolumeName::new(text).map(String::from)
}

/// What the runtime makes itself, and what nothing may cover.
const RESERVED: [&str; 5] = ["/", "/dev", "/dev/pts", "/dev/mqueue", "/dev/console"];

/// Checks and cleans the place of a mount inside an instance.
///
/// # Errors
/// The path is not absolute, leads out of itself, or is one that nothing may cover.
pub fn target(path: &str) -> Result<String, Invalid> {
    let clean = text::plain_path(path)?;
    let kernels = |root: &str| clean == root || clean.starts_with(&format!("{root}/"));
    if RESERVED.contains(&clean.as_str()) || kernels("/proc") || kernels("/sys") {
        let summary = format!("Nothing can be mounted at {}", shown(&clean));
        return Err(Invalid::new(&[], summary, "Use another directory of the instance"));
    }
    Ok(clean)
}

/// The place of a volume that an image declares. Its config may say anything.
///
/// # Errors
/// As of [`target`].
pub fn declared_target(path: &str) -> Result<String, Invalid> {
    if path.starts_with('/') { target(path) } else { target(&format!("/{path}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drafts<const N: usize>(list: [(&str, MountDraft); N]) -> BTreeMap<String, MountDraft> {
        list.into_iter().map(|(name, draft)| (name.to_owned(), draft)).collect()
    }

    fn bind(source: &str, target: &str) -> MountDraft {
        MountDraft {
            kind: "bind".to_owned(),
            source: source.to_owned(),
            target: target.to_owned(),
            ..MountDraft::default()
        }
    }

    #[test]
    fn targets_are_clean_and_none_covers_what_the_runtime_needs() {
        assert_eq!(target("//var//lib/data/").unwrap(), "/var/lib/data");
        assert_eq!(target("/dev/shm").unwrap(), "/dev/shm");
        assert_eq!(target("/process").unwrap(), "/process");
        for bad in [
            "",
            "data",
            "/",
            "//",
            "/a/../..",
            "/./a",
            "/proc",
            "/proc/sys",
            "/sys/fs",
            "/dev",
            "/dev/pts/",
            "/a\0",
        ] {
            assert!(target(bad).is_err(), "{bad:?}");
        }
        assert_eq!(declared_target("data").unwrap(), "/data");
        assert!(declared_target("../../etc").is_err() && declared_target("/").is_err());
    }

    #[test]
    fn every_mistake_names_its_mount_and_argument() {
        let mut findings = Findings::default();
        let all = drafts([
            ("a", bind("relative", "/a")),
            ("b", MountDraft { mode: Some(0o755), ..bind("/srv", "/b") }),
            ("c", MountDraft { target: "/c".to_owned(), ..MountDraft::default() }),
            (
                "d",
                MountDraft {
                    kind: "tmpfs".to_owned(),
                    target: "/d".to_owned(),
                    uid: Some(70_000),
                    ..MountDraft::default()
                },
            ),
            ("e", bind("/srv", "/b")),
            ("f", MountDraft { kind: "nfs".to_owned(), target: "/f".to_owned(), ..MountDraft::default() }),
            ("g h", bind("/srv", "/g")),
        ]);
        check(&all, &mut findings);
        let invalids = findings.into_error().unwrap();
        let paths: Vec<_> =
            invalids.as_slice().iter().map(|invalid| invalid.attribute[1..].join(".")).collect();
        assert_eq!(paths, ["a.source", "b.mode", "c.source", "d.uid", "e.target", "f.type", "g h"]);
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let mut findings = Findings::default();
        let all = drafts([
            ("bind", bind("/srv", "/b/")),
            (
                "mem",
                MountDraft { kind: "tmpfs".to_owned(), target: "/d".to_owned(), ..MountDraft::default() },
            ),
            (
                "vol",
                MountDraft { source: "data".to_owned(), target: "/v".to_owned(), ..MountDraft::default() },
            ),
        ]);
        let mounts = check(&all, &mut findings);
        assert!(findings.into_error().is_none());
        assert_eq!(mounts["bind"].source, MountSource::Bind { path: "/srv".to_owned(), id_mapped: true });
        assert_eq!(mounts["mem"].source, MountSource::Tmpfs { size: None, uid: 0, gid: 0, mode: 0o1777 });
        assert_eq!(mounts["vol"].source, MountSource::Volume("data".to_owned()));
    }
}
