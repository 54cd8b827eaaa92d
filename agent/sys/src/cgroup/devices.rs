//! Which devices a group's programs may use beside the common ones. Version 2 has no list of them: there a program can use
//! those whose nodes it is given, as it can make none that works.

use std::path::Path;

use super::{Cgroup, CgroupError, Layout, write};

/// A device, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Device {
    /// A block device; else a character device.
    pub block: bool,
    /// The driver's.
    pub major: u32,
    /// The device's.
    pub minor: u32,
}

impl Device {
    fn rule(self) -> String {
        format!("{} {}:{} rwm", if self.block { 'b' } else { 'c' }, self.major, self.minor)
    }
}

impl Cgroup {
    /// Lets the group's programs use a device.
    ///
    /// # Errors
    /// The file that could not be written.
    pub fn allow_device(&self, device: Device) -> Result<(), CgroupError> {
        self.device_rule("devices.allow", device)
    }

    /// And no longer, unless every group may.
    ///
    /// # Errors
    /// The file that could not be written.
    pub fn deny_device(&self, device: Device) -> Result<(), CgroupError> {
        if super::v1::DEVICES.contains(&device.rule().as_str()) {
            return Ok(());
        }
        self.device_rule("devices.deny", device)
    }

    fn device_rule(&self, file: &str, device: Device) -> Result<(), CgroupError> {
        let Layout::Legacy { .. } = self.layout else { return Ok(()) };
        let directories = self.directories();
        match directories.iter().find(|(controller, _)| controller == "devices") {
            Some((_, directory)) => write(&Path::new(directory).join(file), &device.rule()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_names_kind_and_number() {
        let device = Device { block: false, major: 10, minor: 229 };
        assert_eq!(device.rule(), "c 10:229 rwm");
        assert_eq!(Device { block: true, ..device }.rule(), "b 10:229 rwm");
    }
}
