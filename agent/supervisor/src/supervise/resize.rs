//! Changing how many processors and how much memory a machine has, while it runs.
//!
//! ```text
//! less memory: asked --the guest tells what it uses--> it fits: as for more
//!                                                   \--it does not: refused
//! more: asked --QEMU plugs in, the guest is told--> under way --the guest has it--> the rest of the update, answered
//!                                                        \--refused by QEMU, or not in time--> as it was, refused
//! ```
//!
//! The control group is widened before, and made narrow after.

use std::time::{Duration, Instant};

use berth_guest_protocol::message::Stats;
use berth_runtime::control::{MachineSize, Response, Update};
use berth_runtime::spec::CgroupSpec;

use super::{Supervisor, Workload};

/// What a guest has left at least, so that none of its programs is killed for want of memory.
const SPARE: u64 = 16 << 20;

/// A change that the guest has not made yet.
pub(super) struct Resizing {
    update: Update,
    wanted: MachineSize,
    before: MachineSize,
    until: Instant,
    /// Whether it was told; not before it is known that what it uses fits.
    told: bool,
}

impl Supervisor {
    /// An update of anything; `None` where the answer comes later.
    pub(super) fn begin_update(&mut self, index: usize, update: Update) -> Option<Response> {
        let before = self.size();
        let wanted = update.machine.filter(|wanted| before.is_some_and(|before| before != *wanted));
        let (Some(wanted), Some(before), Workload::Running(_)) = (wanted, before, &self.workload) else {
            return self.begin_rewiring(index, update);
        };
        if self.changes_guest_interfaces(&update)
            && let Some(refused) = self.cannot_hotplug(&update)
        {
            return Some(refused);
        }
        if let Some(refused) = self.cannot_resize(wanted) {
            return Some(refused);
        }
        if let Err(error) = self.host.cgroup.set_limits(&crate::host::limits(&self.widened(&update.cgroup))) {
            return Some(self.limit_refused(&error));
        }
        let takes = wanted.memory_bytes < before.memory_bytes;
        match self.machine() {
            Some(machine) if takes => machine.link.stats(),
            _ => self.tell_size(wanted),
        }
        let until = Instant::now() + Duration::from_millis(update.patience_ms);
        self.resizing = Some(Resizing { update, wanted, before, until, told: !takes });
        self.connections[index].awaits_update = true;
        None
    }

    fn begin_rewiring(&mut self, index: usize, update: Update) -> Option<Response> {
        if !self.changes_guest_interfaces(&update) {
            return Some(self.update(update));
        }
        if let Some(refused) = self.cannot_hotplug(&update) {
            return Some(refused);
        }
        self.begin_hotplug(update, None);
        self.connections[index].awaits_update = true;
        None
    }

    pub(super) fn is_resizing(&self) -> bool {
        self.resizing.is_some()
    }

    fn size(&self) -> Option<MachineSize> {
        let vm = self.spec.vm.as_ref()?;
        Some(MachineSize { cpus: vm.cpus, memory_bytes: vm.memory_bytes })
    }

    fn cannot_resize(&mut self, wanted: MachineSize) -> Option<Response> {
        let refused = |reason: &str| Some(Response::Refused { reason: reason.into() });
        let is_busy = self.is_resizing() || self.hotplug.is_some();
        let Some(machine) = self.machine() else { return refused("it is no virtual machine") };
        if !machine.is_up() {
            return refused("the machine is booting");
        }
        if is_busy || !machine.plug.monitor.is_idle() {
            return refused("another change of the machine is under way");
        }
        let limit = machine.plug.resources(wanted).err()?.to_owned();
        Some(Response::LimitRefused { limit, errno: libc::EOPNOTSUPP })
    }

    /// The limits of before and after, whichever lets more.
    fn widened(&self, after: &CgroupSpec) -> CgroupSpec {
        let before = &self.spec.cgroup;
        let memory = before.memory_bytes.zip(after.memory_bytes).map(|(before, after)| before.max(after));
        let swap = before.swap_bytes.zip(after.swap_bytes).map(|(before, after)| before.max(after));
        CgroupSpec { memory_bytes: memory, swap_bytes: swap, ..after.clone() }
    }

    /// To QEMU and to the guest.
    pub(super) fn tell_size(&mut self, size: MachineSize) {
        let Some(machine) = self.machine() else { return };
        // What it had it can have again, and all else was looked at before.
        let Ok(resources) = machine.plug.resources(size) else { return };
        machine.plug.begin(resources);
        machine.link.resources(resources);
    }

    /// What the guest uses.
    pub(super) fn guest_uses(&mut self, stats: Stats) {
        let Some(mut resizing) = self.resizing.take_if(|resizing| !resizing.told) else { return };
        let less = resizing.before.memory_bytes.saturating_sub(resizing.wanted.memory_bytes);
        if stats.memory_bytes.saturating_add(less).saturating_add(SPARE) > stats.memory_total {
            self.resize_failed(&resizing, "memory", libc::EBUSY);
            return;
        }
        self.tell_size(resizing.wanted);
        resizing.told = true;
        self.resizing = Some(resizing);
    }

    /// QEMU has refused what a limit asks for.
    pub(super) fn size_refused(&mut self, limit: &str) {
        if let Some(resizing) = self.resizing.take() {
            self.resize_failed(&resizing, limit, libc::EOPNOTSUPP);
        }
    }

    /// The guest has what it was told to have last.
    pub(super) fn guest_has_resources(&mut self) {
        let Some(Resizing { update, before, .. }) = self.resizing.take() else { return };
        if self.changes_guest_interfaces(&update) {
            self.begin_hotplug(update, Some(before));
            return;
        }
        let response = self.update(update);
        if response != Response::Done {
            self.tell_size(before);
        }
        self.answer_update(&response);
    }

    /// Gives up a change that takes too long: what the guest uses it does not give back.
    pub(super) fn resize_due(&mut self) {
        let Some(resizing) = self.resizing.take_if(|resizing| resizing.until <= Instant::now()) else {
            return;
        };
        let is_memory = resizing.wanted.memory_bytes != resizing.before.memory_bytes;
        self.resize_failed(&resizing, if is_memory { "memory" } else { "cpu" }, libc::EBUSY);
    }

    fn resize_failed(&mut self, resizing: &Resizing, limit: &str, errno: i32) {
        if resizing.told {
            self.tell_size(resizing.before);
        }
        let _ = self.host.cgroup.set_limits(&crate::host::limits(&self.spec.cgroup));
        self.allow_devices();
        self.answer_update(&Response::LimitRefused { limit: limit.to_owned(), errno });
    }

    /// The machine has ended meanwhile.
    pub(super) fn resize_ended(&mut self) {
        if self.resizing.take().is_some() {
            let _ = self.host.cgroup.set_limits(&crate::host::limits(&self.spec.cgroup));
            self.answer_update(&Response::Refused { reason: "the machine has ended".into() });
        }
    }

    pub(super) fn resize_deadline(&self) -> Option<Instant> {
        self.resizing.as_ref().map(|resizing| resizing.until)
    }

    pub(super) fn answer_update(&mut self, response: &Response) {
        for connection in &mut self.connections {
            if std::mem::take(&mut connection.awaits_update) {
                connection.send(response);
            }
        }
    }
}
