//! Times the start of a program to its end: `start SUPERVISOR CRUN ROUNDS` prints medians in milliseconds as JSON.
//!
//! Both run `/bin/true` of a busybox root file system in a container of their own, with user, mount, pid, ipc, uts, network and
//! cgroup namespaces. The peer's bundle lies unpacked. TMPDIR says where: in memory, such as /dev/shm, or a disk is measured.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // A measuring tool: what fails ends it.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

#[path = "../tests/support/mod.rs"]
mod support;

use berth_sys::cgroup::Layout;
use support::Instance;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [supervisor, crun, rounds] = arguments.as_slice() else {
        println!("usage: start SUPERVISOR CRUN ROUNDS");
        return;
    };
    let rounds: usize = rounds.parse().unwrap();
    hide_mixed_cgroups();
    let instance = Instance::new();
    let spec = instance.spec(&["/bin/true"]);
    let bundle = instance.directory.path().join("bundle");
    write_bundle(&bundle, &instance.directory.path().join("lower"));
    let streams = instance.directory.path().join("streams");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let begun = Instant::now();
        let mut spawned = berth_runtime::client::spawn(Path::new(supervisor), &spec).await.unwrap();
        spawned.process.wait().await.unwrap();
        ours.push(begun.elapsed().as_secs_f64() * 1000.0);
        let begun = Instant::now();
        let name = format!("berth-bench-{}-{round}", std::process::id());
        // The peer gives its standard streams to the container's root: the host's /dev/null must not be one of them.
        let stream = || std::fs::File::options().read(true).append(true).create(true).open(&streams).unwrap();
        let status = Command::new(crun)
            .stdin(stream())
            .stdout(stream())
            .stderr(stream())
            .args(["--cgroup-manager=cgroupfs", "run", "--bundle"])
            .arg(&bundle)
            .arg(&name)
            .status();
        assert!(status.unwrap().success(), "crun failed");
        theirs.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    println!("{{\"ours\":{},\"theirs\":{}}}", figures(&mut ours), figures(&mut theirs));
}

/// The peer will have nothing to do with a host that has version 2 beside version 1. Both then see it without.
fn hide_mixed_cgroups() {
    if Layout::detect().unwrap().version() == "v2" {
        return;
    }
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
    berth_sys::mount::make_all_slave().unwrap();
    // Where it is not mounted, nothing is to be done.
    let _ = berth_sys::mount::detach(Path::new("/sys/fs/cgroup/unified"));
}

fn figures(times: &mut [f64]) -> String {
    times.sort_by(f64::total_cmp);
    let at = |part: usize| times[(times.len() - 1) * part / 100];
    format!("{{\"median\":{:.2},\"low\":{:.2},\"high\":{:.2}}}", at(50), at(10), at(90))
}

fn write_bundle(bundle: &Path, lower: &Path) {
    std::fs::create_dir_all(bundle).unwrap();
    Command::new("cp").arg("-a").arg(lower).arg(bundle.join("rootfs")).status().unwrap();
    Command::new("chown").args(["-R", "1000000:1000000"]).arg(bundle.join("rootfs")).status().unwrap();
    let map = r#"[{"containerID":0,"hostID":1000000,"size":65536}]"#;
    let config = format!(
        r#"{{"ociVersion":"1.0.2","process":{{"user":{{"uid":0,"gid":0}},"args":["/bin/true"],"cwd":"/","env":["PATH=/bin"]}},
        "root":{{"path":"rootfs"}},"hostname":"bench","mounts":[
        {{"destination":"/proc","type":"proc","source":"proc"}},
        {{"destination":"/dev","type":"tmpfs","source":"tmpfs","options":["nosuid","mode=755","size=65536k"]}},
        {{"destination":"/dev/pts","type":"devpts","source":"devpts","options":["nosuid","noexec","newinstance","ptmxmode=0666"]}},
        {{"destination":"/sys","type":"sysfs","source":"sysfs","options":["nosuid","noexec","nodev","ro"]}}],
        "linux":{{"uidMappings":{map},"gidMappings":{map},"namespaces":[{{"type":"user"}},{{"type":"mount"}},{{"type":"pid"}},
        {{"type":"ipc"}},{{"type":"uts"}},{{"type":"network"}},{{"type":"cgroup"}}]}}}}"#
    );
    std::fs::write(bundle.join("config.json"), config).unwrap();
}
