//! What QEMU and virtiofsd are told.

use std::os::fd::RawFd;

use berth_guest_protocol::{PORT, ROOT_TAG};
use berth_runtime::spec::VmSpec;

/// Where QEMU sees the kernel.
pub const KERNEL: &str = "/kernel";

/// Where QEMU sees the initramfs.
pub const INITRAMFS: &str = "/initramfs";

/// Where virtiofsd sees what it exports.
pub const SHARED: &str = "/shared";

/// Of the translated code, in MiB: QEMU would take up to a gigabyte, which a control group must then allow.
const TRANSLATION_MIB: u32 = 128;

/// Descriptors that QEMU inherits.
pub struct Inherited {
    /// Of the guest channel.
    pub channel: RawFd,
    /// To virtiofsd.
    pub share: RawFd,
    /// The taps, each with the guest's MAC address on it.
    pub taps: Vec<(RawFd, String)>,
}

/// QEMU's arguments. It gets the devices that a guest of ours drives, and no others: no disk, no display, no USB, no
/// monitor that could be talked to.
pub fn arguments(vm: &VmSpec, id: &str, inherited: &Inherited) -> Vec<String> {
    let memory = vm.memory_bytes >> 20;
    let (accelerator, cpu) = match vm.kvm {
        true => ("kvm".to_owned(), "host"),
        // The plain model: what others claim to have, translation must do in software.
        false => (format!("tcg,tb-size={TRANSLATION_MIB}"), "qemu64"),
    };
    let mut arguments: Vec<String> =
        ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"].map(str::to_owned).into();
    let mut add = |option: &str, value: String| arguments.extend([option.to_owned(), value]);
    add("-name", id.to_owned());
    add("-machine", "q35,memory-backend=memory,sata=off,smbus=off,vmport=off".to_owned());
    add("-accel", accelerator);
    add("-cpu", cpu.to_owned());
    add("-smp", vm.cpus.max(1).to_string());
    add("-m", format!("{memory}M"));
    // Shared with virtiofsd, which reads and writes the guest's buffers itself.
    add("-object", format!("memory-backend-memfd,id=memory,size={memory}M,share=on"));
    add("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny".to_owned());
    add("-kernel", KERNEL.to_owned());
    add("-initrd", INITRAMFS.to_owned());
    // A panic ends the machine at once; the kernel's tests of its ciphers are half a second under translation.
    // Translated on a busy host, its timer's check fails at times, and it hangs.
    add("-append", "console=ttyS0 quiet panic=-1 cryptomgr.notests no_timer_check".to_owned());
    add("-chardev", "stdio,id=console,signal=off".to_owned());
    add("-serial", "chardev:console".to_owned());
    add("-chardev", format!("socket,id=channel,fd={}", inherited.channel));
    add("-device", "virtio-serial-pci,max_ports=2".to_owned());
    add("-device", format!("virtserialport,chardev=channel,name={PORT}"));
    add("-chardev", format!("socket,id=share,fd={}", inherited.share));
    add("-device", format!("vhost-user-fs-pci,chardev=share,tag={ROOT_TAG}"));
    for (index, (fd, mac)) in inherited.taps.iter().enumerate() {
        add("-netdev", format!("tap,id=net{index},fd={fd}"));
        // Without the option ROM: nothing boots from a network.
        add("-device", format!("virtio-net-pci,netdev=net{index},mac={mac},romfile="));
    }
    arguments
}

/// The arguments of virtiofsd, in the spelling that both its implementations take.
pub fn share_arguments(listener: RawFd) -> Vec<String> {
    let mut arguments = vec![format!("--fd={listener}"), "-f".to_owned(), "--rlimit-nofile=0".to_owned()];
    // Its other sandbox makes namespaces, which are there already.
    arguments.extend(["-o".to_owned(), format!("source={SHARED},sandbox=chroot,xattr")]);
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vm(kvm: bool) -> VmSpec {
        VmSpec {
            kernel: "/k".into(),
            initramfs: "/i".into(),
            qemu: "/q".into(),
            virtiofsd: "/v".into(),
            kvm,
            kvm_reason: String::new(),
            memory_bytes: 300 << 20,
            cpus: 2,
            boot_timeout_ms: 1,
        }
    }

    #[test]
    fn a_machine_has_its_memory_its_processors_and_one_card_an_interface() {
        let taps = vec![(7, "02:00:00:00:00:07".to_owned()), (8, "02:00:00:00:00:08".to_owned())];
        let line = arguments(&vm(false), "web", &Inherited { channel: 5, share: 6, taps }).join(" ");
        for part in [
            "-accel tcg,tb-size=128 -cpu qemu64 -smp 2 -m 300M",
            "size=300M,share=on",
            "socket,id=channel,fd=5",
            "socket,id=share,fd=6",
            "tap,id=net1,fd=8 -device virtio-net-pci,netdev=net1,mac=02:00:00:00:00:08,romfile=",
            "-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        ] {
            assert!(line.contains(part), "no {part:?} in {line}");
        }
        let line = arguments(&vm(true), "web", &Inherited { channel: 5, share: 6, taps: vec![] }).join(" ");
        assert!(line.contains("-accel kvm -cpu host") && !line.contains("netdev"), "{line}");
    }
}
