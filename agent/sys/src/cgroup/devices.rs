//! Which devices a group's programs may use beside the common ones: in version 1 a list of its own, in version 2 a program.
//!
//! A kernel without such programs has no list. An instance with a user namespace of its own needs none: it can make no
//! node that works, and uses those that it is given.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use super::{Cgroup, CgroupError, Layout, bpf, failed};

/// What may be done with a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Access {
    /// Opening it for reading.
    pub read: bool,
    /// Opening it for writing.
    pub write: bool,
    /// Making a node of it.
    pub make: bool,
}

impl Access {
    /// All of it.
    pub const ALL: Self = Self { read: true, write: true, make: true };

    /// As `BPF_DEVCG_ACC_*` has it.
    pub(super) fn bits(self) -> u8 {
        u8::from(self.make) | (u8::from(self.read) << 1) | (u8::from(self.write) << 2)
    }

    fn letters(self) -> String {
        let letters = [(self.read, 'r'), (self.write, 'w'), (self.make, 'm')];
        letters.into_iter().filter(|(has, _)| *has).map(|(_, letter)| letter).collect()
    }
}

/// A device, by its number, and what may be done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Device {
    /// A block device; else a character device.
    pub block: bool,
    /// The driver's.
    pub major: u32,
    /// The device's.
    pub minor: u32,
    /// What may be done.
    pub access: Access,
}

/// Devices of any or one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    pub block: bool,
    /// `None`: any.
    pub major: Option<u32>,
    /// `None`: any.
    pub minor: Option<u32>,
    pub access: Access,
}

impl Rule {
    const fn character(major: u32, minor: u32) -> Self {
        Self { block: false, major: Some(major), minor: Some(minor), access: Access::ALL }
    }

    const fn any(block: bool, access: Access) -> Self {
        Self { block, major: None, minor: None, access }
    }

    fn text(self) -> String {
        let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
        let kind = if self.block { 'b' } else { 'c' };
        format!("{kind} {}:{} {}", number(self.major), number(self.minor), self.access.letters())
    }
}

impl From<Device> for Rule {
    fn from(device: Device) -> Self {
        let Device { block, major, minor, access } = device;
        Self { block, major: Some(major), minor: Some(minor), access }
    }
}

const MAKE: Access = Access { read: false, write: false, make: true };

/// What a container may do with device nodes: make any, and use the harmless ones, as the OCI runtime specification's
/// defaults and Docker's have it.
const COMMON: [Rule; 12] = [
    Rule::any(false, MAKE),
    Rule::any(true, MAKE),
    Rule::character(1, 3),
    Rule::character(1, 5),
    Rule::character(1, 7),
    Rule::character(1, 8),
    Rule::character(1, 9),
    Rule::character(5, 0),
    Rule::character(5, 1),
    Rule::character(5, 2),
    Rule { block: false, major: Some(136), minor: None, access: Access::ALL },
    Rule::character(10, 200),
];

/// What a group of version 2 has been told.
#[derive(Debug, Default)]
pub(super) struct List {
    rules: Vec<Rule>,
    program: Option<OwnedFd>,
}

impl Cgroup {
    /// What a new group's programs may do with devices. A later change of limits leaves it as it is.
    pub(super) fn allow_common_devices(&self) -> Result<(), CgroupError> {
        match &self.layout {
            Layout::Legacy { .. } => {
                self.write_rules("devices.deny", ["a".to_owned()])?;
                self.write_rules("devices.allow", COMMON.map(Rule::text))
            }
            Layout::Unified { .. } => {
                // A kernel without such programs: see above.
                let _ = self.attach(|rules| rules.extend(COMMON));
                Ok(())
            }
        }
    }

    /// Whether there is a list at all.
    #[must_use]
    pub fn lists_devices(&self) -> bool {
        match &self.layout {
            Layout::Legacy { roots } => roots.iter().any(|(controller, _)| controller == "devices"),
            Layout::Unified { .. } => self.list().program.is_some(),
        }
    }

    /// Lets the group's programs use a device.
    ///
    /// # Errors
    /// The file that could not be written.
    pub fn allow_device(&self, device: Device) -> Result<(), CgroupError> {
        let rule = Rule::from(device);
        match &self.layout {
            Layout::Legacy { .. } => self.write_rules("devices.allow", [rule.text()]),
            // It is allowed again after each change: the program must not grow by that.
            Layout::Unified { .. } => self.change(|rules| {
                if !rules.contains(&rule) {
                    rules.push(rule);
                }
            }),
        }
    }

    /// And no longer, unless every group may.
    ///
    /// # Errors
    /// The file that could not be written.
    pub fn deny_device(&self, device: Device) -> Result<(), CgroupError> {
        let rule = Rule::from(device);
        if COMMON
            .iter()
            .any(|common| (common.block, common.major, common.minor) == (rule.block, rule.major, rule.minor))
        {
            return Ok(());
        }
        match &self.layout {
            Layout::Legacy { .. } => self.write_rules("devices.deny", [rule.text()]),
            Layout::Unified { .. } => self.change(|rules| rules.retain(|other| *other != rule)),
        }
    }

    /// Lets the group's programs use every device.
    ///
    /// # Errors
    /// The file that could not be written.
    pub fn allow_all_devices(&self) -> Result<(), CgroupError> {
        match &self.layout {
            Layout::Legacy { .. } => self.write_rules("devices.allow", ["a".to_owned()]),
            Layout::Unified { .. } => {
                self.change(|rules| rules.extend([false, true].map(|block| Rule::any(block, Access::ALL))))
            }
        }
    }

    fn list(&self) -> std::sync::MutexGuard<'_, List> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the list, where there is one.
    fn change(&self, change: impl FnOnce(&mut Vec<Rule>)) -> Result<(), CgroupError> {
        if self.list().program.is_none() {
            return Ok(());
        }
        self.attach(change)
    }

    fn attach(&self, change: impl FnOnce(&mut Vec<Rule>)) -> Result<(), CgroupError> {
        let mut list = self.list();
        let mut rules = list.rules.clone();
        change(&mut rules);
        let directory = self.directory();
        let program = bpf::attach(&directory, &rules, list.program.as_ref());
        let program = program.map_err(|source| failed("list the devices of", &directory, source))?;
        *list = List { rules, program: Some(program) };
        Ok(())
    }

    /// Each is a write of its own, to the file that is opened once.
    fn write_rules(&self, file: &str, rules: impl IntoIterator<Item = String>) -> Result<(), CgroupError> {
        let Layout::Legacy { roots } = &self.layout else { return Ok(()) };
        let Some((_, root)) = roots.iter().find(|(controller, _)| controller == "devices") else {
            return Ok(());
        };
        let path = root.join(&self.parent).join(&self.name).join(file);
        let write = || {
            let mut file = File::options().write(true).open(&path)?;
            rules.into_iter().try_for_each(|rule| file.write_all(rule.as_bytes()))
        };
        write().map_err(|source| failed("write", &path, source))
    }
}

/// The list of a group that is not known.
pub(super) fn unknown() -> Mutex<List> {
    Mutex::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_names_kind_and_number() {
        let device = Device { block: false, major: 10, minor: 229, access: Access::ALL };
        assert_eq!(Rule::from(device).text(), "c 10:229 rwm");
        let read = Access { read: true, write: false, make: false };
        assert_eq!(Rule::from(Device { block: true, access: read, ..device }).text(), "b 10:229 r");
        assert_eq!(COMMON.map(Rule::text)[..3], ["c *:* m", "b *:* m", "c 1:3 rwm"]);
    }

    #[test]
    fn a_device_that_is_allowed_again_is_listed_once() {
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let line = table.lines().find(|line| line.contains(" - cgroup2 ")).unwrap();
        let root = std::path::PathBuf::from(line.split(' ').nth(4).unwrap());
        let parent = format!("berth-test-list-{}", std::process::id());
        let group = Cgroup::existing(Layout::Unified { root: root.clone() }, &parent, "one");
        std::fs::create_dir_all(group.directory()).unwrap();
        group.allow_common_devices().unwrap();
        let device = Device { block: false, major: 10, minor: 229, access: Access::ALL };
        for _ in 0..3 {
            group.allow_device(device).unwrap();
        }
        let listed = group.list().rules.len();
        group.deny_device(device).unwrap();
        let left = group.list().rules.len();
        std::fs::remove_dir(group.directory()).unwrap();
        std::fs::remove_dir(root.join(parent)).unwrap();
        assert_eq!((listed, left), (COMMON.len() + 1, COMMON.len()));
    }
}
