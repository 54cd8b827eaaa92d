//! How many processors run and how much memory there is: as the host asks for it.
//!
//! Memory comes and goes by the kernel's driver, whom the machine tells. A processor that was plugged in is brought up
//! here, and one that is to go is taken down: it stays in its place, and does nothing.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use berth_guest_protocol::message::Resources as Wanted;
use berth_process::failure::launch_error;
use berth_runtime::launch::{LaunchError, Stage};
use nix::fcntl::OFlag;
use nix::poll::{PollTimeout, poll};
use nix::sys::stat::Mode;

/// How long a machine's first memory may take: a gigabyte is a second under translation.
const BOOT_LIMIT: Duration = Duration::from_secs(60);

/// No event tells that memory has come, where it is a part of a block.
pub const INTERVAL_MS: u8 = 10;

/// The kernel's doors to them, opened while they are in reach.
pub struct Resources {
    processors: File,
    caches: File,
    /// Of memory without what is plugged in.
    boot_bytes: u64,
}

impl Resources {
    /// Before the driver of memory is loaded.
    pub fn at_boot() -> io::Result<Self> {
        Ok(Self {
            processors: File::open("/sys/devices/system/cpu")?,
            caches: File::options().write(true).open("/proc/sys/vm/drop_caches")?,
            boot_bytes: total(&fs::read_to_string("/proc/meminfo")?),
        })
    }

    /// Waits for what a machine is to have from the start.
    pub fn await_all(&self, wanted: Wanted) -> Result<(), LaunchError> {
        let until = Instant::now() + BOOT_LIMIT;
        while !self.settle(wanted) {
            if Instant::now() > until {
                let missing = "the guest has not taken all of its memory and processors";
                return Err(launch_error(Stage::Boot, missing)(io::ErrorKind::TimedOut.into()));
            }
            let _ = poll(&mut [], PollTimeout::from(INTERVAL_MS));
        }
        Ok(())
    }

    /// Does what is to be done here; whether all is as it is wanted.
    pub fn settle(&self, wanted: Wanted) -> bool {
        let memory = fs::read_to_string("/proc/meminfo").map_or(0, |text| total(&text));
        let processors = self.processors(wanted.cpus).unwrap_or(false);
        processors && memory == self.boot_bytes + wanted.plugged_bytes
    }

    fn processors(&self, wanted: u32) -> io::Result<bool> {
        let mut online = numbers(&self.read("online")?);
        for number in numbers(&self.read("present")?) {
            let should = number < wanted;
            // The first always runs, and has no such file.
            if number > 0 && online.contains(&number) != should {
                self.write(&format!("cpu{number}/online"), if should { "1" } else { "0" })?;
                online = numbers(&self.read("online")?);
            }
        }
        Ok(online.len() == usize::try_from(wanted).unwrap_or(usize::MAX))
    }

    fn read(&self, name: &str) -> io::Result<String> {
        let mut text = String::new();
        self.open(name, OFlag::O_RDONLY)?.read_to_string(&mut text)?;
        Ok(text)
    }

    fn write(&self, name: &str, value: &str) -> io::Result<()> {
        self.open(name, OFlag::O_WRONLY)?.write_all(value.as_bytes())
    }

    fn open(&self, name: &str, flags: OFlag) -> io::Result<File> {
        let opened = nix::fcntl::openat(&self.processors, name, flags | OFlag::O_CLOEXEC, Mode::empty());
        Ok(opened?.into())
    }

    /// Lets go of what was read of directories and is not in use.
    pub fn forget(&self) {
        // It can only be said again: what is kept is asked for again within a second anyhow.
        let _ = (&self.caches).write_all(b"2");
    }
}

fn total(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Of a list such as "0-2,5".
fn numbers(list: &str) -> Vec<u32> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    list.trim().split(',').filter_map(range).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_sizes_of_the_kernel_are_read() {
        assert_eq!(numbers("0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(numbers("0\n"), [0]);
        assert_eq!(total("MemTotal:         219968 kB\nMemFree: 1 kB\n"), 219_968 * 1024);
    }
}
