//! Loop devices: block devices whose blocks are a file's. And growing the ext4 that is on one while it is mounted.
#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, fstat, openat};

/// linux/loop.h.
const LOOP_GET_STATUS64: libc::c_ulong = 0x4c05;
const LOOP_SET_CAPACITY: libc::c_ulong = 0x4c07;
const LOOP_CONFIGURE: libc::c_ulong = 0x4c0a;
const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4c82;
const LO_FLAGS_AUTOCLEAR: u32 = 4;

/// linux/ext4.h.
const EXT4_IOC_RESIZE_FS: libc::c_ulong = 0x4008_6610;

/// How often another may take the free device that the kernel named.
const TRIES: usize = 64;

/// linux/loop.h: `struct loop_info64`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Info {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// linux/loop.h: `struct loop_config`.
#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

const EMPTY: Info = Info {
    device: 0,
    inode: 0,
    rdevice: 0,
    offset: 0,
    size_limit: 0,
    number: 0,
    encrypt_type: 0,
    encrypt_key_size: 0,
    flags: 0,
    file_name: [0; 64],
    crypt_name: [0; 64],
    encrypt_key: [0; 32],
    init: [0; 2],
};

/// A device with a file in it. The kernel takes the file out when nobody has the device open and nothing of it is mounted.
#[derive(Debug)]
pub struct LoopDevice {
    fd: OwnedFd,
    path: PathBuf,
}

impl LoopDevice {
    /// The device that has this file, if one has.
    ///
    /// # Errors
    /// What the kernel says of the file or of a device.
    pub fn find(file: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        let stat = fstat(file)?;
        for entry in fs::read_dir("/sys/block")? {
            let name = entry?.file_name();
            let is_loop = name.to_string_lossy().starts_with("loop");
            if !is_loop || !Path::new("/sys/block").join(&name).join("loop").exists() {
                continue;
            }
            let path = Path::new("/dev").join(&name);
            // Another may let go of it, or take it away, at any time.
            let Ok(fd) = open(&path) else { continue };
            let mut info = EMPTY;
            // SAFETY: the structure is the one that the kernel fills in, and outlives the call.
            let result =
                unsafe { libc::ioctl(fd.as_raw_fd(), LOOP_GET_STATUS64, std::ptr::from_mut(&mut info)) };
            if result == 0 && (info.device, info.inode) == (stat.st_dev, stat.st_ino) {
                return Ok(Some(Self { fd, path }));
            }
        }
        Ok(None)
    }

    /// Puts a file, which is open for writing, into a free device.
    ///
    /// # Errors
    /// There is no loop driver, or none is free and the kernel makes no more.
    pub fn attach(file: BorrowedFd<'_>) -> io::Result<Self> {
        let control = open(Path::new("/dev/loop-control"))?;
        let info = Info { flags: LO_FLAGS_AUTOCLEAR, ..EMPTY };
        let fd = u32::try_from(file.as_raw_fd()).map_err(io::Error::other)?;
        let config = Config { fd, block_size: 0, info, reserved: [0; 8] };
        for _ in 0..TRIES {
            // SAFETY: a call without an argument.
            let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
            if number < 0 {
                return Err(io::Error::last_os_error());
            }
            let path = PathBuf::from(format!("/dev/loop{number}"));
            let device = open(&path)?;
            // SAFETY: the structure is the one that the kernel reads, and outlives the call.
            let result =
                unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, std::ptr::from_ref(&config)) };
            if result == 0 {
                return Ok(Self { fd: device, path });
            }
            let error = io::Error::last_os_error();
            if error.raw_os_error() != Some(libc::EBUSY) {
                return Err(error);
            }
        }
        Err(io::Error::from_raw_os_error(libc::EBUSY))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file has another size by now.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn take_size(&self) -> io::Result<()> {
        // SAFETY: a call without an argument.
        let result = unsafe { libc::ioctl(self.fd.as_raw_fd(), LOOP_SET_CAPACITY) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    Ok(openat(CWD, path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?)
}

/// Grows a mounted ext4 to this number of its blocks.
///
/// # Errors
/// EPERM without `CAP_SYS_RESOURCE`, and what else ext4 says.
pub fn grow_ext4(root: &impl AsFd, blocks: u64) -> io::Result<()> {
    // SAFETY: the number outlives the call, which only reads it.
    let result =
        unsafe { libc::ioctl(root.as_fd().as_raw_fd(), EXT4_IOC_RESIZE_FS, std::ptr::from_ref(&blocks)) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
