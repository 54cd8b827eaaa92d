//! Instances of the tests: directories, a root file system of busybox, a supervisor, and a look at what is left.
#![allow(dead_code, clippy::disallowed_methods)] // Each test file uses a part; polling a log file is bounded.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use berth_runtime::client::{self, ClientError, ExecStdio, Spawned, Supervisor};
use berth_runtime::spec::{
    CgroupSpec, IdRange, LaunchSpec, LogSpec, ProcessSpec, RestartPolicy, RestartSpec, StopSpec, VERSION,
};
use berth_storage::rootfs::{Lower, RootfsSpec};
use berth_sys::cgroup::{Cgroup, Layout};
use tokio::io::AsyncReadExt;

static NEXT: AtomicU32 = AtomicU32::new(0);

pub struct Instance {
    pub directory: tempfile::TempDir,
    pub name: String,
}

/// The supervisor under test.
pub fn supervisor() -> PathBuf {
    let beside = || {
        let mut path = std::env::current_exe().unwrap();
        path.pop();
        path.pop();
        path.join("berth-supervisor")
    };
    let path = std::env::var_os("BERTH_SUPERVISOR").map_or_else(beside, PathBuf::from);
    assert!(path.exists(), "{} is missing: run `cargo xtask build`, or set BERTH_SUPERVISOR", path.display());
    path
}

impl Instance {
    pub fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("berth-runtime-").tempdir().unwrap();
        busybox(&directory.path().join("lower"));
        let name = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self { directory, name }
    }

    pub fn process(&self, argv: &[&str]) -> ProcessSpec {
        ProcessSpec { argv: argv.iter().map(|text| (*text).into()).collect(), ..ProcessSpec::default() }
    }

    pub fn spec(&self, argv: &[&str]) -> LaunchSpec {
        let path = |name: &str| self.directory.path().join(name);
        LaunchSpec {
            version: VERSION,
            id: self.name.clone(),
            name: "test".into(),
            revision: 1,
            run_dir: path("run"),
            rootfs: RootfsSpec {
                lower: Lower::Directory { path: path("lower") },
                upper: path("upper"),
                work: path("work"),
            },
            process: self.process(argv),
            hostname: "test".into(),
            shares: Default::default(),
            ids: IdRange { host_base: 1_000_000, count: 65_536 },
            cgroup: CgroupSpec {
                parent: "berthtest".into(),
                name: self.name.clone(),
                ..CgroupSpec::default()
            },
            networks: Vec::new(),
            files: Vec::new(),
            mounts: Vec::new(),
            writes: Vec::new(),
            stop: StopSpec { signal: 15, timeout_ms: 5_000 },
            restart: RestartSpec { policy: RestartPolicy::No, max_retries: 0, backoff_ms: 100 },
            log: LogSpec { directory: path("log"), max_bytes: 1 << 20, keep: 2 },
            health: None,
            kernel: Default::default(),
            vm: None,
        }
    }

    pub async fn spawn(&self, spec: &LaunchSpec) -> Result<Spawned, ClientError> {
        client::spawn(&supervisor(), spec).await
    }

    /// As an agent does that is another process, which can be killed.
    pub fn spawn_by_another(&self, spec: &LaunchSpec) -> std::process::Child {
        let file = self.directory.path().join("given.json");
        fs::create_dir_all(&spec.run_dir).unwrap();
        fs::write(&file, serde_json::to_vec(spec).unwrap()).unwrap();
        std::process::Command::new("sh")
            .args(["-c", "\"$0\" 3 4 3< \"$1\" 4> /dev/null & wait"])
            .arg(supervisor())
            .arg(&file)
            .spawn()
            .unwrap()
    }

    /// Runs a program inside and gives its exit code and output.
    pub async fn exec(&self, supervisor: &Supervisor, argv: &[&str]) -> (i32, String) {
        self.run(supervisor, self.process(argv)).await
    }

    /// As [`Instance::exec`], with all that a program can have.
    pub async fn run(&self, supervisor: &Supervisor, process: ProcessSpec) -> (i32, String) {
        let (mut session, stdio) = supervisor.exec(process, false).await.unwrap();
        let ExecStdio::Pipes { stdin, mut stdout, mut stderr } = stdio else { panic!("{stdio:?}") };
        drop(stdin);
        let (mut out, mut err) = (String::new(), String::new());
        let (read, read_err) = tokio::join!(stdout.read_to_string(&mut out), stderr.read_to_string(&mut err));
        read.unwrap();
        read_err.unwrap();
        (session.wait().await.unwrap().unwrap(), out + &err)
    }

    pub async fn wait_for_log(&self, text: &str) {
        let end = Instant::now() + Duration::from_secs(10);
        let directory = self.directory.path().join("log");
        while !texts(&directory).iter().any(|line| line.ends_with(text)) {
            assert!(Instant::now() < end, "no {text:?} in {:?}", texts(&directory));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn cgroup(&self) -> Cgroup {
        Cgroup::existing(Layout::detect().unwrap(), "berthtest", &self.name)
    }

    /// A file of its control group of version 1.
    pub fn limit(&self, file: &str) -> String {
        let (controller, _) = file.split_once('.').unwrap();
        let path = Path::new("/sys/fs/cgroup").join(controller).join("berthtest").join(&self.name).join(file);
        fs::read_to_string(path).unwrap().trim().to_owned()
    }

    /// The processes of its control group.
    pub fn members(&self) -> Vec<i32> {
        self.cgroup().processes().unwrap().into_iter().map(nix::unistd::Pid::as_raw).collect()
    }

    pub fn remove_cgroup(&self) {
        self.cgroup().remove().unwrap();
    }

    /// No process, mount or control group of this instance's.
    pub fn assert_nothing_left(&self) {
        let place = self.directory.path().to_str().unwrap();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(place), "a mount is left");
        assert_eq!(self.cgroup().processes().unwrap(), []);
        for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap() {
            let group = hierarchy.unwrap().path().join("berthtest").join(&self.name);
            assert!(!group.exists(), "{} is left", group.display());
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // For a test that failed half way.
        let group = self.cgroup();
        let _ = group.kill();
        let _ = group.remove();
    }
}

/// The log's lines without their times.
pub fn texts(directory: &Path) -> Vec<String> {
    let text = fs::read_to_string(directory.join("current.log")).unwrap_or_default();
    text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
}

fn busybox(root: &Path) {
    for directory in ["bin", "etc", "tmp"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    for name in [
        "sh", "sleep", "cat", "id", "tty", "stty", "touch", "true", "grep", "readlink", "ls", "ip", "mount",
        "wc", "dd", "mkdir", "unshare", "hostname", "head", "od", "rm", "httpd",
    ] {
        symlink("busybox", root.join("bin").join(name)).unwrap();
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33::/:/bin/sh\n").unwrap();
    fs::write(root.join("etc/group"), "root:x:0:\nweb:x:33:\n").unwrap();
}
