//! The messages, as JSON. Both sides are of one build, so that nothing here is optional.

use std::net::{IpAddr, Ipv6Addr};

use berth_runtime::launch::LaunchError;
use berth_runtime::spec::ProcessSpec;
use serde::{Deserialize, Serialize};

use crate::frame::Stream;

/// To the guest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "to-guest", rename_all = "kebab-case")]
pub enum ToGuest {
    /// The answer to `Hello`: become this machine and start its workload, as session 0.
    Start(Box<GuestSpec>),
    /// Run a program beside the workload.
    Exec {
        /// Of the host's choice; of no program that runs.
        session: u16,
        /// It.
        process: Box<ProcessSpec>,
        /// Its terminal's size, if it gets one.
        terminal: Option<Size>,
    },
    /// Connect to a port of the machine's: a session whose input goes there, and whose output is what comes from there.
    Connect {
        /// As of a program.
        session: u16,
        /// At the machine's own addresses.
        port: u16,
        /// Whether at its loopback too, and first.
        loopback: bool,
    },
    /// Signal a session's program; a connection is ended by it.
    Signal {
        /// Whose.
        session: u16,
        /// The signal's number.
        signal: i32,
    },
    /// A session's terminal is of another size.
    Resize {
        /// Whose.
        session: u16,
        /// From now on.
        size: Size,
    },
    /// That much of an output was taken.
    Credit {
        /// Whose.
        session: u16,
        /// Which.
        stream: Stream,
        /// How much.
        bytes: u32,
    },
    /// What the guest uses.
    Stats,
    /// Have this many processors and this much memory; answered when it is so.
    Resources {
        /// Of the host's choice, for the answer.
        number: u32,
        /// All that there is to be.
        resources: Resources,
    },
    /// Have these interfaces, and no others; answered when it is so, or cannot be. The device of one that is new may be on its way.
    Interfaces {
        /// Of the host's choice, for the answer.
        number: u32,
        /// All that there are to be.
        interfaces: Vec<GuestInterface>,
    },
    /// Keep nothing that was read of directories: what is mounted in the root file system is other things now.
    Forget,
    /// Kill all and turn the power off.
    Shutdown,
}

/// To the host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "to-host", rename_all = "kebab-case")]
pub enum ToHost {
    /// The first message: the guest has booted.
    Hello {
        /// [`crate::VERSION`] of the guest.
        version: u32,
    },
    /// A session's program was executed, or its connection has come about.
    Started {
        /// Whose.
        session: u16,
    },
    /// It was not; the session is over.
    Failed {
        /// Whose.
        session: u16,
        /// Why.
        error: LaunchError,
    },
    /// A session's program or connection has ended, after all that came of it; the session is over.
    Exited {
        /// Whose.
        session: u16,
        /// 128 + n where signal n ended it; of a connection what the kernel said, 0 where the other side ended it.
        code: i32,
        /// The signal that ended it.
        signal: Option<i32>,
    },
    /// That much of an input was taken.
    Credit {
        /// Whose.
        session: u16,
        /// Which: always the input.
        stream: Stream,
        /// How much.
        bytes: u32,
    },
    /// To `Stats`.
    Stats(Stats),
    /// To `Resources`: it has them.
    Has {
        /// Of the question.
        number: u32,
    },
    /// To `Interfaces`.
    Connected {
        /// Of the question.
        number: u32,
        /// Why it has not all of them as they are to be.
        error: Option<LaunchError>,
    },
    /// What routers have given to interfaces that listen to them, whenever it is another.
    Addresses {
        /// All of them.
        interfaces: Vec<OwnAddresses>,
    },
}

/// What a machine is made of, and can be changed while it runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Processors that run, of those that are plugged in.
    pub cpus: u32,
    /// Bytes of memory that are plugged in beside what it has booted with.
    pub plugged_bytes: u64,
}

/// What the guest is to become.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuestSpec {
    /// [`crate::VERSION`] of the host.
    pub version: u32,
    /// Its host name.
    pub hostname: String,
    /// What it must have before its workload is started.
    pub resources: Resources,
    /// Its interfaces.
    pub interfaces: Vec<GuestInterface>,
    /// Names with dots, and values.
    pub sysctls: Vec<(String, String)>,
    /// Of /dev/shm, in bytes; 64 MiB where it is absent.
    pub shm_bytes: Option<u64>,
    /// The workload.
    pub process: ProcessSpec,
}

/// One interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestInterface {
    /// By which it is found: six bytes with colons between them.
    pub mac: String,
    /// What it is called from then on.
    pub name: String,
    /// The largest packet, in bytes.
    pub mtu: u32,
    /// Its addresses, each with the length of its network's prefix.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Where else leads to, each after those that it needs.
    pub routes: Vec<GuestRoute>,
    /// Whether it takes addresses and routes from the network's router advertisements.
    pub ipv6_autoconf: bool,
    /// Whether its neighbours are told of its addresses, for which they may know another place.
    pub announces: bool,
}

/// Where a route leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestRoute {
    /// Everywhere, with a prefix of 0.
    pub destination: IpAddr,
    /// The length of the destination's prefix.
    pub prefix_len: u8,
    /// The next hop; absent: straight onto the link.
    pub gateway: Option<IpAddr>,
}

/// The addresses of an interface that it has by itself, from routers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnAddresses {
    /// The interface's name.
    pub name: String,
    /// Each with the length of its network's prefix.
    pub addresses: Vec<(Ipv6Addr, u8)>,
}

/// A terminal's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Of a line.
    pub columns: u16,
}

/// What a guest uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Bytes that programs use.
    pub memory_bytes: u64,
    /// Bytes that there are.
    pub memory_total: u64,
    /// Processes and threads.
    pub pids: u64,
    /// Received on all its interfaces, in bytes.
    pub received_bytes: u64,
    /// Sent on all its interfaces, in bytes.
    pub sent_bytes: u64,
}
