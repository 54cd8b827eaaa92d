//! Version 2's list of devices: a small program that the kernel asks at each opening and making of a device node.
//!
//! The instructions, the context (`struct bpf_cgroup_dev_ctx`) and the system call's structures are those of
//! `linux/bpf.h`.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use super::devices::Rule;

const PROG_LOAD: libc::c_long = 5;
const PROG_ATTACH: libc::c_long = 8;
const TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
/// Beside those of others, such as systemd's: what one of them forbids stays forbidden.
const ALLOW_MULTI: u32 = 2;
const REPLACE: u32 = 4;

const BLOCK: i32 = 1;
const CHARACTER: i32 = 2;

/// `struct bpf_insn`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Instruction {
    code: u8,
    /// The destination in the lower half, the source in the upper.
    registers: u8,
    offset: i16,
    immediate: i32,
}

const fn instruction(code: u8, registers: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers, offset, immediate }
}

// Registers: 0 the verdict, 1 the context and then scratch, 2 the kind, 3 the access, 4 and 5 the number.
const fn load(register: u8, offset: i16) -> Instruction {
    instruction(0x61, register | 0x10, offset, 0)
}
const fn unless_equal(register: u8, value: i32, skip: i16) -> Instruction {
    instruction(0x55, register, skip, value)
}
const EXIT: Instruction = instruction(0x95, 0, 0, 0);
const fn verdict(value: i32) -> Instruction {
    instruction(0xb7, 0, 0, value)
}

/// Lets through what one of the rules lets through.
fn program(rules: &[Rule]) -> Vec<Instruction> {
    let mut program = vec![
        load(2, 0),
        instruction(0xbf, 3 | 0x20, 0, 0),
        instruction(0x77, 3, 0, 16),
        instruction(0x57, 2, 0, 0xffff),
        load(4, 4),
        load(5, 8),
    ];
    for rule in rules {
        let mut tests = vec![(2, if rule.block { BLOCK } else { CHARACTER })];
        let number = |number: Option<u32>| number.and_then(|number| i32::try_from(number).ok());
        tests.extend(number(rule.major).map(|major| (4, major)));
        tests.extend(number(rule.minor).map(|minor| (5, minor)));
        // To the next rule: over the tests that follow, the three of the access and the two that let it through.
        let mut left = i16::try_from(tests.len()).unwrap_or(i16::MAX) + 5;
        for (register, value) in tests {
            left -= 1;
            program.push(unless_equal(register, value, left));
        }
        program.push(instruction(0xbf, 1 | 0x30, 0, 0));
        program.push(instruction(0x57, 1, 0, !i32::from(rule.access.bits()) & 7));
        program.push(unless_equal(1, 0, 2));
        program.extend([verdict(1), EXIT]);
    }
    program.extend([verdict(0), EXIT]);
    program
}

/// The part of `union bpf_attr` that loads a program.
#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel: u32,
    flags: u32,
}

/// The part of `union bpf_attr` that attaches one.
#[repr(C)]
#[derive(Default)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
    replaced: u32,
}

fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<RawFd> {
    // SAFETY: the structure has the layout that the command reads, is as long as it is said to be, and outlives the call,
    // as does all that it points at.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    RawFd::try_from(result).map_err(io::Error::other)
}

fn load_program(instructions: &[Instruction]) -> io::Result<OwnedFd> {
    let license = c"MIT";
    let attributes = Load {
        kind: TYPE_CGROUP_DEVICE,
        count: u32::try_from(instructions.len()).map_err(io::Error::other)?,
        instructions: instructions.as_ptr() as u64,
        license: license.as_ptr() as u64,
        ..Load::default()
    };
    let fd = bpf(PROG_LOAD, &attributes)?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes these rules the group's, instead of those of `before`.
pub(super) fn attach(directory: &Path, rules: &[Rule], before: Option<&OwnedFd>) -> io::Result<OwnedFd> {
    let number = |fd: RawFd| u32::try_from(fd).map_err(io::Error::other);
    let loaded = load_program(&program(rules))?;
    let group = File::open(directory)?;
    let attributes = Attach {
        target: number(group.as_raw_fd())?,
        program: number(loaded.as_raw_fd())?,
        kind: ATTACH_CGROUP_DEVICE,
        flags: ALLOW_MULTI | if before.is_some() { REPLACE } else { 0 },
        replaced: before.map(|before| number(before.as_raw_fd())).transpose()?.unwrap_or_default(),
    };
    bpf(PROG_ATTACH, &attributes)?;
    Ok(loaded)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use nix::sched::CloneFlags;

    use super::super::devices::Access;
    use super::*;
    use crate::process::spawn;

    /// Of this machine, whatever controllers it has.
    fn unified() -> std::path::PathBuf {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let line = table.lines().find(|line| line.contains(" - cgroup2 ")).unwrap();
        line.split(' ').nth(4).unwrap().into()
    }

    struct Group(std::path::PathBuf);

    impl Group {
        fn new() -> Self {
            let group = unified().join(format!("berth-test-devices-{}", std::process::id()));
            fs::create_dir(&group).unwrap();
            Self(group)
        }

        /// Whether a process in the group can open it.
        fn opens(&self, path: &str, write: bool) -> bool {
            let group = File::open(&self.0).unwrap();
            let child = spawn(CloneFlags::empty(), Some(std::os::fd::AsFd::as_fd(&group)), || {
                i32::from(File::options().read(!write).write(write).open(path).is_err())
            })
            .unwrap();
            matches!(
                nix::sys::wait::waitpid(child.pid, None).unwrap(),
                nix::sys::wait::WaitStatus::Exited(_, 0)
            )
        }
    }

    impl Drop for Group {
        fn drop(&mut self) {
            let _ = fs::remove_dir(&self.0);
        }
    }

    #[test]
    fn the_kernel_keeps_to_the_rules() {
        let group = Group::new();
        let null = |access| Rule { block: false, major: Some(1), minor: Some(3), access };
        let loaded = attach(&group.0, &[null(Access::ALL)], None).unwrap();
        assert!(group.opens("/dev/null", false) && group.opens("/dev/null", true));
        assert!(!group.opens("/dev/zero", false));
        let read = Access { write: false, ..Access::ALL };
        let zero = Rule { block: false, major: Some(1), minor: Some(5), access: Access::ALL };
        let loaded = attach(&group.0, &[null(read), zero], Some(&loaded)).unwrap();
        assert!(group.opens("/dev/null", false) && !group.opens("/dev/null", true));
        assert!(group.opens("/dev/zero", true));
        let all = Rule { block: false, major: None, minor: None, access: Access::ALL };
        attach(&group.0, &[all], Some(&loaded)).unwrap();
        assert!(group.opens("/dev/full", false));
    }
}
