//! What a machine is given and gives back while it runs.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::net::UnixStream;

use berth_guest_protocol::message::Resources;
use berth_runtime::control::MachineSize;
use berth_runtime::spec::VmSpec;

use super::monitor::{Monitor, Said, Task};
use super::qemu::{self, PLUGGED};
use super::size::{self, Memory};
use super::taps::{Tap, Taps};

/// Of a machine that runs.
pub struct Plug {
    /// Who plugs in.
    pub monitor: Monitor,
    memory: Memory,
    most_cpus: u32,
    /// Those that are plugged in. None is ever taken out: QEMU 7 that translates is lost when one comes again.
    cpus: u32,
    driver: String,
    /// Where QEMU has an interface, be there a tap behind it or not.
    cards: BTreeSet<u32>,
    /// Whether there are places for more.
    has_slots: bool,
}

/// What QEMU did not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// What the limit of this name asks for.
    Limit(Limit),
    /// An interface, and why.
    Interface(u32, String),
}

/// The limit that a change is refused for, as the API names it.
pub type Limit = &'static str;

impl Plug {
    /// Of a machine that boots.
    pub fn new(vm: &VmSpec, taps: &Taps, stream: UnixStream) -> io::Result<Self> {
        Ok(Self {
            monitor: Monitor::new(stream)?,
            memory: Memory::of(vm),
            most_cpus: size::most_cpus(vm),
            cpus: vm.cpus.max(1),
            driver: qemu::processor_driver(vm),
            cards: taps.iter().map(|tap| tap.slot).collect(),
            has_slots: vm.has_slots,
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

    /// Whether interfaces come and go while it runs.
    pub fn takes_interfaces(&self) -> bool {
        self.has_slots
    }

    /// Whether QEMU has one in this place.
    pub fn has_card(&self, slot: u32) -> bool {
        self.cards.contains(&slot)
    }

    /// Plugs in the interface of a tap.
    pub fn put_in(&mut self, tap: &Tap) -> io::Result<()> {
        let end = tap.fd.try_clone()?;
        self.cards.insert(tap.slot);
        self.monitor.add_interface(tap.slot, end, &qemu::card_arguments(tap.slot, &tap.spec.mac));
        self.monitor.write();
        Ok(())
    }

    /// Has the guest let go of the interface in a place; [`Self::has_card`] tells when it has.
    pub fn take_out(&mut self, slot: u32) {
        self.monitor.take_out_interface(slot);
        self.monitor.write();
    }

    /// Takes what QEMU says; gives the first that it has not done.
    pub fn refused(&mut self) -> Option<Refusal> {
        let mut refused = None;
        for said in self.monitor.read() {
            refused = refused.or(self.heard(said));
        }
        self.monitor.write();
        refused
    }

    fn heard(&mut self, said: Said) -> Option<Refusal> {
        match said {
            Said::Done(Task::Processors) => self.cpus += 1,
            Said::Done(_) => {}
            Said::Deleted(device) => {
                if let Some(slot) = qemu::slot_of(&device) {
                    self.is_out(slot);
                }
            }
            Said::Refused { task: Task::Processors, .. } => return Some(Refusal::Limit("cpu")),
            Said::Refused { task: Task::Greet | Task::Memory, .. } => return Some(Refusal::Limit("memory")),
            Said::Refused { task: Task::PlugIn(slot), reason, .. } => {
                return Some(Refusal::Interface(slot, reason));
            }
            // It never was in.
            Said::Refused { task: Task::TakeOut(slot), is_missing: true, .. } => self.is_out(slot),
            // It is on its way out already, which is told when it is; and what is not there need not be forgotten.
            Said::Refused { task: Task::TakeOut(_) | Task::Forget, .. } => {}
        }
        None
    }

    fn is_out(&mut self, slot: u32) {
        if self.cards.remove(&slot) {
            self.monitor.forget_interface(slot);
        }
    }
}
