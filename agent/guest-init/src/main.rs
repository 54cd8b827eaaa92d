//! Pid 1 of a virtual machine's guest, from an initramfs of the agent's.
//!
//! ```text
//! boot: /proc /sys /dev, modules, the port -> Hello
//! machine: on Start: root over virtiofs, network, host name -> the workload
//! serve: signals, streams, programs beside it, until the workload ends -> Exited, power off
//! ```
//!
//! It is single-threaded. It trusts the host; nothing of the image is executed or followed before the root is the image's.

mod boot;
mod machine;
mod network;
mod resources;
mod serve;
mod session;

use std::io::Write;

use nix::sys::reboot::{RebootMode, reboot};

fn main() {
    if std::process::id() != 1 {
        let _ = std::io::stderr().write_all(b"berth-guest-init is pid 1 of a virtual machine of Berth's\n");
        return;
    }
    match boot::boot() {
        Ok(booted) => serve::serve(booted),
        Err(error) => {
            // The console is all that there is to be heard by.
            let _ = writeln!(std::io::stderr(), "berth-guest-init: {error}");
        }
    }
    nix::unistd::sync();
    // Returns only where it fails; the kernel then panics as pid 1 ends, and the machine ends by that.
    let _ = reboot(RebootMode::RB_POWER_OFF);
}
