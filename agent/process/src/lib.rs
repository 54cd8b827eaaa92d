//! Becoming a program: the user, the limits, the capabilities, the system call filter, the streams, and the exec at last.
//!
//! One code path for the workload and every program beside it, in a container (the supervisor's children) and in a virtual
//! machine (the guest's init's children). All of it is for single-threaded processes.

pub mod failure;
mod privileges;
pub mod program;
pub mod rlimits;
mod users;

/// A system call filter as the kernel takes it.
pub type Filter = Vec<libc::sock_filter>;
