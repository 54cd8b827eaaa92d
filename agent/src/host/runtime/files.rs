//! The directories of an instance.
//!
//! ```text
//! DATA/instances/ID/{rootfs/N/{upper,work}, log, files}     RUN/instances/ID/{spec.json, control.sock, exit.json, rootfs}
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_domain::InstanceId;
use berth_runtime::spec::LaunchSpec;

use crate::host::Place;

/// Where an instance's things are.
#[derive(Debug, Clone)]
pub(super) struct Files {
    data: PathBuf,
    /// Its run directory.
    pub(super) run: PathBuf,
}

/// The instances that have a directory of either kind.
pub(super) fn instances(place: &Place) -> io::Result<BTreeSet<InstanceId>> {
    let mut found = BTreeSet::new();
    for directory in [&place.data, &place.run] {
        for name in names(&directory.join("instances"))? {
            found.extend(name.parse::<InstanceId>().ok());
        }
    }
    Ok(found)
}

fn names(directory: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().into_string().ok());
    }
    Ok(names)
}

impl Files {
    pub(super) fn new(place: &Place, instance: InstanceId) -> Self {
        let below = |directory: &Path| directory.join("instances").join(instance.to_string());
        Self { data: below(&place.data), run: below(&place.run) }
    }

    /// The directory of a root filesystem's own changes.
    pub(super) fn rootfs(&self, number: u32) -> PathBuf {
        self.data.join("rootfs").join(number.to_string())
    }

    /// The log's directory.
    pub(super) fn log(&self) -> PathBuf {
        self.data.join("log")
    }

    /// The directory of the files that the agent writes for the instance.
    pub(super) fn own(&self) -> PathBuf {
        self.data.join("files")
    }

    /// Makes all of them for a root filesystem.
    pub(super) fn make(&self, rootfs: u32) -> io::Result<()> {
        for directory in [self.rootfs(rootfs), self.log(), self.own(), self.run.clone()] {
            fs::create_dir_all(directory)?;
        }
        Ok(())
    }

    /// The root filesystems that there are.
    pub(super) fn rootfs_numbers(&self) -> io::Result<Vec<u32>> {
        let mut numbers: Vec<u32> =
            names(&self.data.join("rootfs"))?.iter().filter_map(|name| name.parse().ok()).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Removes all root filesystems but one.
    pub(super) fn keep_only(&self, rootfs: u32) -> io::Result<()> {
        for number in self.rootfs_numbers()?.into_iter().filter(|number| *number != rootfs) {
            remove(&self.rootfs(number))?;
        }
        Ok(())
    }

    /// Removes everything.
    pub(super) fn remove(&self) -> io::Result<()> {
        remove(&self.run)?;
        remove(&self.data)
    }

    /// What the supervisor was started with last; `None` where that is not known.
    pub(super) fn spec(&self) -> Option<LaunchSpec> {
        serde_json::from_slice(&fs::read(self.run.join("spec.json")).ok()?).ok()
    }

    /// How long the workload may take to end.
    pub(super) fn stop_timeout(&self) -> Duration {
        self.spec().map_or(Duration::from_secs(10), |spec| Duration::from_millis(spec.stop.timeout_ms))
    }
}

fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
