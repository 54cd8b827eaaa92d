//! Device nodes of the host's that an instance gets.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::invalid::{Findings, Invalid};
use crate::mount::{MountSpec, target};
use crate::name::shown;
use crate::value::text;
use crate::volume::{owner, permissions};

/// More devices than this in one instance are a mistake.
const MAX: usize = 256;
const MODE: u32 = 0o660;

/// What a container has of its own, and what links to it.
const OWN: [&str; 11] =
    ["null", "zero", "full", "random", "urandom", "tty", "ptmx", "fd", "stdin", "stdout", "stderr"];

/// What kind of node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceKind {
    /// A character device.
    UnixChar,
    /// A block device.
    UnixBlock,
}

impl DeviceKind {
    /// The word users know it by.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnixChar => "unix-char",
            Self::UnixBlock => "unix-block",
        }
    }
}

/// A device as it was asked for; only [`check`] makes one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DeviceSpec {
    /// What kind of node it is.
    pub kind: DeviceKind,
    /// On the host; a link is followed when it is plugged in.
    pub source: String,
    /// Inside.
    pub target: String,
    /// Who owns it, inside.
    pub uid: u32,
    /// Its group, inside.
    pub gid: u32,
    /// Its permissions.
    pub mode: u32,
    /// That it is missing on the host is an error.
    pub required: bool,
    /// Some of "rwm", in this order: reading, writing, making a node of it; empty is all.
    #[serde(default)]
    pub permissions: String,
}

/// A device before it is checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "as in DeviceSpec")]
pub struct DeviceDraft {
    pub kind: String,
    pub source: String,
    /// Empty: the source.
    pub target: String,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub mode: Option<u32>,
    /// `None`: true.
    pub required: Option<bool>,
    pub permissions: String,
}

/// Checks all devices of an instance. `mounts` are what else has a place in it.
pub fn check(
    drafts: &BTreeMap<String, DeviceDraft>,
    mounts: &BTreeMap<String, MountSpec>,
    findings: &mut Findings,
) -> BTreeMap<String, DeviceSpec> {
    if drafts.len() > MAX {
        let summary = format!("There are {} devices", drafts.len());
        findings.add(Invalid::new(&["devices"], summary, format!("Use at most {MAX}")));
    }
    let mut devices: BTreeMap<String, DeviceSpec> = BTreeMap::new();
    for (name, draft) in drafts {
        let Some(device) = draft.check(name, findings) else { continue };
        let is_taken = devices.values().map(|other| &other.target).chain(mounts.values().map(|m| &m.target));
        if is_taken.into_iter().any(|other| *other == device.target) {
            let summary = format!("Something else is put at {}", shown(&device.target));
            findings.add(Invalid::new(&["devices", name, "target"], summary, "Give each its own target"));
        }
        devices.insert(name.clone(), device);
    }
    devices
}

impl DeviceDraft {
    fn check(&self, name: &str, findings: &mut Findings) -> Option<DeviceSpec> {
        let at = |field| ["devices", name, field];
        findings.keep(&["devices", name], crate::mount::mount_name(name));
        let kind = findings.keep(&at("type"), kind(&self.kind));
        let source = findings.keep(&at("source"), text::absolute_path(&self.source));
        let place = if self.target.is_empty() { &self.source } else { &self.target };
        let target = match &source {
            Some(_) => findings.keep(&at("target"), node(place)),
            None => None,
        };
        let id = |id: Option<u32>| id.map_or(Ok(0), owner);
        let uid = findings.keep(&at("uid"), id(self.uid));
        let gid = findings.keep(&at("gid"), id(self.gid));
        let mode = findings.keep(&at("mode"), self.mode.map_or(Ok(MODE), permissions));
        let access = findings.keep(&at("permissions"), access(&self.permissions));
        Some(DeviceSpec {
            kind: kind?,
            source: source?,
            target: target?,
            uid: uid?,
            gid: gid?,
            mode: mode?,
            required: self.required.unwrap_or(true),
            permissions: access?,
        })
    }
}

fn kind(text: &str) -> Result<DeviceKind, Invalid> {
    match text {
        "unix-char" => Ok(DeviceKind::UnixChar),
        "unix-block" => Ok(DeviceKind::UnixBlock),
        other => {
            let summary = format!("\"{}\" is no type of a device", shown(other));
            Err(Invalid::new(&[], summary, "Use \"unix-char\" or \"unix-block\""))
        }
    }
}

/// In the order that the kernel has them in.
fn access(text: &str) -> Result<String, Invalid> {
    const ALL: &str = "rwm";
    let once = |letter: char| text.chars().filter(|other| *other == letter).count() == 1;
    if !text.chars().all(|letter| ALL.contains(letter) && once(letter)) {
        let summary = format!("\"{}\" are no permissions of a device", shown(text));
        return Err(Invalid::new(&[], summary, "Use some of the letters r, w and m, each once"));
    }
    let access: String = ALL.chars().filter(|letter| text.contains(*letter)).collect();
    Ok(if access == ALL { String::new() } else { access })
}

fn node(path: &str) -> Result<String, Invalid> {
    let clean = target(path)?;
    let own = clean.strip_prefix("/dev/").is_some_and(|name| OWN.contains(&name) || name.starts_with("pts/"));
    if own {
        let summary = format!("{} is the instance's own", shown(&clean));
        return Err(Invalid::new(&[], summary, "Use another target"));
    }
    Ok(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(kind: &str, source: &str, target: &str) -> DeviceDraft {
        let text = str::to_owned;
        DeviceDraft { kind: text(kind), source: text(source), target: text(target), ..DeviceDraft::default() }
    }

    #[test]
    fn what_is_left_out_has_its_default_and_mistakes_name_their_argument() {
        let drafts = [
            ("fuse", draft("unix-char", "/dev/fuse", "")),
            ("kind", draft("usb", "/dev/x", "")),
            ("null", draft("unix-char", "/dev/fuse", "/dev/null")),
            ("other", draft("unix-block", "/dev/x", "/dev//fuse")),
            ("proc", draft("unix-block", "/dev/x", "/proc/x")),
            ("source", draft("unix-block", "x", "")),
        ];
        let drafts = drafts.map(|(name, draft)| (name.to_owned(), draft)).into();
        let mut findings = Findings::default();
        let devices = check(&drafts, &BTreeMap::new(), &mut findings);
        let fuse = &devices["fuse"];
        assert_eq!((fuse.target.as_str(), fuse.mode, fuse.uid, fuse.required), ("/dev/fuse", 0o660, 0, true));
        let invalids = findings.into_error().unwrap();
        let paths: Vec<_> =
            invalids.as_slice().iter().map(|invalid| invalid.attribute[1..].join(".")).collect();
        assert_eq!(paths, ["kind.type", "null.target", "other.target", "proc.target", "source.source"]);
    }
}
