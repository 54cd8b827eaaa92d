//! What the supervisor of a virtual machine and its guest's pid 1 say to each other, over one virtio-serial port.
//!
//! ```text
//! bytes -> frame::Decoder -> message | data -> link::Link (sessions, credit) -> events, and bytes to be sent
//! guest: Hello ------------------------------------------> host
//! guest <---------- Start (the workload, session 0) ------ host
//! guest: Started, data, Exited; Exec, Connect, Signal, Resize, Stats, Interfaces at any time; Shutdown at last
//! ```
//!
//! A frame has a bounded length that is known before its payload is kept. Data flows only against credit: each side buffers
//! at most a window a stream, whatever the other does. All of this crate is pure; who holds the port reads and writes it.
//!
//! The host takes nothing on trust: what is out of turn, of no session or beyond its credit ends the channel, and the machine
//! with it. The guest ignores what is of a session that has just ended: the host cannot know yet.

mod flow;
pub mod frame;
pub mod fuzzing;
pub mod link;
pub mod message;

/// The version of the protocol. Both sides are of one agent's build, for the guest's is in the initramfs that the launch
/// spec names; what differs is refused.
pub const VERSION: u32 = 3;

/// The name of the port, below `/dev/virtio-ports` in a guest that has udev, in sysfs in any.
pub const PORT: &str = "berth.channel";

/// The tag of the share that is the root file system.
pub const ROOT_TAG: &str = "root";

/// The session of the workload.
pub const WORKLOAD: u16 = 0;
