//! How much memory a machine boots with, and how much is plugged in beside it.
//!
//! Whatever a machine is to have, it boots with no more than [`BASE_MIB`]: all else comes from a device that can take it
//! back while the guest runs.

use berth_guest_protocol::message::Resources;
use berth_runtime::spec::VmSpec;

/// What a guest boots with where it is to have more, in MiB: room for the kernel, and what it keeps of the rest.
const BASE_MIB: u64 = 256;

/// What a guest's kernel for x86 plugs in at once, in MiB.
const UNIT_MIB: u64 = 4;

/// The memory of a machine as it boots, in MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Of its own.
    pub base: u64,
    /// That can be plugged in.
    pub room: u64,
}

impl Memory {
    /// As a machine of this spec has it.
    pub fn of(vm: &VmSpec) -> Self {
        let (wanted, most) = (vm.memory_bytes >> 20, vm.max_memory_bytes >> 20);
        let beyond = wanted.saturating_sub(BASE_MIB) / UNIT_MIB * UNIT_MIB;
        let base = if most < wanted { wanted } else { wanted - beyond };
        Self { base, room: most.saturating_sub(base) / UNIT_MIB * UNIT_MIB }
    }

    /// How much is plugged in where there is to be so much, in bytes; `None` where that cannot be.
    pub fn plugged(self, wanted_bytes: u64) -> Option<u64> {
        let beyond = (wanted_bytes >> 20).checked_sub(self.base)?.next_multiple_of(UNIT_MIB);
        (beyond <= self.room).then_some(beyond << 20)
    }
}

/// What a machine of this spec has from its start.
pub fn at_boot(vm: &VmSpec) -> Resources {
    let plugged_bytes = Memory::of(vm).plugged(vm.memory_bytes).unwrap_or(0);
    Resources { cpus: vm.cpus.max(1), plugged_bytes }
}

/// The most processors that it can have.
pub fn most_cpus(vm: &VmSpec) -> u32 {
    vm.max_cpus.max(vm.cpus).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(wanted: u64, most: u64) -> Memory {
        let mut vm = super::super::qemu::tests::vm(false);
        (vm.memory_bytes, vm.max_memory_bytes) = (wanted << 20, most << 20);
        Memory::of(&vm)
    }

    #[test]
    fn a_machine_boots_with_little_and_the_rest_can_be_taken_back() {
        assert_eq!(memory(128, 1000), Memory { base: 128, room: 872 });
        assert_eq!(memory(1023, 2048), Memory { base: 259, room: 1788 });
        let large = memory(1024, 2048);
        assert_eq!(large.plugged(1024 << 20), Some(768 << 20));
        assert_eq!(large.plugged(255 << 20), None, "it has booted with more");
        assert_eq!(large.plugged(257 << 20), Some(4 << 20));
        assert_eq!(large.plugged(2049 << 20), None);
        // Where nothing can be plugged in it has all from the start.
        assert_eq!(memory(1024, 0), Memory { base: 1024, room: 0 });
    }
}
