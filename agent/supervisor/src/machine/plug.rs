//! What a machine is given and gives back while it runs.

use std::os::unix::net::UnixStream;

use berth_guest_protocol::message::Resources;
use berth_runtime::control::MachineSize;
use berth_runtime::spec::VmSpec;

use super::monitor::{Monitor, Outcome, Task};
use super::qemu::{self, PLUGGED};
use super::size::{self, Memory};

/// Of a machine that runs.
pub struct Plug {
    /// Who plugs in.
    pub monitor: Monitor,
    memory: Memory,
    most_cpus: u32,
    /// Those that are plugged in. None is ever taken out: QEMU 7 that translates is lost when one comes again.
    cpus: u32,
    driver: String,
}

/// The limit that a change is refused for, as the API names it.
pub type Limit = &'static str;

impl Plug {
    /// Of a machine that boots.
    pub fn new(vm: &VmSpec, stream: UnixStream) -> std::io::Result<Self> {
        Ok(Self {
            monitor: Monitor::new(stream)?,
            memory: Memory::of(vm),
            most_cpus: size::most_cpus(vm),
            cpus: vm.cpus.max(1),
            driver: qemu::processor_driver(vm),
        })
    }

    /// What the guest is to have for that; or which of it is more, or less, than this machine can have.
    pub fn resources(&self, size: MachineSize) -> Result<Resources, Limit> {
        let plugged_bytes = self.memory.plugged(size.memory_bytes).ok_or("memory")?;
        let cpus = Some(size.cpus).filter(|cpus| (1..=self.most_cpus).contains(cpus)).ok_or("cpu")?;
        Ok(Resources { cpus, plugged_bytes })
    }

    /// Plugs in what the guest will need.
    pub fn begin(&mut self, wanted: Resources) {
        for number in self.cpus..wanted.cpus {
            self.monitor.add_processor(&self.driver, number);
        }
        if self.memory.room > 0 {
            self.monitor.set_memory(PLUGGED, wanted.plugged_bytes);
        }
        self.monitor.write();
    }

    /// Takes QEMU's answers; gives the limit of what it has refused.
    pub fn refused(&mut self) -> Option<Limit> {
        let mut refused = None;
        for outcome in self.monitor.read() {
            match outcome {
                Outcome::Ok(Task::Processors) => self.cpus += 1,
                Outcome::Ok(Task::Greet | Task::Memory) => {}
                Outcome::Err((Task::Processors, _)) => refused = refused.or(Some("cpu")),
                Outcome::Err((Task::Greet | Task::Memory, _)) => refused = refused.or(Some("memory")),
            }
        }
        refused
    }
}
