//! Whether this host's KVM runs a guest's instructions on the processor: found out by running some.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::ptr::NonNull;
use std::time::{Duration, Instant};

// linux/kvm.h; none of these is in libc.
const GET_API_VERSION: libc::c_ulong = 0xAE00;
const CREATE_VM: libc::c_ulong = 0xAE01;
const GET_VCPU_MMAP_SIZE: libc::c_ulong = 0xAE04;
const CREATE_VCPU: libc::c_ulong = 0xAE41;
const SET_USER_MEMORY_REGION: libc::c_ulong = 0x4020_AE46;
const SET_TSS_ADDR: libc::c_ulong = 0xAE47;
const RUN: libc::c_ulong = 0xAE80;
const API_VERSION: i32 = 12;
const EXIT_HLT: u32 = 5;
/// Of `exit_reason` in `struct kvm_run`.
const EXIT_REASON: usize = 8;

const PAGE: usize = 4096;

/// The last page below 4 GiB: a processor begins 16 bytes before its end.
const GUEST_PAGE: u64 = 0xFFFF_F000;
const RESET: usize = PAGE - 16;

/// `mov ecx, 100000; again: dec ecx; jnz again; hlt`, in the 16-bit mode that a processor begins in.
const CODE: [u8; 11] = [0x66, 0xB9, 0xA0, 0x86, 0x01, 0x00, 0x66, 0x49, 0x75, 0xFC, 0xF4];

#[repr(C)]
struct MemoryRegion {
    slot: u32,
    flags: u32,
    guest_phys_addr: u64,
    memory_size: u64,
    userspace_addr: u64,
}

/// Memory that is mapped until it is dropped.
struct Mapping {
    start: NonNull<libc::c_void>,
    length: usize,
}

impl Mapping {
    fn new(length: usize, flags: i32, fd: i32) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the kernel chooses a place where nothing is.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, fd, 0) };
        match NonNull::new(start) {
            Some(start) if start.as_ptr() != libc::MAP_FAILED => Ok(Self { start, length }),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it was mapped by us, whole, and nothing borrows from it.
        unsafe { libc::munmap(self.start.as_ptr(), self.length) };
    }
}

/// How long the processor takes for 200,000 instructions of a guest's: far less than a millisecond on one that runs them
/// itself, hundreds where a KVM of another kind emulates each.
///
/// # Errors
/// Where KVM is not there, may not be used, or does not run them to their end.
pub fn probe(device: &Path) -> io::Result<Duration> {
    let kvm = OpenOptions::new().read(true).write(true).open(device)?;
    if call(&kvm, GET_API_VERSION, 0)? != API_VERSION {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let vm = descriptor(call(&kvm, CREATE_VM, 0)?);
    // Processors of Intel's without "unrestricted guest" need three pages for themselves; others do not know the call.
    let _ = call(&vm, SET_TSS_ADDR, 0xFFFB_D000);
    let memory = Mapping::new(PAGE, libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1)?;
    // SAFETY: the page is ours and nothing runs on it yet; the code fits between its reset vector and its end.
    unsafe {
        let to = memory.start.as_ptr().cast::<u8>().add(RESET);
        std::ptr::copy_nonoverlapping(CODE.as_ptr(), to, CODE.len());
    }
    let region = MemoryRegion {
        slot: 0,
        flags: 0,
        guest_phys_addr: GUEST_PAGE,
        memory_size: PAGE as u64,
        userspace_addr: memory.start.as_ptr() as u64,
    };
    call(&vm, SET_USER_MEMORY_REGION, std::ptr::from_ref(&region) as libc::c_ulong)?;
    let cpu = descriptor(call(&vm, CREATE_VCPU, 0)?);
    let size = usize::try_from(call(&kvm, GET_VCPU_MMAP_SIZE, 0)?).map_err(io::Error::other)?;
    if size < PAGE {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let state = Mapping::new(size, libc::MAP_SHARED, cpu.as_raw_fd())?;
    let begun = Instant::now();
    call(&cpu, RUN, 0)?;
    let took = begun.elapsed();
    // SAFETY: the kernel's structure is at least a page, this field is aligned, and the processor has stopped.
    let reason = unsafe { state.start.as_ptr().cast::<u8>().add(EXIT_REASON).cast::<u32>().read_volatile() };
    if reason == EXIT_HLT {
        Ok(took)
    } else {
        Err(io::Error::other(format!("the guest stopped with reason {reason}")))
    }
}

fn call(fd: &impl AsRawFd, request: libc::c_ulong, argument: libc::c_ulong) -> io::Result<i32> {
    // SAFETY: every request here takes a number or a pointer to a structure that outlives the call.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), request, argument) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn descriptor(number: i32) -> File {
    // SAFETY: the kernel has just made it for us.
    unsafe { OwnedFd::from_raw_fd(number) }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_kvm_is_an_error_and_a_kvm_runs_to_the_end() {
        assert!(probe(Path::new("/dev/null")).is_err());
        assert_eq!(probe(Path::new("/no/such")).unwrap_err().kind(), io::ErrorKind::NotFound);
        // Where there is one, whatever its kind, it either runs all of it or says why not, and comes back.
        if let Ok(took) = probe(Path::new("/dev/kvm")) {
            assert!(took > Duration::ZERO && took < Duration::from_secs(60), "{took:?}");
        }
    }
}
