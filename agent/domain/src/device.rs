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

/// What kind of device, and so what it is found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceKind {
    /// A character device, by its path.
    UnixChar,
    /// A block device, by its path.
    UnixBlock,
    /// Devices on a USB bus, by what they say that they are, wherever they are plugged in.
    Usb,
    /// The nodes of graphics processors: all, or those of one vendor or model, or that of one node.
    Gpu,
    /// What a specification of the Container Device Interface on the host says, by its qualified name.
    Cdi,
}

const KINDS: [DeviceKind; 5] =
    [DeviceKind::UnixChar, DeviceKind::UnixBlock, DeviceKind::Usb, DeviceKind::Gpu, DeviceKind::Cdi];

impl DeviceKind {
    /// The word users know it by.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnixChar => "unix-char",
            Self::UnixBlock => "unix-block",
            Self::Usb => "usb",
            Self::Gpu => "gpu",
            Self::Cdi => "cdi",
        }
    }

    /// One node, whose path is known.
    #[must_use]
    pub fn is_node(self) -> bool {
        matches!(self, Self::UnixChar | Self::UnixBlock)
    }
}

/// A device as it was asked for; only [`check`] makes one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DeviceSpec {
    /// What kind of node it is.
    pub kind: DeviceKind,
    /// On the host; a link is followed when it is plugged in. Of [`DeviceKind::Cdi`] a name. Empty where it is not found by
    /// it.
    pub source: String,
    /// What made it, where it is found by that.
    #[serde(default)]
    pub vendor_id: Option<u16>,
    /// Which of the vendor's it is, where it is found by that.
    #[serde(default)]
    pub product_id: Option<u16>,
    /// Inside; empty: where the host has it.
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
    /// Four hexadecimal digits, or empty.
    pub vendor_id: String,
    pub product_id: String,
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
        if !device.target.is_empty() && is_taken.into_iter().any(|other| *other == device.target) {
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
        let found = kind.and_then(|kind| self.found_by(kind, name, findings));
        let id = |id: Option<u32>| id.map_or(Ok(0), owner);
        let uid = findings.keep(&at("uid"), id(self.uid));
        let gid = findings.keep(&at("gid"), id(self.gid));
        let mode = findings.keep(&at("mode"), self.mode.map_or(Ok(MODE), permissions));
        let access = findings.keep(&at("permissions"), access(&self.permissions));
        let (source, target, vendor_id, product_id) = found?;
        Some(DeviceSpec {
            kind: kind?,
            source,
            vendor_id,
            product_id,
            target,
            uid: uid?,
            gid: gid?,
            mode: mode?,
            required: self.required.unwrap_or(true),
            permissions: access?,
        })
    }

    /// Its source, target, vendor and product.
    fn found_by(
        &self,
        kind: DeviceKind,
        name: &str,
        findings: &mut Findings,
    ) -> Option<(String, String, Option<u16>, Option<u16>)> {
        use DeviceKind as K;
        let at = |field| ["devices", name, field];
        let mut unused = |field, given: bool, advice: &str| {
            if given {
                let summary = format!("A device of type \"{}\" has no {field}", kind.as_str());
                findings.add(Invalid::new(&at(field), summary, advice));
            }
        };
        if kind == K::Usb {
            unused("source", !self.source.is_empty(), "Name it by its vendor_id and product_id");
        }
        if matches!(kind, K::UnixChar | K::UnixBlock | K::Cdi) {
            unused("vendor_id", !self.vendor_id.is_empty(), "Leave it out: it is found by its source");
            unused("product_id", !self.product_id.is_empty(), "Leave it out: it is found by its source");
        }
        if matches!(kind, K::Gpu | K::Cdi) {
            unused("target", !self.target.is_empty(), "Leave it out: its nodes are where the host has them");
        }
        let source = findings.keep(
            &at("source"),
            match kind {
                K::UnixChar | K::UnixBlock => text::absolute_path(&self.source),
                K::Gpu if !self.source.is_empty() => text::absolute_path(&self.source),
                K::Usb | K::Gpu => Ok(String::new()),
                K::Cdi => qualified(&self.source),
            },
        );
        let place = if self.target.is_empty() && kind.is_node() { &self.source } else { &self.target };
        let target = match &source {
            Some(_) if place.is_empty() => Some(String::new()),
            Some(_) => findings.keep(&at("target"), node(place)),
            None => None,
        };
        let vendor = findings.keep(&at("vendor_id"), number(&self.vendor_id));
        let product = findings.keep(&at("product_id"), number(&self.product_id));
        if kind == K::Usb && self.vendor_id.is_empty() {
            let advice = "Give its vendor_id, and perhaps its product_id: lsusb shows them";
            findings.add(Invalid::new(&at("vendor_id"), "A USB device is named by who made it", advice));
            return None;
        }
        Some((source?, target?, vendor?, product?))
    }
}

fn kind(text: &str) -> Result<DeviceKind, Invalid> {
    KINDS.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| {
        let summary = format!("\"{}\" is no type of a device", shown(text));
        let names = KINDS.map(|kind| format!("\"{}\"", kind.as_str())).join(", ");
        Invalid::new(&[], summary, format!("Use one of {names}"))
    })
}

/// Four hexadecimal digits, as `lsusb` and `lspci -nn` show them.
fn number(text: &str) -> Result<Option<u16>, Invalid> {
    if text.is_empty() {
        return Ok(None);
    }
    let digits = text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let parsed = u16::from_str_radix(text, 16).ok().filter(|_| digits);
    parsed.map(Some).ok_or_else(|| {
        let summary = format!("\"{}\" is no id of a vendor or product", shown(text));
        Invalid::new(&[], summary, "Write four hexadecimal digits, such as \"10c4\"")
    })
}

/// A qualified device name: `vendor/class=name`, of section "CDI Device Qualified Name" of the CDI specification.
fn qualified(text: &str) -> Result<String, Invalid> {
    let within = |text: &str, others: &str| {
        let mut bytes = text.bytes();
        let ends = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
            && bytes.next_back().is_none_or(|b| b.is_ascii_alphanumeric());
        ends && text.bytes().all(|b| b.is_ascii_alphanumeric() || others.as_bytes().contains(&b))
    };
    let good = text.split_once('=').is_some_and(|(kind, name)| {
        kind.split_once('/').is_some_and(|(vendor, class)| {
            within(vendor, "_-.") && within(class, "_-") && within(name, "_-.:") && text.len() <= 255
        })
    });
    if good {
        return Ok(text.to_owned());
    }
    let summary = format!("\"{}\" is no name of a CDI device", shown(text));
    Err(Invalid::new(&[], summary, "Write vendor/class=name, such as \"nvidia.com/gpu=0\""))
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
            ("kind", draft("tape", "/dev/x", "")),
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

    fn checked(draft: DeviceDraft) -> Result<DeviceSpec, Vec<String>> {
        let mut findings = Findings::default();
        let devices = check(&[("it".to_owned(), draft)].into(), &BTreeMap::new(), &mut findings);
        match findings.into_error() {
            None => Ok(devices["it"].clone()),
            Some(all) => Err(all.as_slice().iter().map(|invalid| invalid.attribute[2..].join(".")).collect()),
        }
    }

    #[test]
    fn each_kind_is_found_by_its_own() {
        let usb = DeviceDraft { vendor_id: "10C4".into(), ..draft("usb", "", "/dev/radio") };
        let found = checked(usb.clone()).unwrap();
        assert_eq!((found.vendor_id, found.product_id), (Some(0x10c4), None));
        assert_eq!(found.target, "/dev/radio");
        assert_eq!(checked(draft("usb", "", "")).unwrap_err(), ["vendor_id"]);
        assert_eq!(checked(DeviceDraft { source: "/dev/x".into(), ..usb.clone() }).unwrap_err(), ["source"]);
        for bad in ["1", "10c4a", "+0c4", "10g4"] {
            let bad = DeviceDraft { product_id: bad.into(), ..usb.clone() };
            assert_eq!(checked(bad).unwrap_err(), ["product_id"]);
        }
        let gpu = checked(draft("gpu", "", "")).unwrap();
        assert_eq!((gpu.source.as_str(), gpu.target.as_str()), ("", ""));
        assert!(checked(draft("gpu", "/dev/dri/by-path/pci-0000:01:00.0-card", "")).is_ok());
        assert_eq!(checked(draft("gpu", "", "/dev/x")).unwrap_err(), ["target"]);
        assert!(checked(draft("cdi", "nvidia.com/gpu=0", "")).is_ok());
        assert!(checked(draft("cdi", "vendor.com/net_card=a:1.b", "")).is_ok());
        for bad in ["", "gpu=0", "nvidia.com/gpu", "nvidia.com/gpu=", "-a/b=c", "a/b=c/d", "a/b=c-"] {
            assert_eq!(checked(draft("cdi", bad, "")).unwrap_err(), ["source"], "{bad}");
        }
        let of_path = DeviceDraft { vendor_id: "10c4".into(), ..draft("unix-char", "/dev/fuse", "") };
        assert_eq!(checked(of_path).unwrap_err(), ["vendor_id"]);
    }
}
