//! Times machines: `machine launch ROUNDS | work ROUNDS | channel | small` prints figures in milliseconds as JSON.
//!
//! `launch`: from the supervisor's start to the entrypoint's first output, against bare QEMU that boots the same kernel to a
//! static program which prints, in turn. `work`: a start and its end with a QEMU that ends at once: all but the guest.
//! `channel`: 50 MiB of a program's output, compared with what it was. `small`: with 128 MiB of memory.
//! TMPDIR says where: in memory, such as /dev/shm, or a disk is measured.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)] // A measuring tool: what fails ends it.
#![allow(clippy::disallowed_methods)] // Polling a log file is bounded, and no event tells of its first line.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use berth_runtime::client::{ClientError, ExecStdio};
use berth_runtime::spec::LaunchSpec;
use berth_vm::initramfs;
use machines::machine;
use support::{Instance, texts};
use tokio::io::AsyncReadExt;

#[path = "../../runtime/tests/support/mod.rs"]
mod support;

#[path = "../tests/machines/mod.rs"]
mod machines;

const MARK: &str = "the first output";
const BYTES: usize = 50 << 20;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["launch", rounds] => launch(rounds.parse().unwrap()).await,
        ["work", rounds] => work(rounds.parse().unwrap()).await,
        ["channel"] => channel().await,
        ["small"] => small().await,
        _ => println!("usage: machine launch ROUNDS | work ROUNDS | channel | small"),
    }
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

async fn launch(rounds: usize) {
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let instance = Instance::new();
        let spec = machine(&instance, &["sh", "-c", &format!("echo {MARK}; exec sleep 1000")]);
        ours.push(first_output(&instance, &spec).await);
        bare.push(bare_qemu(&instance, &spec));
    }
    println!("{{\"ours\":{ours:?},\"peer\":{bare:?}}}");
}

async fn first_output(instance: &Instance, spec: &LaunchSpec) -> f64 {
    let begun = Instant::now();
    let mut spawned = instance.spawn(spec).await.unwrap();
    while !texts(&spec.log.directory).iter().any(|line| line.ends_with(MARK)) {
        assert!(begun.elapsed() < Duration::from_secs(120), "it prints nothing");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let took = milliseconds(begun);
    spawned.supervisor.stop(true).await.unwrap();
    spawned.process.wait().await.unwrap();
    instance.assert_nothing_left();
    took
}

/// The floor: the same kernel, and nothing that it would have to wait for.
fn bare_qemu(instance: &Instance, spec: &LaunchSpec) -> f64 {
    let vm = spec.vm.as_ref().unwrap();
    let initramfs = instance.directory.path().join("floor");
    std::fs::write(&initramfs, initramfs::make(&printing_program(), &[])).unwrap();
    let begun = Instant::now();
    let mut qemu = Command::new(&vm.qemu)
        .args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"])
        .args(["-machine", "q35,sata=off,smbus=off,vmport=off", "-accel", "tcg,tb-size=128"])
        .args(["-cpu", "qemu64", "-smp", "1", "-m", "256M"])
        .args(["-append", "console=ttyS0 quiet panic=-1 cryptomgr.notests no_timer_check"])
        .args(["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"])
        .arg("-kernel")
        .arg(&vm.kernel)
        .arg("-initrd")
        .arg(&initramfs)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut said, mut buffer) = (Vec::new(), [0; 4096]);
    let out = qemu.stdout.as_mut().unwrap();
    while !String::from_utf8_lossy(&said).contains("the floor") {
        let length = out.read(&mut buffer).unwrap();
        assert!(length > 0, "it has ended: {}", String::from_utf8_lossy(&said));
        said.extend_from_slice(&buffer[..length]);
    }
    let took = milliseconds(begun);
    qemu.kill().unwrap();
    qemu.wait().unwrap();
    took
}

/// The smallest program for x86-64 that prints a line and waits: an ELF header, one segment, and write(1, …); pause().
fn printing_program() -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let text = b"the floor\n";
    let code: Vec<u8> = [
        &[0xb8, 1, 0, 0, 0][..],          // mov eax, 1
        &[0xbf, 1, 0, 0, 0],              // mov edi, 1
        &[0x48, 0x8d, 0x35, 16, 0, 0, 0], // lea rsi, [rip + 16]
        &[0xba, 10, 0, 0, 0],             // mov edx, 10
        &[0x0f, 0x05],                    // syscall
        &[0xb8, 34, 0, 0, 0],             // again: mov eax, 34
        &[0x0f, 0x05],                    // syscall
        &[0xeb, 0xf7],                    // jmp again
        text,
    ]
    .concat();
    let size = HEADERS + code.len() as u64;
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    elf.extend([BASE + HEADERS, 64, 0].map(u64::to_le_bytes).concat());
    elf.extend([0_u32, 64 | (56 << 16), 1, 0].map(u32::to_le_bytes).concat());
    // One segment, to be read and executed.
    elf.extend([1_u32, 5].map(u32::to_le_bytes).concat());
    elf.extend([0, BASE, BASE, size, size, 0x1000].map(u64::to_le_bytes).concat());
    elf.extend(code);
    elf
}

async fn work(rounds: usize) {
    let mut times = Vec::new();
    for _ in 0..rounds {
        let instance = Instance::new();
        let mut spec = machine(&instance, &["true"]);
        spec.vm.as_mut().unwrap().qemu = "/usr/bin/true".into();
        let begun = Instant::now();
        match instance.spawn(&spec).await {
            Err(ClientError::Launch(_)) => times.push(milliseconds(begun)),
            other => panic!("{other:?}"),
        }
        instance.assert_nothing_left();
    }
    println!("{{\"ours\":{times:?}}}");
}

async fn channel() {
    let instance = Instance::new();
    let content: Vec<u8> =
        (0..BYTES / 8).flat_map(|at| (at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).collect();
    std::fs::write(instance.directory.path().join("lower/blob"), &content).unwrap();
    let spec = machine(&instance, &["sleep", "1000"]);
    let mut spawned = instance.spawn(&spec).await.unwrap();
    let begun = Instant::now();
    let (mut session, stdio) =
        spawned.supervisor.exec(instance.process(&["cat", "/blob"]), false).await.unwrap();
    let ExecStdio::Pipes { mut stdout, .. } = stdio else { panic!("{stdio:?}") };
    let mut received = Vec::with_capacity(BYTES);
    stdout.read_to_end(&mut received).await.unwrap();
    let took = milliseconds(begun);
    assert_eq!(session.wait().await.unwrap(), Some(0));
    let complete = received == content;
    spawned.supervisor.stop(true).await.unwrap();
    spawned.process.wait().await.unwrap();
    println!("{{\"ours\":[{took}],\"bytes\":{BYTES},\"complete\":{complete}}}");
}

async fn small() {
    let instance = Instance::new();
    let script = format!(
        "dd if=/dev/zero of=/dev/shm/held bs=1M count=32 2>/dev/null && echo {MARK}; exec sleep 1000"
    );
    let mut spec = machine(&instance, &["sh", "-c", &script]);
    spec.vm.as_mut().unwrap().memory_bytes = 128 << 20;
    let took = first_output(&instance, &spec).await;
    println!("{{\"ours\":[{took}],\"memory_mib\":128,\"held_mib\":32}}");
}
