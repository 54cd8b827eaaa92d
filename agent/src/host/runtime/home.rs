//! The directories of an instance.

use std::path::PathBuf;

/// Where an instance's things are.
#[derive(Debug, Clone)]
pub(super) struct Home {
    pub(super) data: PathBuf,
    pub(super) run: PathBuf,
}

impl Home {
    pub(super) fn rootfs(&self, number: u32) -> PathBuf {
        self.data.join(format!("rootfs-{number}"))
    }

    pub(super) fn log(&self) -> PathBuf {
        self.data.join("log")
    }
}
