//! A virtual machine: QEMU, virtiofsd, and the channel to the guest's pid 1.
//!
//! ```text
//! Booting --Hello--> Starting --Started--> Up --Exited, power off--> QEMU ends
//!    \----------------------\--deadline, garbage, virtiofsd ends--> failed: killed
//! ```
//!
//! The guest is trusted with nothing: what it says passes through [`Host`], which ends the machine at the first word out
//! of turn, and what it prints is kept only in part.

mod console;
mod interface;
mod monitor;
mod plug;
mod pump;
mod qemu;
mod size;
mod start;
pub mod taps;
mod view;

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use berth_guest_protocol::link::{Event, Host as Link};
use berth_guest_protocol::message::{GuestInterface, GuestSpec};
use berth_guest_protocol::{VERSION, WORKLOAD};
use berth_runtime::launch::{LaunchError, Stage};
use berth_runtime::spec::{LaunchSpec, VmSpec};
use berth_sys::process::Child;
use nix::poll::{PollFd, PollFlags, poll};

use self::console::Console;
pub use self::interface::guest_interface;
use self::plug::Plug;
pub use self::plug::Refusal;
pub use self::pump::{Flow, Pump};
use self::start::{Parts, Processes};
use crate::container::init::Init;
use crate::failure::launch_error;
use crate::host::Host;

const NO_SHARE: &str = "virtiofsd, which exports its root file system, has ended";

/// Why a guest is asked for nothing more.
pub const TOO_MANY: &str = "too many programs run in the machine";

/// Milliseconds that QEMU may take to go.
const GOING: u16 = 500;

/// A machine that runs.
pub struct Machine {
    /// Exports its root file system.
    pub virtiofsd: Child,
    /// The protocol.
    pub link: Link,
    /// What it is given while it runs.
    pub plug: Plug,
    port: Option<UnixStream>,
    /// QEMU's and the guest's kernel's.
    console: Console,
    /// virtiofsd's, which has much to say of every start.
    share_console: Console,
    phase: Phase,
    exited: Option<(i32, Option<i32>)>,
    failure: Option<LaunchError>,
}

enum Phase {
    /// Until the guest says hello, and its program was executed.
    Booting { until: Instant },
    /// The workload runs, or has run.
    Up,
}

impl Machine {
    /// Starts it; the guest will say when its workload runs.
    pub fn start(spec: &LaunchSpec, vm: &VmSpec, host: &Host) -> Result<(Init, Child, Self), LaunchError> {
        let at = || launch_error(Stage::Init, &spec.id);
        let (port, channel) = UnixStream::pair().map_err(at())?;
        port.set_nonblocking(true).map_err(at())?;
        let (console, writer) = Console::new().map_err(at())?;
        let (share_console, share_writer) = Console::new().map_err(at())?;
        let (monitor, monitored) = UnixStream::pair().map_err(at())?;
        let plug = Plug::new(vm, &host.taps, monitor).map_err(at())?;
        let inherited = [channel.into(), monitored.into()];
        let parts = Parts::open(spec, vm, host, inherited, [writer, share_writer])?;
        let Processes { init, virtiofsd, qemu } = start::start(spec, vm, host, &parts)?;
        let machine = Self {
            virtiofsd,
            link: Link::new(),
            plug,
            port: Some(port),
            console,
            share_console,
            phase: Phase::Booting { until: Instant::now() + Duration::from_millis(vm.boot_timeout_ms) },
            exited: None,
            failure: None,
        };
        Ok((init, qemu, machine))
    }

    /// The channel, until QEMU has closed it.
    pub fn port(&self) -> Option<BorrowedFd<'_>> {
        self.port.as_ref().map(AsFd::as_fd)
    }

    /// Whether something waits to be written to it.
    pub fn has_output(&self) -> bool {
        !self.link.output().is_empty()
    }

    /// Whether the end of virtiofsd would be news: when QEMU has gone, it goes too.
    pub fn needs_share(&self) -> bool {
        self.port.is_some() && self.failure.is_none() && self.exited.is_none()
    }

    /// What QEMU, virtiofsd and the guest's kernel print.
    pub fn consoles(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.console.fd().into_iter().chain(self.share_console.fd())
    }

    /// When it must be up, if it is not.
    pub fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Booting { until } if self.failure.is_none() => Some(until),
            _ => None,
        }
    }

    /// Whether its workload was executed.
    pub fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up)
    }

    /// Its workload was executed.
    pub fn went_up(&mut self) {
        self.phase = Phase::Up;
    }

    /// Takes what has come over the channel. Garbage is a failure of the machine's.
    pub fn read(&mut self) -> Vec<Event> {
        let mut buffer = [0; 64 * 1024];
        let Some(port) = &mut self.port else { return Vec::new() };
        let length = match port.read(&mut buffer) {
            Ok(length) => length,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return Vec::new();
            }
            // QEMU has gone.
            Err(_) => 0,
        };
        if length == 0 {
            self.port = None;
            return Vec::new();
        }
        self.link.feed(&buffer[..length]).unwrap_or_else(|error| {
            let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
            self.fail(&format!("{error}{}", source.unwrap_or_default()));
            Vec::new()
        })
    }

    /// Sends what can be sent without waiting.
    pub fn write(&mut self) {
        while let Some(port) = &mut self.port
            && !self.link.output().is_empty()
        {
            match port.write(self.link.output()) {
                Ok(length) => self.link.sent(length),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.port = None,
            }
        }
    }

    /// Keeps the end of what was printed.
    pub fn read_consoles(&mut self) {
        self.console.read();
        self.share_console.read();
    }

    /// Makes it what the spec says, after it said hello.
    pub fn instruct(&mut self, spec: &LaunchSpec, interfaces: Vec<GuestInterface>) {
        if let Err(error) = self.link.start(guest_spec(spec, interfaces)) {
            self.fail(&format!("the guest cannot be told what to run: {error}"));
        }
    }

    /// Its workload has ended.
    pub fn exited(&mut self, code: i32, signal: Option<i32>) {
        self.exited = Some((code, signal));
    }

    /// Its workload was not executed.
    pub fn refused(&mut self, error: LaunchError) {
        self.failure.get_or_insert(error);
    }

    /// It is of no more use. The first reason is the one that counts.
    pub fn fail(&mut self, reason: &str) {
        if self.failure.is_none() {
            self.failure = Some(boot_error(reason, &self.console.last_words("Its console")));
        }
    }

    /// Whether QEMU goes: on its way out it lets go of virtiofsd, which may be the first of both to end.
    fn is_going(&self) -> bool {
        let Some(port) = self.port() else { return true };
        // Asked for nothing, the kernel tells of a far end that is closed.
        poll(&mut [PollFd::new(port, PollFlags::empty())], GOING).is_ok_and(|closed| closed > 0)
    }

    /// It has lost its files, unless it is that QEMU goes.
    pub fn share_ended(&mut self) {
        if self.failure.is_none() && !self.is_going() {
            while self.share_console.read() {}
            let said = self.share_console.last_words("It");
            self.failure = Some(boot_error(NO_SHARE, &said));
        }
    }

    /// Whether something is wrong with it.
    pub fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// After QEMU has ended: how the workload did, or why the machine gave no answer.
    pub fn outcome(&mut self) -> Result<(i32, Option<i32>), LaunchError> {
        // It holds what was said before the end.
        while self.console.read() {}
        match (self.failure.take(), self.exited) {
            (Some(failure), _) => Err(failure),
            (None, Some(exited)) => Ok(exited),
            (None, None) => Err(self.why_it_went()),
        }
    }

    fn why_it_went(&self) -> LaunchError {
        let words = self.console.last_words("Its console");
        match self.console.panic() {
            Some(why) => boot_error(&format!("the guest's kernel has panicked: {why}"), ""),
            // So QEMU says that nobody serves it.
            None if words.contains(qemu::SHARE_DEVICE) => boot_error(NO_SHARE, &words),
            None => boot_error("it has ended without a word of its workload", &words),
        }
    }
}

fn boot_error(reason: &str, said: &str) -> LaunchError {
    LaunchError { stage: Stage::Boot, errno: 0, path: format!("{reason}{said}").into() }
}

fn guest_spec(spec: &LaunchSpec, interfaces: Vec<GuestInterface>) -> GuestSpec {
    GuestSpec {
        version: VERSION,
        hostname: spec.hostname.clone(),
        resources: spec.vm.as_ref().map(size::at_boot).unwrap_or_default(),
        interfaces,
        sysctls: spec.kernel.sysctls.clone(),
        shm_bytes: spec.kernel.shm_bytes,
        process: spec.process.clone(),
    }
}

/// Whether a session is the workload's.
pub fn is_workload(session: u16) -> bool {
    session == WORKLOAD
}
