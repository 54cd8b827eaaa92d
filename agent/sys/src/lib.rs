//! Every syscall, mount, netlink message, cgroup write and atomic write; the one place for unsafe.

pub mod cgroup;
pub mod connect;
pub mod fs;
pub mod kvm;
pub mod loop_device;
pub mod mount;
pub mod netlink;
pub mod node;
pub mod packet;
pub mod process;
pub mod sha256;
pub mod socket;
pub mod tap;
pub mod uevent;
