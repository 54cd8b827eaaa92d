//! Changing the interfaces of a machine while it runs.
//!
//! ```text
//! Leaving: the guest lets go of those that go, and gives those that stay their new addresses
//! Pulling: QEMU takes them out          Plugging: QEMU puts in those that come
//! Joining: the guest sets them up       --> the rest of the update, answered
//! refused at any of these: the same way back, after which the refusal is the answer
//! not in time: what the host does is undone without the guest's help, and that is the answer
//! ```
//!
//! What goes is out before anything comes: it may have the same name and the same addresses.

use std::time::{Duration, Instant};

use berth_runtime::control::{MachineSize, Response, Update};
use berth_runtime::launch::{LaunchError, Stage};
use berth_runtime::spec::InterfaceSpec;

use super::{Supervisor, Workload};
use crate::machine::Refusal;

/// A change that is not made yet.
pub(super) struct Hotplug {
    update: Update,
    wanted: Vec<InterfaceSpec>,
    step: Step,
    until: Instant,
    /// The size that the machine had before the change, if that is another.
    size_before: Option<MachineSize>,
    /// It goes back, and this is why.
    failed: Option<Response>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Leaving,
    Pulling,
    Plugging,
    Joining,
}

fn until(update: &Update) -> Instant {
    Instant::now() + Duration::from_millis(update.patience_ms)
}

impl Supervisor {
    /// Whether an update changes interfaces that a machine's guest has.
    pub(super) fn changes_guest_interfaces(&self, update: &Update) -> bool {
        let differ = update.networks.as_ref().is_some_and(|networks| *networks != self.spec.networks);
        differ && self.running_machine().is_some()
    }

    /// Why interfaces cannot be changed now.
    pub(super) fn cannot_hotplug(&self, update: &Update) -> Option<Response> {
        let refused = |reason: &str| Some(Response::Refused { reason: reason.into() });
        let machine = self.running_machine()?;
        if !machine.is_up() {
            return refused("the machine is booting");
        }
        if self.hotplug.is_some() || self.is_resizing() || !machine.plug.monitor.is_idle() {
            return refused("another change of the machine is under way");
        }
        if !machine.plug.takes_interfaces() {
            return refused("the machine was started without places for interfaces");
        }
        let there = self.host.taps.look_for_parents(update.networks.as_deref().unwrap_or_default());
        there.err().map(Response::UpdateFailed)
    }

    /// Begins; the answer comes later.
    pub(super) fn begin_hotplug(&mut self, update: Update, size_before: Option<MachineSize>) {
        let wanted = update.networks.clone().unwrap_or_default();
        let until = until(&update);
        self.hotplug =
            Some(Hotplug { update, wanted, step: Step::Leaving, until, size_before, failed: None });
        self.leave();
    }

    fn leave(&mut self) {
        let Some(hotplug) = &mut self.hotplug else { return };
        hotplug.step = Step::Leaving;
        let taps = &self.host.taps;
        let stay: Vec<_> = hotplug.wanted.iter().filter(|one| taps.of(one).is_some()).cloned().collect();
        self.tell_interfaces(&stay);
    }

    pub(super) fn tell_interfaces(&mut self, interfaces: &[InterfaceSpec]) {
        let interfaces = self.guest_interfaces(interfaces);
        if let Some(machine) = self.machine() {
            machine.link.interfaces(interfaces);
        }
    }

    /// The guest has the interfaces that it was told to have last, or says why not.
    pub(super) fn guest_is_connected(&mut self, outcome: Result<(), LaunchError>) {
        let Some(hotplug) = &self.hotplug else { return self.lease_is_taken(outcome) };
        match (hotplug.step, outcome) {
            (Step::Leaving, Ok(())) => self.pull(),
            (Step::Joining, Ok(())) => self.interfaces_are_there(),
            // It has said that of an earlier question.
            (Step::Pulling | Step::Plugging, _) => {}
            (Step::Leaving | Step::Joining, Err(error)) => self.hotplug_failed(Response::UpdateFailed(error)),
        }
    }

    fn pull(&mut self) {
        let Some(hotplug) = &mut self.hotplug else { return };
        hotplug.step = Step::Pulling;
        let gone = self.host.taps.beyond(&hotplug.wanted);
        let goes = |slot: u32| gone.contains(&slot);
        let names: Vec<_> =
            self.host.taps.iter().filter(|tap| goes(tap.slot)).map(|tap| tap.spec.name.clone()).collect();
        self.give_leases_back(|name| names.iter().any(|one| one == name));
        for slot in gone {
            if let Workload::Running(running) = &mut self.workload
                && let Some(machine) = running.machine()
            {
                machine.plug.take_out(slot);
            }
        }
        self.hotplug_goes_on();
    }

    /// After QEMU has said something.
    pub(super) fn hotplug_goes_on(&mut self) {
        let (Some(hotplug), Some(machine)) = (&self.hotplug, self.running_machine()) else { return };
        if !machine.plug.monitor.is_idle() {
            return;
        }
        let gone = self.host.taps.beyond(&hotplug.wanted);
        match hotplug.step {
            Step::Pulling if !gone.iter().any(|slot| machine.plug.has_card(*slot)) => {
                let removed = gone
                    .into_iter()
                    .try_for_each(|slot| self.host.taps.remove(slot, &self.host.namespaces.network));
                match removed.and_then(|()| self.plug_in()) {
                    Ok(()) => self.hotplug_goes_on(),
                    Err(error) => self.hotplug_failed(Response::UpdateFailed(error)),
                }
            }
            Step::Plugging => {
                let wanted = hotplug.wanted.clone();
                self.tell_interfaces(&wanted);
                if let Some(hotplug) = &mut self.hotplug {
                    hotplug.step = Step::Joining;
                }
            }
            Step::Leaving | Step::Pulling | Step::Joining => {}
        }
    }

    fn plug_in(&mut self) -> Result<(), LaunchError> {
        let Some(hotplug) = &mut self.hotplug else { return Ok(()) };
        hotplug.step = Step::Plugging;
        let wanted = hotplug.wanted.clone();
        let Workload::Running(running) = &mut self.workload else { return Ok(()) };
        let Some(machine) = running.machine() else { return Ok(()) };
        for interface in &wanted {
            self.host.taps.fit(interface, &self.host.namespaces.network)?;
            if self.host.taps.of(interface).is_none() {
                let tap = self
                    .host
                    .taps
                    .add(interface, &self.host.namespaces.network, |slot| machine.plug.has_card(slot))?;
                let failed = crate::failure::launch_error(Stage::Network, &interface.host_name);
                machine.plug.put_in(tap).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// QEMU has not plugged one in.
    pub(super) fn interface_refused(&mut self, slot: u32, reason: &str) {
        let tap = self.host.taps.iter().find(|tap| tap.slot == slot);
        let name = tap.map_or("", |tap| &tap.spec.name);
        let path = format!("{name}: QEMU refuses it: {reason}").into();
        self.hotplug_failed(Response::UpdateFailed(LaunchError { stage: Stage::Network, errno: 0, path }));
    }

    fn interfaces_are_there(&mut self) {
        let Some(mut hotplug) = self.hotplug.take() else { return };
        if let Some(failed) = hotplug.failed {
            self.hotplug_is_over(hotplug.size_before, &failed);
            return;
        }
        match self.update(hotplug.update.clone()) {
            Response::Done => self.answer_update(&Response::Done),
            failed => {
                hotplug.step = Step::Joining;
                self.hotplug = Some(hotplug);
                self.hotplug_failed(failed);
            }
        }
    }

    /// Goes back to what was; from a way back there is none.
    fn hotplug_failed(&mut self, response: Response) {
        let before = self.spec.networks.clone();
        let Some(hotplug) = &mut self.hotplug else { return };
        if hotplug.failed.is_some() {
            self.give_hotplug_up();
            return;
        }
        hotplug.failed = Some(response);
        hotplug.wanted = before;
        hotplug.until = until(&hotplug.update);
        self.leave();
    }

    pub(super) fn hotplug_due(&mut self) {
        if self.hotplug.as_ref().is_none_or(|hotplug| hotplug.until > Instant::now()) {
            return;
        }
        let Some(hotplug) = &mut self.hotplug else { return };
        let differs = |one: &&InterfaceSpec| !self.spec.networks.contains(one);
        let first = hotplug.wanted.iter().find(differs).or(self.spec.networks.first());
        let path = first.map(|one| one.host_name.clone()).unwrap_or_default().into();
        let late = LaunchError { stage: Stage::Network, errno: libc::ETIMEDOUT, path };
        hotplug.failed.get_or_insert(Response::UpdateFailed(late));
        self.give_hotplug_up();
    }

    /// Without the guest: what it is not to have is connected to nothing, and what it had is there for it to take.
    fn give_hotplug_up(&mut self) {
        let Some(hotplug) = self.hotplug.take() else { return };
        let before = self.spec.networks.clone();
        if let Workload::Running(running) = &mut self.workload
            && let Some(machine) = running.machine()
        {
            for slot in self.host.taps.beyond(&before) {
                machine.plug.take_out(slot);
                // What cannot be removed goes with QEMU.
                let _ = self.host.taps.remove(slot, &self.host.namespaces.network);
            }
            for interface in &before {
                let _ = self.host.taps.fit(interface, &self.host.namespaces.network);
                if self.host.taps.of(interface).is_none() {
                    // The first refusal is the one to report.
                    let added = self
                        .host
                        .taps
                        .add(interface, &self.host.namespaces.network, |slot| machine.plug.has_card(slot));
                    let _ = added.map(|tap| machine.plug.put_in(tap));
                }
            }
        }
        self.tell_interfaces(&before);
        if let Some(failed) = hotplug.failed {
            self.hotplug_is_over(hotplug.size_before, &failed);
        }
    }

    /// The machine has ended meanwhile: the next one has what was before.
    pub(super) fn hotplug_ended(&mut self) {
        if let Some(hotplug) = self.hotplug.take() {
            let reason = "the machine has ended".to_owned();
            self.hotplug_is_over(hotplug.size_before, &Response::Refused { reason });
        }
        if self.running_machine().is_some() {
            // What cannot be made now, its next start is told of.
            let _ = self.host.taps.change(&self.spec.networks, &self.host.namespaces.network);
        }
    }

    fn hotplug_is_over(&mut self, size_before: Option<MachineSize>, failed: &Response) {
        if let Some(size) = size_before {
            self.tell_size(size);
        }
        let _ = self.host.cgroup.set_limits(&crate::host::limits(&self.spec.cgroup));
        self.allow_devices();
        self.take_leases();
        self.answer_update(failed);
    }

    pub(super) fn is_hotplugging(&self) -> bool {
        self.hotplug.is_some()
    }

    pub(super) fn hotplug_deadline(&self) -> Option<Instant> {
        self.hotplug.as_ref().map(|hotplug| hotplug.until)
    }

    /// QEMU's monitor has something to say, or takes more.
    pub(super) fn monitor_spoke(&mut self) {
        let Some(machine) = self.machine() else { return };
        machine.plug.monitor.write();
        match machine.plug.refused() {
            Some(Refusal::Limit(limit)) => self.size_refused(limit),
            Some(Refusal::Interface(slot, reason)) => self.interface_refused(slot, &reason),
            None => {}
        }
        self.hotplug_goes_on();
    }
}
