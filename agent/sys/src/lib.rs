//! Every syscall, mount, netlink message, cgroup write and atomic write; the one place for unsafe.

pub mod fs;
pub mod netlink;
