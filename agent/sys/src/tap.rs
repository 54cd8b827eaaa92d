//! Taps: interfaces whose other end is a descriptor, as a virtual machine takes them.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, openat};
use rustix::mount::MountAttrFlags;

use crate::mount::new_filesystem;

/// linux/if_tun.h.
const TUNSETIFF: libc::c_ulong = 0x4004_54ca;

/// Makes a tap in the calling thread's network namespace, down. It is gone when its last descriptor is closed.
///
/// # Errors
/// Where there is no /dev/net/tun, the name is taken (EBUSY), or the caller may not.
pub fn create(name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let fd = openat(CWD, Path::new("/dev/net/tun"), flags, Mode::empty())?;
    // SAFETY: a structure of plain numbers, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays the NUL that ends it.
    let room = request.ifr_name.len() - 1;
    if name.is_empty() || name.len() > room || name.contains(['\0', '%']) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *place = byte.cast_signed();
    }
    // With the header that lets segmentation and checksums be left to the other side.
    let kind = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(kind).map_err(io::Error::other)?;
    // SAFETY: the structure outlives the call, which reads it and writes the name back.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), TUNSETIFF, std::ptr::from_mut(&mut request)) };
    if result == 0 { Ok(fd) } else { Err(io::Error::last_os_error()) }
}

/// Opens the other end of a macvtap of the calling thread's network namespace, by its name and its number. The link stays when
/// the descriptor is closed.
///
/// # Errors
/// Where it is none, or the caller may not.
pub fn open_macvtap(name: &str, index: u32) -> io::Result<OwnedFd> {
    // Nobody makes a node of it where no udev looks, and its numbers are only told in its own namespace.
    let sys = new_filesystem("sysfs", &[], MountAttrFlags::MOUNT_ATTR_RDONLY)?;
    let path = format!("class/net/{name}/tap{index}/dev");
    let file = openat(&sys, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let text = io::read_to_string(std::fs::File::from(file))?;
    let numbers = text
        .trim()
        .split_once(':')
        .and_then(|(major, minor)| Some(rustix::fs::makedev(major.parse().ok()?, minor.parse().ok()?)));
    let device = numbers.ok_or(io::ErrorKind::InvalidData)?;
    let place = new_filesystem("tmpfs", &[], MountAttrFlags::empty())?;
    mknodat(&place, "tap", FileType::CharacterDevice, Mode::RUSR | Mode::WUSR, device)?;
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
    Ok(openat(&place, "tap", flags, Mode::empty())?)
}
