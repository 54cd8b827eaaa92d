//! What users put into an instance, changed while the workload runs.

use berth_runtime::file::FileWrite;
use berth_runtime::launch::LaunchError;
use berth_runtime::mount::MountSpec;
use berth_sys::cgroup::Device;
use nix::sys::signal::Signal;

use super::{Supervisor, Workload};
use crate::container::attach::{self, Detached};
use crate::container::files::{self, Pending};

impl Supervisor {
    /// All of it, or nothing. Where nothing runs now, the next start makes it so.
    pub(super) fn change_contents(
        &mut self,
        wanted: Option<Vec<MountSpec>>,
        mut writes: Vec<FileWrite>,
    ) -> Result<(), LaunchError> {
        let wanted = wanted.unwrap_or_else(|| self.spec.mounts.clone());
        let ground = self.host.ground(&self.spec);
        match &mut self.workload {
            Workload::Running(running) => {
                let (mounted, init) = running.mounts_and_init();
                let mut perhaps: Vec<Device> = mounted.iter().filter_map(|mount| mount.device).collect();
                let allow = |new: &[Detached]| {
                    perhaps.extend(new.iter().filter_map(Detached::device));
                    self.host.allow_devices(new.iter().filter_map(Detached::device))
                };
                let changed = attach::change(mounted, &wanted, &writes, init, ground, allow);
                let now: Vec<Device> = mounted.iter().filter_map(|mount| mount.device).collect();
                for gone in perhaps.into_iter().filter(|device| !now.contains(device)) {
                    // Without a node it cannot be used anyhow.
                    let _ = self.host.cgroup.deny_device(gone);
                }
                // Where only what may be done with one changed, all of it went just now.
                self.host.allow_devices(now)?;
                changed?;
                if let Some(machine) = running.machine() {
                    machine.link.forget();
                }
                files::written(&mut writes);
            }
            Workload::Waiting(_) => {
                // That it is there is all that can be known now.
                drop((Detached::open_all(&wanted, ground)?, Pending::open_all(&writes)?));
                self.spec.writes.append(&mut writes);
            }
            Workload::Gone(_) => {}
        }
        self.spec.mounts = wanted;
        Ok(())
    }

    /// A machine's guest keeps what it knows of files until it is told to ask again.
    pub(super) fn machine_sees_files(&mut self) {
        if let Some(machine) = self.machine() {
            machine.link.forget();
        }
    }

    /// A change of limits may have taken away what the instance may use.
    pub(super) fn allow_devices(&mut self) {
        if let Workload::Running(running) = &mut self.workload {
            let devices: Vec<_> =
                running.mounts_and_init().0.iter().filter_map(|mount| mount.device).collect();
            // What the kernel allowed before it allows again.
            let _ = self.host.allow_devices(devices);
        }
    }

    /// Tells the workload of what was written.
    pub(super) fn notify(&mut self, signal: Option<i32>) {
        let signal = signal.and_then(|signal| Signal::try_from(signal).ok());
        if let (Workload::Running(running), Some(signal)) = (&mut self.workload, signal) {
            // One that ended in this moment reads it when it starts again.
            running.signal(signal);
        }
    }
}
