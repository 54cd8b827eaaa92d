//! What goes wrong with a machine, and what is told of it: real guests that panic, lie, flood and lose their disk.

#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests.

#[path = "../../runtime/tests/support/mod.rs"]
mod support;

mod machines;

use std::fs;
use std::path::{Path, PathBuf};

use berth_runtime::client::ClientError;
use berth_runtime::control::Event;
use berth_runtime::launch::Stage;
use berth_runtime::spec::{LaunchSpec, RestartPolicy};
use berth_vm::initramfs::{self, Module};
use berth_vm::{boot, modules};
use machines::machine;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{Instance, texts};

/// Of memory, as `berth_domain::machine` has it.
const LEAST: u64 = 96 << 20;

async fn refused(instance: &Instance, spec: &LaunchSpec) -> String {
    match instance.spawn(spec).await {
        Err(ClientError::Launch(error)) => {
            assert_eq!(error.stage, Stage::Boot, "{error}");
            error.to_string()
        }
        other => panic!("{other:?}"),
    }
}

/// From here on this thread, and the supervisor that it spawns, see mounts of their own.
fn enter_own_mounts() {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
}

/// The children of the process, with their commands.
fn children(pid: i32) -> Vec<(i32, String)> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let named = |pid: &str| (pid.parse().unwrap(), fs::read_to_string(format!("/proc/{pid}/comm")).unwrap());
    text.split_whitespace().map(named).collect()
}

fn parent(pid: i32) -> i32 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    text.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().parse().unwrap()
}

#[tokio::test]
async fn too_little_memory_or_a_processor_that_is_none_is_a_reason() {
    enter_own_mounts();
    let instance = Instance::new();
    let mut spec = machine(&instance, &["true"]);
    let vm = spec.vm.as_mut().unwrap();
    vm.memory_bytes = 64 << 20;
    let error = refused(&instance, &spec).await;
    assert!(error.contains("the guest's kernel has panicked"), "{error}");

    // The least that is taken boots, and has room for programs.
    let vm = spec.vm.as_mut().unwrap();
    vm.memory_bytes = LEAST;
    spec.process =
        instance.process(&["sh", "-c", "dd if=/dev/zero of=/dev/shm/held bs=1M count=16 && echo held"]);
    let mut spawned = instance.spawn(&spec).await.unwrap();
    spawned.process.wait().await.unwrap();
    let lines = texts(&spec.log.directory);
    assert!(lines.iter().any(|line| line.ends_with("held")), "{lines:?}");

    // A door to the processor that is not there or leads nowhere.
    if Path::new("/dev/kvm").exists() {
        mount(Some("/dev/null"), "/dev/kvm", None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    }
    spec.vm.as_mut().unwrap().kvm = true;
    let Err(ClientError::Launch(error)) = instance.spawn(&spec).await else { panic!("it runs") };
    let error = error.to_string();
    assert!(error.to_lowercase().contains("kvm"), "{error}");
    instance.assert_nothing_left();
}

#[tokio::test]
async fn a_guest_that_panics_and_one_that_loses_its_files_are_started_again() {
    let instance = Instance::new();
    let panics = "test -e /again && sleep 1000; test -e /once && { touch /again; echo up; sleep 1000; }; \
                  touch /once; mkdir /p; mount -t proc proc /p; sleep 0.5; echo c > /p/sysrq-trigger; sleep 1000";
    let mut spec = machine(&instance, &["sh", "-c", panics]);
    spec.process.capabilities = Some(vec!["CAP_SYS_ADMIN".into()]);
    spec.process.unfiltered = true;
    spec.restart.policy = RestartPolicy::OnFailure;
    spec.restart.max_retries = 1;
    spec.restart.backoff_ms = 10;
    let mut spawned = instance.spawn(&spec).await.unwrap();
    let supervisor = parent(spawned.pid);
    let mut events = spawned.supervisor.watch().await.unwrap();
    let mut seen = Vec::new();
    while let Some(event) = events.next().await.unwrap() {
        match event {
            Event::Restarting { exit, .. } => seen.push(exit.error.unwrap_or_default()),
            Event::Started { restarts: 1, .. } => {
                instance.wait_for_log("up").await;
                let shares: Vec<_> =
                    children(supervisor).into_iter().filter(|(_, name)| name.trim() == "virtiofsd").collect();
                assert_eq!(shares.len(), 1, "{shares:?}");
                kill(Pid::from_raw(shares[0].0), Signal::SIGKILL).unwrap();
            }
            Event::Gone(record) => seen.push(record.error.unwrap_or_default()),
            _ => {}
        }
    }
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert!(seen[0].contains("the guest's kernel has panicked: sysrq triggered crash"), "{}", seen[0]);
    assert!(seen[1].contains("virtiofsd, which exports its root file system, has ended"), "{}", seen[1]);
    spawned.process.wait().await.unwrap();
    instance.assert_nothing_left();
}

#[tokio::test]
async fn a_full_disk_is_the_programs_to_see_and_the_machine_goes_on() {
    enter_own_mounts();
    let instance = Instance::new();
    let disk = instance.directory.path().join("disk");
    fs::create_dir(&disk).unwrap();
    mount(Some("disk"), &disk, Some("tmpfs"), MsFlags::empty(), Some("size=4m")).unwrap();
    let script = "dd if=/dev/zero of=/big bs=64k count=200 || echo full; rm /big; \
                  until echo fits > /small; do sleep 0.1; done; cat /small; exit 4";
    let mut spec = machine(&instance, &["sh", "-c", script]);
    spec.rootfs.upper = disk.join("upper");
    spec.rootfs.work = disk.join("work");
    let mut spawned = instance.spawn(&spec).await.unwrap();
    spawned.process.wait().await.unwrap();
    let lines = texts(&spec.log.directory);
    for wanted in ["No space left on device", "full", "fits"] {
        assert!(lines.iter().any(|line| line.ends_with(wanted)), "no {wanted:?} in {lines:?}");
    }
    let record = berth_runtime::exit::read(&spec.run_dir).unwrap();
    assert_eq!((record.code, record.error), (4, None));
    nix::mount::umount(&disk).unwrap();
    instance.assert_nothing_left();
}

/// Boots a guest whose pid 1 is not ours: a script that has the channel as its descriptor 3.
fn lying(instance: &Instance, script: &str) -> LaunchSpec {
    let mut spec = machine(instance, &["true"]);
    let kernel = boot::find_kernel(Path::new("/"), None).unwrap();
    let read = |file: &PathBuf| {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        (name, fs::read(kernel.modules.join(file)).unwrap())
    };
    let files: Vec<_> = modules::order(&kernel.modules, &modules::NEEDED).unwrap().iter().map(read).collect();
    let modules: Vec<_> = files.iter().map(|(name, content)| Module { name, content }).collect();
    let init = format!(
        "#!/busybox sh\n/busybox mkdir -p /dev\n/busybox mount -t devtmpfs none /dev\n\
         for name in $(/busybox cat /modules/order); do /busybox insmod /modules/$name; done\n\
         while [ ! -e /dev/vport0p1 ]; do /busybox sleep 0.05; done\nexec 3<>/dev/vport0p1\n{script}\n\
         while :; do /busybox sleep 1000; done\n"
    );
    let mut archive = initramfs::make(init.as_bytes(), &modules);
    archive.extend(archive_of("busybox", &fs::read("/bin/busybox").unwrap()));
    let path = instance.directory.path().join("lying");
    fs::write(&path, archive).unwrap();
    spec.vm.as_mut().unwrap().initramfs = path;
    spec
}

/// A second archive, which the kernel unpacks after the first: one program.
fn archive_of(name: &str, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, mode, content) in [(name, 0o100_755, content), ("TRAILER!!!", 0, &[][..])] {
        let fields = [1, mode, 0, 0, 1, 0, content.len(), 0, 0, 0, 0, name.len() + 1, 0];
        bytes.extend(b"070701");
        bytes.extend(fields.map(|field| format!("{field:08X}")).concat().into_bytes());
        for part in [[name.as_bytes(), &[0]].concat().as_slice(), content] {
            bytes.extend(part);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
    }
    bytes
}

/// What a script prints to say this, with a frame's header before it.
fn frame(kind: u8, payload: &str) -> String {
    let length = payload.len();
    assert!(length < 256);
    format!("printf '\\276\\{kind:03o}\\0\\0\\{length:03o}\\0\\0\\0%s' '{payload}' >&3")
}

const HELLO: &str = "{\"to-host\":\"hello\",\"version\":3}";
/// Waits for the answer to hello.
const AWAIT: &str = "/busybox head -c 8 <&3 > /dev/null";
const STARTED: &str = "{\"to-host\":\"started\",\"session\":0}";

#[tokio::test]
async fn a_guest_that_garbles_the_channel_or_says_nothing_is_ended_with_the_reason() {
    let instance = Instance::new();
    let said = [
        ("echo nonsense >&3".to_owned(), "the guest sends garbage: what should begin a frame is 0x6e"),
        ([&frame(0, HELLO), AWAIT, &frame(2, "too early")].join("\n"), "out of turn"),
    ];
    for (script, reason) in said {
        let error = refused(&instance, &lying(&instance, &script)).await;
        assert!(error.contains(reason), "{error}");
    }
    let mut silent = lying(&instance, "");
    silent.vm.as_mut().unwrap().boot_timeout_ms = 4_000;
    let error = refused(&instance, &silent).await;
    assert!(error.contains("not come up in time"), "{error}");
    instance.assert_nothing_left();
}

#[tokio::test]
async fn a_guest_that_floods_costs_no_memory_and_is_stopped() {
    let instance = Instance::new();
    let flood = "/busybox yes 'on the console' > /dev/ttyS0 &\n\
                 /busybox dd if=/dev/zero of=/block bs=32768 count=1 2>/dev/null\n\
                 { printf '\\276\\002\\0\\0\\0\\200\\0\\0'; /busybox cat /block; } > /frame\n\
                 while :; do /busybox cat /frame /frame /frame /frame >&3; done";
    let mut spec = lying(&instance, &[&frame(0, HELLO), AWAIT, &frame(0, STARTED), flood].join("\n"));
    spec.stop.timeout_ms = 200;
    let mut spawned = instance.spawn(&spec).await.unwrap();
    let supervisor = parent(spawned.pid);
    // A third of what is kept of a log: all of it is behind us then.
    let logged = || fs::metadata(spec.log.directory.join("current.log")).map_or(0, |found| found.len());
    while logged() < 300_000 {
        spawned.supervisor.usage().await.unwrap();
    }
    let status = fs::read_to_string(format!("/proc/{supervisor}/status")).unwrap();
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim();
    let kib: u64 = kib.trim_end_matches(" kB").parse().unwrap();
    assert!(kib < 16 * 1024, "{kib} KiB");
    spawned.supervisor.stop(false).await.unwrap();
    spawned.process.wait().await.unwrap();
    let record = berth_runtime::exit::read(&spec.run_dir).unwrap();
    assert!(record.stopped, "{record:?}");
    instance.assert_nothing_left();
}
