//! What is left where a supervisor was killed. Its mounts and namespaces went with it; its control group did not, nor what runs
//! in one that shares the host's processes.

use std::io;
use std::path::Path;

use berth_domain::InstanceId;
use berth_sys::cgroup::{Cgroup, CgroupError, Layout};

/// Ends what is in the instance's control group, and removes it.
pub(super) fn clear(parent: &str, instance: InstanceId) -> Result<(), CgroupError> {
    let group = Cgroup::existing(Layout::detect()?, parent, &instance.to_string());
    if !group.processes()?.is_empty() {
        group.kill()?;
    }
    group.remove()
}

/// One that is gone already need not go.
pub(super) fn remove_file(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// One that is gone already need not go.
pub(super) fn remove_dir(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
