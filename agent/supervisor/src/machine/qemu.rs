//! What QEMU and virtiofsd are told.

use std::os::fd::RawFd;

use berth_guest_protocol::{PORT, ROOT_TAG};
use berth_runtime::spec::VmSpec;
use serde_json::{Value, json};

use super::size::{self, Memory};

/// Where QEMU sees the kernel.
pub const KERNEL: &str = "/kernel";

/// Where QEMU sees the initramfs.
pub const INITRAMFS: &str = "/initramfs";

/// Where virtiofsd sees what it exports.
pub const SHARED: &str = "/shared";

/// Of the translated code, in MiB: QEMU would take up to a gigabyte, which a control group must then allow.
const TRANSLATION_MIB: u32 = 128;

/// What QEMU calls the memory that can be plugged in.
pub const PLUGGED: &str = "plugged";

/// What interfaces are plugged into: a bridge of 31 places, which costs a boot what a few ports would, and of which a guest
/// hears by ACPI.
const BUS: &str = "interfaces";

/// What the root file system is to it.
pub const SHARE_DEVICE: &str = "vhost-user-fs-pci";

/// Descriptors that QEMU inherits.
pub struct Inherited {
    /// Of the monitor.
    pub monitor: RawFd,
    /// Of the guest channel.
    pub channel: RawFd,
    /// To virtiofsd.
    pub share: RawFd,
    /// The taps, each with its place and with the guest's MAC address on it.
    pub taps: Vec<(RawFd, u32, String)>,
}

/// What QEMU calls the end of a tap.
pub fn netdev(slot: u32) -> String {
    format!("net{slot}")
}

/// What it calls the interface in front of it.
pub fn card(slot: u32) -> String {
    format!("card{slot}")
}

/// The place of an interface that it calls so.
pub fn slot_of(card: &str) -> Option<u32> {
    card.strip_prefix("card")?.parse().ok()
}

/// An interface that is plugged in while the guest runs.
pub fn card_arguments(slot: u32, mac: &str) -> Value {
    json!({
        "driver": "virtio-net-pci", "id": card(slot), "netdev": netdev(slot), "mac": mac, "romfile": "", "bus": BUS,
        "addr": format!("{slot:#x}"), "disable-legacy": "on",
    })
}

/// The kind of a machine's processors.
pub fn processor(vm: &VmSpec) -> &'static str {
    // The plain model: what others claim to have, translation must do in software.
    if vm.kvm { "host" } else { "qemu64" }
}

/// The device that a processor of a kind is.
pub fn processor_driver(vm: &VmSpec) -> String {
    format!("{}-x86_64-cpu", processor(vm))
}

/// QEMU's arguments. It gets the devices that a guest of ours drives, and no others: no disk, no display, no USB.
pub fn arguments(vm: &VmSpec, id: &str, inherited: &Inherited) -> Vec<String> {
    let accelerator = if vm.kvm { "kvm".to_owned() } else { format!("tcg,tb-size={TRANSLATION_MIB}") };
    let mut arguments: Vec<String> =
        ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"].map(str::to_owned).into();
    let mut add = |option: &str, value: String| arguments.extend([option.to_owned(), value]);
    add("-name", id.to_owned());
    add("-machine", "q35,memory-backend=memory,sata=off,smbus=off,vmport=off".to_owned());
    add("-accel", accelerator);
    add("-cpu", processor(vm).to_owned());
    resources(vm, &mut add);
    add("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny".to_owned());
    add("-kernel", KERNEL.to_owned());
    add("-initrd", INITRAMFS.to_owned());
    // A panic ends the machine at once; the kernel's tests of its ciphers are half a second under translation.
    // Translated on a busy host, its timer's check fails at times, and it hangs. Memory that comes is used at once, as
    // movable as its kernel can do with; its devices reach all of it, so that none is set aside for those that do not.
    let plugged = "memhp_default_state=online memory_hotplug.online_policy=auto-movable swiotlb=noforce";
    add("-append", format!("console=ttyS0 quiet panic=-1 cryptomgr.notests no_timer_check {plugged}"));
    add("-chardev", format!("socket,id=monitor,fd={}", inherited.monitor));
    add("-mon", "chardev=monitor,mode=control".to_owned());
    add("-chardev", "stdio,id=console,signal=off".to_owned());
    add("-serial", "chardev:console".to_owned());
    add("-chardev", format!("socket,id=channel,fd={}", inherited.channel));
    add("-device", "virtio-serial-pci,max_ports=2".to_owned());
    add("-device", format!("virtserialport,chardev=channel,name={PORT}"));
    add("-chardev", format!("socket,id=share,fd={}", inherited.share));
    add("-device", format!("{SHARE_DEVICE},chardev=share,tag={ROOT_TAG}"));
    if vm.has_slots {
        add("-device", format!("pcie-pci-bridge,id={BUS}"));
    }
    for (fd, slot, mac) in &inherited.taps {
        let (card, netdev) = (card(*slot), netdev(*slot));
        add("-netdev", format!("tap,id={netdev},fd={fd}"));
        let place =
            if vm.has_slots { format!(",bus={BUS},addr={slot:#x},disable-legacy=on") } else { String::new() };
        // Without the option ROM: nothing boots from a network.
        add("-device", format!("virtio-net-pci,id={card},netdev={netdev},mac={mac},romfile={place}"));
    }
    if Memory::of(vm).room > 0 {
        // The last, so that the guest finds the others where they are in a machine without it.
        let plugged = size::at_boot(vm).plugged_bytes;
        arguments.push("-device".to_owned());
        arguments.push(format!("virtio-mem-pci,id={PLUGGED},memdev=room,requested-size={plugged}"));
    }
    arguments
}

/// Processors and memory. All memory is shared with virtiofsd, which reads and writes the guest's buffers itself.
fn resources(vm: &VmSpec, add: &mut impl FnMut(&str, String)) {
    let (most, driver) = (size::most_cpus(vm), processor_driver(vm));
    add("-smp", format!("cpus=1,maxcpus={most},sockets=1,cores={most},threads=1"));
    for number in 1..vm.cpus {
        add("-device", format!("{driver},id=cpu{number},socket-id=0,core-id={number},thread-id=0"));
    }
    let Memory { base, room } = Memory::of(vm);
    let backend = |id: &str, size| format!("memory-backend-memfd,id={id},size={size}M,share=on");
    add("-object", backend("memory", base));
    if room == 0 {
        add("-m", format!("{base}M"));
        return;
    }
    add("-m", format!("size={base}M,maxmem={}M", base + room));
    add("-object", format!("{},reserve=off", backend("room", room)));
}

/// The arguments of virtiofsd, in the spelling that both its implementations take.
pub fn share_arguments(listener: RawFd) -> Vec<String> {
    let mut arguments = vec![format!("--fd={listener}"), "-f".to_owned(), "--rlimit-nofile=0".to_owned()];
    // Its other sandbox makes namespaces, which are there already.
    arguments.extend(["-o".to_owned(), format!("source={SHARED},sandbox=chroot,xattr")]);
    arguments
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn vm(kvm: bool) -> VmSpec {
        VmSpec {
            kernel: "/k".into(),
            initramfs: "/i".into(),
            qemu: "/q".into(),
            virtiofsd: "/v".into(),
            kvm,
            kvm_reason: String::new(),
            memory_bytes: 300 << 20,
            cpus: 2,
            max_memory_bytes: 1 << 30,
            max_cpus: 16,
            has_slots: true,
            boot_timeout_ms: 1,
        }
    }

    #[test]
    fn a_machine_has_its_memory_its_processors_and_one_card_an_interface() {
        let taps = vec![(7, 1, "02:00:00:00:00:07".to_owned()), (8, 17, "02:00:00:00:00:08".to_owned())];
        let line =
            arguments(&vm(false), "web", &Inherited { monitor: 4, channel: 5, share: 6, taps }).join(" ");
        for part in [
            "-accel tcg,tb-size=128 -cpu qemu64 -smp cpus=1,maxcpus=16,",
            "-device qemu64-x86_64-cpu,id=cpu1,socket-id=0,core-id=1",
            "id=memory,size=256M,share=on",
            "-m size=256M,maxmem=1024M",
            "id=room,size=768M,share=on,reserve=off",
            "virtio-mem-pci,id=plugged,memdev=room,requested-size=46137344",
            "socket,id=monitor,fd=4 -mon chardev=monitor,mode=control",
            "socket,id=channel,fd=5",
            "socket,id=share,fd=6",
            "-device pcie-pci-bridge,id=interfaces -netdev tap,id=net1,fd=7",
            "tap,id=net17,fd=8 -device virtio-net-pci,id=card17,netdev=net17,mac=02:00:00:00:00:08,romfile=,bus=interfaces,addr=0x11,",
            "-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        ] {
            assert!(line.contains(part), "no {part:?} in {line}");
        }
        let line = arguments(&vm(true), "web", &Inherited { monitor: 4, channel: 5, share: 6, taps: vec![] })
            .join(" ");
        assert!(line.contains("-accel kvm -cpu host") && !line.contains("netdev"), "{line}");
    }
}
