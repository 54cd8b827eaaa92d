//! Machines of the tests: what `agent/runtime/tests` makes of containers, with a kernel of the host's.

use std::path::Path;

use berth_runtime::spec::{LaunchSpec, VmSpec};
use berth_vm::boot;

use crate::support::{self, Instance};

pub fn vm(directory: &Path) -> VmSpec {
    let kernel = boot::find_kernel(Path::new("/"), None).expect("run `cargo xtask setup`");
    let init = support::supervisor().with_file_name("berth-guest-init");
    let boot = boot::prepare(&kernel, &init, &directory.join("vm")).expect("run `cargo xtask build`");
    VmSpec {
        kernel: boot.kernel,
        initramfs: boot.initramfs,
        qemu: "/usr/bin/qemu-system-x86_64".into(),
        virtiofsd: "/usr/lib/qemu/virtiofsd".into(),
        kvm: false,
        kvm_reason: String::new(),
        memory_bytes: 256 << 20,
        cpus: 1,
        max_memory_bytes: 1 << 30,
        max_cpus: 4,
        boot_timeout_ms: 120_000,
    }
}

pub fn machine(instance: &Instance, argv: &[&str]) -> LaunchSpec {
    LaunchSpec { vm: Some(vm(instance.directory.path())), ..instance.spec(argv) }
}
