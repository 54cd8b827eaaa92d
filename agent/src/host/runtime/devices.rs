//! What the devices of an instance are on the host: found anew at each plug, by path, by what they say that they are, or by
//! a specification.

mod cdi;

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use berth_domain::device::{DeviceKind, DeviceSpec};
use nix::sys::stat::{major, minor};

pub(crate) use cdi::SPEC_DIRS;

/// The vendors on the PCI bus whose graphics processors have nodes beside those of the kernel's own subsystem.
const AMD: u16 = 0x1002;
const NVIDIA: u16 = 0x10de;

/// Where the host shows its devices.
#[derive(Debug, Clone)]
pub(in crate::host) struct Places {
    /// What the kernel says of them.
    sys: PathBuf,
    /// Their nodes.
    dev: PathBuf,
    /// What NVIDIA's driver says of its own.
    nvidia: PathBuf,
    /// Specifications of the Container Device Interface, the later ones before the earlier.
    cdi: Vec<PathBuf>,
}

impl Places {
    pub(in crate::host) fn new(cdi: Vec<PathBuf>) -> Self {
        let (sys, dev, nvidia) = ("/sys".into(), "/dev".into(), "/proc/driver/nvidia/gpus".into());
        Self { sys, dev, nvidia, cdi }
    }
}

/// A node that an instance gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    /// On the host, no link.
    pub(super) path: PathBuf,
    /// Inside.
    pub(super) target: PathBuf,
    pub(super) block: bool,
    pub(super) number: (u32, u32),
    /// What its specification says of it, if one does.
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) mode: Option<u32>,
    pub(super) permissions: Option<String>,
}

/// A file or directory of the host's that a specification puts beside a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bind {
    pub(super) path: PathBuf,
    pub(super) target: PathBuf,
    pub(super) read_only: bool,
}

/// All that a device means.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Found {
    pub(super) nodes: Vec<Node>,
    pub(super) binds: Vec<Bind>,
    /// For the process, from its next start on.
    pub(super) environment: Vec<(String, String)>,
    /// Groups of the process, from its next start on.
    pub(super) groups: Vec<u32>,
}

/// Finds a device. That there is none is [`io::ErrorKind::NotFound`].
pub(super) fn find(places: &Places, device: &DeviceSpec) -> io::Result<Found> {
    let nodes = match device.kind {
        DeviceKind::UnixChar | DeviceKind::UnixBlock => {
            let path = Path::new(&device.source).canonicalize()?;
            vec![node(&path, Path::new(&device.target))?]
        }
        DeviceKind::Usb => usb(places, device)?,
        DeviceKind::Gpu => gpu(places, device)?,
        DeviceKind::Cdi => return cdi::find(places, &device.source),
    };
    if nodes.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the host has no such device now"));
    }
    Ok(Found { nodes, ..Found::default() })
}

/// The number of a node, and whether it is a block device.
pub(super) fn number(path: &Path) -> io::Result<((u32, u32), bool)> {
    let metadata = fs::symlink_metadata(path)?;
    let kind = metadata.file_type();
    if !kind.is_block_device() && !kind.is_char_device() {
        return Err(io::Error::other(format!("{} is no device", path.display())));
    }
    let part = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    Ok(((part(major(metadata.rdev())), part(minor(metadata.rdev()))), kind.is_block_device()))
}

fn node(path: &Path, target: &Path) -> io::Result<Node> {
    let (number, block) = number(path)?;
    let (path, target) = (path.to_owned(), target.to_owned());
    Ok(Node { path, target, block, number, uid: None, gid: None, mode: None, permissions: None })
}

/// A node that is perhaps not there, or not any more.
fn perhaps(path: &Path, target: &Path, nodes: &mut Vec<Node>) -> io::Result<()> {
    match node(path, target) {
        Ok(node) => nodes.push(node),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// What the kernel says in a file; none where it says nothing that can be used, or the device has just gone.
fn told<T>(path: &Path, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
    fs::read_to_string(path).ok().and_then(|text| parse(text.trim()))
}

fn hexadecimal(text: &str) -> Option<u16> {
    u16::from_str_radix(text.trim_start_matches("0x"), 16).ok()
}

/// The names in a directory of the kernel's; none where it has no such subsystem.
fn names(directory: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<_> = names.collect();
    names.sort();
    Ok(names)
}

fn is_asked_for(device: &DeviceSpec, vendor: Option<u16>, product: Option<u16>) -> bool {
    let fits = |asked: Option<u16>, it: Option<u16>| asked.is_none() || asked == it;
    fits(device.vendor_id, vendor) && fits(device.product_id, product)
}

/// Devices on the USB bus, in the order of their places on it. At a target of its own there can be one.
fn usb(places: &Places, device: &DeviceSpec) -> io::Result<Vec<Node>> {
    let all = places.sys.join("bus/usb/devices");
    let mut found: Vec<(u32, u32)> = Vec::new();
    // An interface of a device has a colon in its name.
    for name in names(&all)?.into_iter().filter(|name| !name.contains(':')) {
        let at = all.join(name);
        let id = |file: &str| told(&at.join(file), hexadecimal);
        if !is_asked_for(device, id("idVendor"), id("idProduct")) {
            continue;
        }
        let number = |file: &str| told(&at.join(file), |text| text.parse::<u32>().ok());
        found.extend(number("busnum").zip(number("devnum")));
    }
    found.sort_unstable();
    let mut nodes = Vec::new();
    for (bus, number) in found {
        let place = format!("bus/usb/{bus:03}/{number:03}");
        let inside = Path::new("/dev").join(&place);
        perhaps(&places.dev.join(&place), &inside, &mut nodes)?;
    }
    if !device.target.is_empty() {
        nodes.truncate(1);
        nodes.iter_mut().for_each(|node| node.target = PathBuf::from(&device.target));
    }
    Ok(nodes)
}

/// The nodes of graphics processors.
fn gpu(places: &Places, device: &DeviceSpec) -> io::Result<Vec<Node>> {
    let all = places.sys.join("class/drm");
    let is_node = |name: &str| {
        let number = name.strip_prefix("card").or_else(|| name.strip_prefix("renderD"));
        number.is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
    };
    let of = |name: &str| all.join(name).join("device").canonicalize();
    let only = match device.source.as_str() {
        "" => None,
        source => {
            let node = Path::new(source).canonicalize()?;
            let name = node.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            Some(of(&name)?)
        }
    };
    let mut nodes = Vec::new();
    let mut beside: Vec<String> = Vec::new();
    for name in names(&all)?.into_iter().filter(|name| is_node(name)) {
        let Ok(hardware) = of(&name) else { continue };
        let id = |file: &str| told(&hardware.join(file), hexadecimal);
        let vendor = id("vendor");
        let is_it = only.as_ref().is_none_or(|only| *only == hardware);
        if !is_it || !is_asked_for(device, vendor, id("device")) {
            continue;
        }
        perhaps(&places.dev.join("dri").join(&name), &Path::new("/dev/dri").join(&name), &mut nodes)?;
        match vendor {
            Some(AMD) => beside.push("kfd".to_owned()),
            Some(NVIDIA) => beside.extend(nvidia(places, &hardware)),
            _ => {}
        }
    }
    beside.sort();
    beside.dedup();
    for name in beside {
        perhaps(&places.dev.join(&name), &Path::new("/dev").join(&name), &mut nodes)?;
    }
    Ok(nodes)
}

/// The nodes of NVIDIA's driver: of all, and the processor's own.
fn nvidia(places: &Places, hardware: &Path) -> Vec<String> {
    let address = hardware.file_name().unwrap_or_default();
    let number = told(&places.nvidia.join(address).join("information"), |text| {
        let line = text.lines().find_map(|line| line.strip_prefix("Device Minor:"))?;
        line.trim().parse::<u32>().ok()
    });
    let shared = ["nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset"].map(str::to_owned);
    shared.into_iter().chain(number.map(|number| format!("nvidia{number}"))).collect()
}

#[cfg(test)]
#[path = "devices_tests.rs"]
mod tests;
