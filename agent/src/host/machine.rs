//! What the machine is.

use async_trait::async_trait;
use berth_engine::ports::host::{CheckItem, Host, HostInfo};
use berth_image::platform::Platform;

use super::Place;
use super::checks;
use super::driver::Driver;
use super::guests::Guests;
use super::supervisor::Finder;
use crate::daemon::Config;

/// The machine that the agent runs on.
pub(super) struct Machine {
    place: Place,
    supervisor: Finder,
    uid_base: u32,
    uid_count: u32,
    driver: Driver,
    verity: bool,
    guests: Guests,
}

impl Machine {
    pub(super) fn new(
        place: Place,
        supervisor: Finder,
        config: &Config,
        driver: Driver,
        verity: bool,
        guests: Guests,
    ) -> Self {
        let (uid_base, uid_count) = (config.uid_base, config.uid_count);
        Self { place, supervisor, uid_base, uid_count, driver, verity, guests }
    }

    fn probe(&self) -> HostInfo {
        HostInfo {
            hostname: read("/proc/sys/kernel/hostname"),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            kernel_version: read("/proc/sys/kernel/osrelease"),
            architecture: Platform::host().architecture,
            cpus: std::thread::available_parallelism()
                .map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX)),
            memory_bytes: memory(&read("/proc/meminfo")).unwrap_or_default(),
            prefix: self.place.prefix.to_string(),
            data_dir: self.place.data.display().to_string(),
            cgroup_version: checks::cgroup_version().to_owned(),
        }
    }
}

#[async_trait]
impl Host for Machine {
    async fn info(&self) -> HostInfo {
        // A few short files of /proc.
        self.probe()
    }

    async fn check(&self) -> Vec<CheckItem> {
        let place = self.place.clone();
        let (supervisor, base, count) = (self.supervisor.clone(), self.uid_base, self.uid_count);
        let guests = self.guests.clone();
        let checked = tokio::task::spawn_blocking(move || {
            let mut items = checks::all(&place, &supervisor, base, count);
            items.extend(guests.checks());
            items
        });
        let mut items = checked.await.unwrap_or_else(|error| vec![checks::interrupted(&error)]);
        items.extend([checks::root_file_systems(&self.driver), checks::verity(self.verity)]);
        items
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// Bytes of memory, as `/proc/meminfo` has them.
fn memory(meminfo: &str) -> Option<u64> {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = total.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_told_in_bytes() {
        assert_eq!(memory("MemTotal:       24606732 kB\nMemFree: 1 kB"), Some(24_606_732 * 1024));
        assert_eq!(memory("x"), None);
    }
}
