//! What a virtual machine boots from: the initramfs with the guest's pid 1 and the few modules that it needs, and what runs
//! its instructions.

pub mod accelerator;
pub mod boot;
pub mod initramfs;
pub mod kernel;
pub mod modules;
