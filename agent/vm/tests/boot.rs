//! A real guest under QEMU's emulation: this host's cloud kernel, our pid 1, a root file system over virtiofs.

#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use berth_guest_protocol::frame::Stream;
use berth_guest_protocol::link::{Event, Host};
use berth_guest_protocol::message::{GuestSpec, Resources, Size};
use berth_guest_protocol::{PORT, ROOT_TAG, VERSION, WORKLOAD};
use berth_runtime::launch::Stage;
use berth_runtime::spec::ProcessSpec;
use berth_vm::initramfs::{self, Module};
use berth_vm::kernel::{self, KernelError};
use berth_vm::modules;

const VIRTIOFSD: &str = "/usr/lib/qemu/virtiofsd";

/// Ends with the test, however it ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Machine {
    qemu: Running,
    _virtiofsd: Running,
    port: UnixStream,
    link: Host,
    directory: tempfile::TempDir,
}

/// The newest cloud kernel of the host.
fn release() -> String {
    let mut releases: Vec<_> = fs::read_dir("/lib/modules")
        .expect("linux-image-cloud-amd64 is missing: run `cargo xtask setup`")
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("cloud") && Path::new(&format!("/boot/vmlinuz-{name}")).exists())
        .collect();
    releases.sort();
    releases.pop().expect("linux-image-cloud-amd64 is missing: run `cargo xtask setup`")
}

fn guest_init() -> PathBuf {
    let path = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("berth-guest-init");
    assert!(path.exists(), "{} is missing: run `cargo xtask build`", path.display());
    path
}

fn write_initramfs(release: &str, to: &Path) {
    let directory = PathBuf::from(format!("/lib/modules/{release}"));
    let order = modules::order(&directory, &modules::NEEDED).unwrap();
    let read: Vec<_> = order
        .iter()
        .map(|file| {
            let name = file.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(directory.join(file)).unwrap())
        })
        .collect();
    let modules: Vec<_> = read.iter().map(|(name, content)| Module { name, content }).collect();
    fs::write(to, initramfs::make(&fs::read(guest_init()).unwrap(), &modules)).unwrap();
}

fn write_rootfs(root: &Path) {
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::copy("/usr/bin/busybox", root.join("bin/busybox")).unwrap();
    for name in ["sh", "echo", "cat", "id", "chown", "stty", "sleep", "hostname"] {
        symlink("busybox", root.join("bin").join(name)).unwrap();
    }
}

/// A listening socket whose connection QEMU inherits by a path: only the test's directory holds it.
fn boot() -> Machine {
    let directory = tempfile::Builder::new().prefix("berth-vm-").tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let release = release();
    write_initramfs(&release, Path::new(&path("initramfs")));
    write_rootfs(Path::new(&path("rootfs")));
    let image = fs::read(format!("/boot/vmlinuz-{release}")).unwrap();
    // As it is where it is packed in another way, which any kernel of a distribution may be.
    let extracted = match kernel::extract(&image) {
        Err(KernelError::Packing(_)) => image,
        extracted => extracted.unwrap(),
    };
    fs::write(path("kernel"), extracted).unwrap();
    let share = UnixListener::bind(path("share")).unwrap();
    let virtiofsd = Command::new("sh")
        .args([
            "-c",
            "exec \"$0\" --fd=3 -f --rlimit-nofile=0 -o \"source=$1,sandbox=chroot,xattr\" 3<&0 0</dev/null",
        ])
        .args([VIRTIOFSD, &path("rootfs")])
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(share)))
        .stderr(fs::File::create(path("virtiofsd.log")).unwrap())
        .spawn()
        .expect("qemu-system-common is missing: run `cargo xtask setup`");
    let listener = UnixListener::bind(path("channel")).unwrap();
    let qemu = Command::new("qemu-system-x86_64")
        .args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-m", "256"])
        .args(["-machine", "q35,memory-backend=memory", "-accel", "tcg", "-cpu", "qemu64"])
        .args(["-object", "memory-backend-memfd,id=memory,size=256M,share=on"])
        .args(["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"])
        .args(["-kernel", &path("kernel"), "-initrd", &path("initramfs")])
        .args(["-append", "console=ttyS0 quiet panic=-1 cryptomgr.notests no_timer_check"])
        .args(["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"])
        .args(["-chardev", &format!("socket,id=channel,path={}", path("channel"))])
        .args(["-device", "virtio-serial-pci,max_ports=2"])
        .args(["-device", &format!("virtserialport,chardev=channel,name={PORT}")])
        .args(["-chardev", &format!("socket,id=share,path={}", path("share"))])
        .args(["-device", &format!("vhost-user-fs-pci,chardev=share,tag={ROOT_TAG}")])
        .stdin(Stdio::null())
        .stdout(fs::File::create(path("console.log")).unwrap())
        .stderr(fs::File::create(path("qemu.log")).unwrap())
        .spawn()
        .expect("qemu-system-x86 is missing: run `cargo xtask setup`");
    let (qemu, virtiofsd) = (Running(qemu), Running(virtiofsd));
    let (port, _) = listener.accept().unwrap();
    port.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    Machine { qemu, _virtiofsd: virtiofsd, port, link: Host::new(), directory }
}

impl Machine {
    /// Sends what is to be sent, and waits for what the guest says next; `None` at its end.
    fn next(&mut self) -> Option<Vec<Event>> {
        let output = self.link.output().to_vec();
        self.port.write_all(&output).unwrap();
        self.link.sent(output.len());
        let mut buffer = [0; 65536];
        let length = self.port.read(&mut buffer).expect("the guest says nothing");
        (length > 0).then(|| self.link.feed(&buffer[..length]).unwrap())
    }

    /// Collects events until one that is asked for.
    fn until(&mut self, wanted: impl Fn(&Event) -> bool) -> Vec<Event> {
        let mut all = Vec::new();
        while !all.iter().any(&wanted) {
            let console = self.directory.path().join("console.log");
            let said = || fs::read_to_string(&console).unwrap_or_default();
            all.extend(self.next().unwrap_or_else(|| panic!("the guest has ended: {}", said())));
        }
        all
    }

    fn start(&mut self, process: ProcessSpec) {
        assert_eq!(self.until(|event| *event == Event::Booted), [Event::Booted]);
        let spec = GuestSpec {
            version: VERSION,
            hostname: "web".into(),
            resources: Resources { cpus: 1, plugged_bytes: 0 },
            interfaces: Vec::new(),
            sysctls: Vec::new(),
            shm_bytes: None,
            process,
        };
        self.link.start(spec).unwrap();
    }
}

fn shell(script: &str) -> ProcessSpec {
    let argv = ["/bin/sh", "-c", script].map(Into::into).to_vec();
    ProcessSpec { argv, ..ProcessSpec::default() }
}

fn text(events: &[Event], whose: u16) -> String {
    let of = |event: &Event| match event {
        Event::Data { session, bytes, .. } if *session == whose => bytes.clone(),
        _ => Vec::new(),
    };
    String::from_utf8(events.iter().flat_map(of).collect()).unwrap()
}

fn ended(whose: u16) -> impl Fn(&Event) -> bool {
    move |event| matches!(event, Event::Exited { session, .. } if *session == whose)
}

fn code(events: &[Event], whose: u16) -> i32 {
    let of = |event: &Event| match event {
        Event::Exited { session, code, .. } if *session == whose => Some(*code),
        _ => None,
    };
    events.iter().find_map(of).unwrap()
}

#[test]
fn a_guest_runs_its_workload_and_programs_beside_it_and_turns_its_power_off() {
    let mut machine = boot();
    machine.start(shell(
        "echo it runs on $(hostname) as $(id -u); while [ ! -e /end ]; do sleep 0.1; done; exit 7",
    ));
    let whole = |event: &Event| matches!(event, Event::Data { bytes, .. } if bytes.ends_with(b"as 0\n"));
    assert!(text(&machine.until(whole), WORKLOAD).contains("it runs on web as 0"));

    // Input in the same bytes as the program; ids and a setting of the kernel's that are not a workload's to change.
    let script = "cat; echo x > /f; chown 33:44 /f; echo 1 > /proc/sys/kernel/sysrq || exit 3";
    let session = machine.link.exec(shell(script), None).unwrap().unwrap();
    machine.link.input(session, b"typed");
    machine.link.input(session, b"");
    let events = machine.until(ended(session));
    assert!(text(&events, session).contains("typed"), "{events:?}");
    assert_eq!(code(&events, session), 3);
    let file = fs::metadata(machine.directory.path().join("rootfs/f")).unwrap();
    assert_eq!((file.uid(), file.gid()), (33, 44));

    let process = ProcessSpec { user: "33:44".into(), ..shell("stty size; id -u; exit 4") };
    let session = machine.link.exec(process, Some(Size { rows: 33, columns: 99 })).unwrap().unwrap();
    let events = machine.until(ended(session));
    assert_eq!((text(&events, session).as_str(), code(&events, session)), ("33 99\r\n33\r\n", 4));

    let missing = ProcessSpec { argv: vec!["/no/such".into()], ..ProcessSpec::default() };
    machine.link.exec(missing, None).unwrap();
    let events = machine.until(|event| matches!(event, Event::Failed { .. }));
    assert!(matches!(&events[..], [Event::Failed { error, .. }] if error.stage == Stage::Exec), "{events:?}");

    let session = machine.link.exec(shell("echo > /end; sleep 1000"), None).unwrap().unwrap();
    let events = machine.until(ended(WORKLOAD));
    assert_eq!((code(&events, WORKLOAD), code(&events, session)), (7, 137));
    assert!(machine.next().is_none(), "the power is off");
    assert!(machine.qemu.0.wait().unwrap().success());
    assert!(!events.iter().any(|event| matches!(event, Event::Data { stream: Stream::Stdin, .. })));
}
