//! What starts are measured on: an agent, and one image for it and its peers, whose entrypoint says when it runs. All of it is
//! on the disk of temporary files, the peers' as well: an image's tree is not mounted from a file in memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use berth_acceptance_tests::{TestAgent, command, images};
use serde_json::{Value, json};

use super::failed;
use crate::step::{self, StepError, file, find, programs, root};

/// The agent and its image; gone when dropped.
pub struct World {
    pub agent: TestAgent,
    /// The image's id.
    pub image: String,
    pub place: Place,
}

/// A directory of the bench's own.
pub struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        // What is left of a bench that failed is only in the way.
        let _left = fs::remove_dir_all(&self.0);
    }
}

impl World {
    pub fn new() -> Result<Self, StepError> {
        let place = Place(std::env::temp_dir().join(format!("berth-bench-{}", std::process::id())));
        fs::create_dir_all(&place.0).map_err(file("make", &place.0))?;
        tree(&place.0.join("tree"))?;
        images::layout_of(&[place.0.join("tree")], &place.0.join("layout")).map_err(failed)?;
        let agent = TestAgent::start_in(&place.0).map_err(failed)?;
        let layout = place.0.join("layout").to_string_lossy().into_owned();
        agent.berth_ok(&["image", "import", &layout, "--reference", "localhost/stamp:1"]).map_err(failed)?;
        let image = agent.images().map_err(failed)?;
        let image = image.first().and_then(|image| image["id"].as_str()).unwrap_or_default().to_owned();
        Ok(Self { agent, image, place })
    }

    /// What the program that times the agent's calls says.
    pub fn calls(&self, arguments: &[&str]) -> Result<Value, StepError> {
        let (what, rest) = arguments.split_first().unwrap_or((&"", &[]));
        let mut program = Command::new("unshare");
        program.args(WITHOUT_MIXED_GROUPS).arg(programs().join("examples/calls"));
        command::json(program.arg(what).arg(self.agent.address()).args(rest)).map_err(failed)
    }
}

/// Peers will have nothing to do with a host that has control groups of version 2 beside those of version 1: they see it
/// without.
pub const WITHOUT_MIXED_GROUPS: [&str; 7] = [
    "--mount",
    "--propagation",
    "private",
    "sh",
    "-c",
    "umount /sys/fs/cgroup/unified 2> /dev/null; exec \"$@\"",
    "sh",
];

/// The entrypoint is /bin/sh in every image that is made so: here it is the program that says when it runs.
fn tree(tree: &Path) -> Result<(), StepError> {
    let programs = tree.join("bin");
    fs::create_dir_all(&programs).map_err(file("make", &programs))?;
    let stamp = programs.join("sh");
    let mut rustc = Command::new("rustc");
    rustc.args(["--edition", "2024", "-C", "opt-level=3", "-C", "panic=abort", "-C", "strip=symbols"]);
    rustc.args(["-C", "target-feature=+crt-static", "-o"]).arg(&stamp);
    command::run(rustc.arg(root().join("xtask/examples/stamp.rs"))).map_err(failed)?;
    let busybox = programs.join("true");
    fs::copy("/bin/busybox", &busybox).map_err(file("copy", &busybox))?;
    Ok(())
}

impl Place {
    fn path(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }

    /// `crun` with its state here.
    pub fn crun(&self, arguments: &[&str]) -> Result<Vec<String>, StepError> {
        let crun = found("crun")?;
        let state = self.path("crun");
        Ok(words(&[&[crun.as_str(), "--root", &state, "--cgroup-manager", "cgroupfs"], arguments].concat()))
    }

    /// `podman` with its images and state here.
    pub fn podman(&self, arguments: &[&str]) -> Result<Vec<String>, StepError> {
        let podman = found("podman")?;
        let (images, state) = (self.path("podman"), self.path("podman-run"));
        let places = [podman.as_str(), "--root", &images, "--runroot", &state, "--storage-driver", "overlay"];
        Ok(words(&[&places[..], &["--cgroup-manager", "cgroupfs"], arguments].concat()))
    }

    /// The image as podman has it, under this name.
    pub fn give_to_podman(&self, name: &str) -> Result<(), StepError> {
        let tar = self.path("tree.tar");
        command::run(Command::new("tar").args(["-C", &self.path("tree"), "-cf", &tar, "."]))
            .map_err(failed)?;
        self.run(&self.podman(&["import", "--quiet", &tar, name])?)
    }

    /// Runs a peer's command as the timed ones are.
    pub fn run(&self, peer: &[String]) -> Result<(), StepError> {
        command::run(Command::new("unshare").args(WITHOUT_MIXED_GROUPS).args(peer)).map(drop).map_err(failed)
    }

    /// The same for one that leaves something running, which keeps what it is given to write to.
    pub fn detach(&self, peer: &[String]) -> Result<(), StepError> {
        let mut command = Command::new("unshare");
        command.args(WITHOUT_MIXED_GROUPS).args(peer);
        step::run(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))
    }

    /// The image unpacked as a bundle for crun: its own user namespace, and an empty network namespace.
    pub fn bundle(
        &self,
        name: &str,
        arguments: &[&str],
        seccomp: Option<Value>,
    ) -> Result<String, StepError> {
        let bundle = self.path(name);
        fs::create_dir_all(&bundle).map_err(file("make", Path::new(&bundle)))?;
        let rootfs = format!("{bundle}/rootfs");
        command::run(Command::new("cp").args(["-a", &self.path("tree"), &rootfs])).map_err(failed)?;
        command::run(Command::new("chown").args(["-R", "1000000:1000000", &rootfs])).map_err(failed)?;
        let config = Path::new(&bundle).join("config.json");
        fs::write(&config, config_of(arguments, seccomp).to_string()).map_err(file("write", &config))?;
        Ok(bundle)
    }
}

/// Docker's default profile as Debian's podman has it, for the capabilities that a container has by default.
pub fn default_seccomp() -> Result<Value, StepError> {
    let path = Path::new("/usr/share/containers/seccomp.json");
    let text = fs::read_to_string(path).map_err(file("read", path))?;
    let profile: Value = serde_json::from_str(&text)
        .map_err(|error| StepError::Rule(format!("{}: {error}", path.display())))?;
    let applies = |rule: &&Value| {
        let of_machine = |arches: &Vec<Value>| arches.iter().any(|arch| arch == "amd64");
        let is_for_us = rule["includes"]["arches"].as_array().is_none_or(of_machine);
        is_for_us && rule["includes"]["caps"].is_null() && !rule["excludes"]["arches"].is_array()
    };
    let rule = |rule: &Value| {
        let mut kept = json!({ "names": rule["names"], "action": rule["action"], "args": rule["args"] });
        if rule["errnoRet"].is_number() {
            kept["errnoRet"] = rule["errnoRet"].clone();
        }
        kept
    };
    let rules = profile["syscalls"].as_array().into_iter().flatten();
    Ok(json!({
        "defaultAction": profile["defaultAction"], "defaultErrnoRet": profile["defaultErrnoRet"],
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": rules.filter(applies).map(rule).collect::<Vec<_>>(),
    }))
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

fn found(program: &str) -> Result<String, StepError> {
    let path = find(program).ok_or_else(|| StepError::Rule(format!("install the package {program}")))?;
    Ok(path.to_string_lossy().into_owned())
}

fn config_of(arguments: &[&str], seccomp: Option<Value>) -> Value {
    let map = json!([{ "containerID": 0, "hostID": 1_000_000, "size": 65_536 }]);
    let own = ["user", "mount", "pid", "ipc", "uts", "network", "cgroup"];
    let mount = |kind: &str, at: &str, options: &[&str]| json!({ "destination": at, "type": kind, "source": kind, "options": options });
    let argv = [&["/bin/sh"], arguments].concat();
    let mut config = json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": { "uid": 0, "gid": 0 }, "cwd": "/", "env": ["PATH=/bin"],
            "args": argv,
        },
        "root": { "path": "rootfs" },
        "hostname": "bench",
        "mounts": [
            mount("proc", "/proc", &[]),
            mount("tmpfs", "/dev", &["nosuid", "mode=755", "size=65536k"]),
            mount("devpts", "/dev/pts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666"]),
            mount("sysfs", "/sys", &["nosuid", "noexec", "nodev", "ro"]),
        ],
        "linux": {
            "uidMappings": map, "gidMappings": map,
            "namespaces": own.map(|kind| json!({ "type": kind })),
        },
    });
    if let Some(seccomp) = seccomp {
        config["linux"]["seccomp"] = seccomp;
    }
    config
}
