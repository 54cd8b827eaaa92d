//! What the tests run on: agents and registries that go when they are dropped.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

const READY: Duration = Duration::from_secs(20);
pub const BERTH: &str = env!("CARGO_BIN_EXE_berth");
pub const BERTHD: &str = env!("CARGO_BIN_EXE_berthd");

/// What a program said.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }

    pub fn json(self) -> Value {
        serde_json::from_str(&self.ok()).unwrap()
    }

    /// It failed with this code and says all of this.
    pub fn fails(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "no {word:?} in {self:?}");
        }
    }
}

/// Runs a program to its end.
pub fn said(command: &mut Command, stdin: &[u8]) -> Said {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    // Beside the reading: a program that answers while it reads would wait for us, and we for it.
    let output = std::thread::scope(|scope| {
        scope.spawn(move || {
            // A program that ended without reading all is judged by its output.
            let _broken = input.write_all(stdin);
        });
        child.wait_with_output().unwrap()
    });
    Said {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A port that nobody has now.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// An agent with directories of its own. Dropped, it is stopped and leaves nothing.
pub struct Agent {
    pub dir: TempDir,
    child: Option<Child>,
    environment: Vec<(String, String)>,
}

impl Agent {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    pub fn start_with(args: &[&str]) -> Self {
        let mut agent = Self { dir: tempfile::tempdir().unwrap(), child: None, environment: Vec::new() };
        agent.run(args);
        agent
    }

    /// In this directory.
    pub fn start_on(dir: TempDir) -> Self {
        let mut agent = Self { dir, child: None, environment: Vec::new() };
        agent.run(&[]);
        agent
    }

    /// With these variables in its environment.
    pub fn start_in(environment: &[(&str, &str)]) -> Self {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut agent =
            Self { dir: tempfile::tempdir().unwrap(), child: None, environment: environment.collect() };
        agent.run(&[]);
        agent
    }

    /// Starts it on its directories and waits until it says that it is ready.
    pub fn run(&mut self, args: &[&str]) {
        let mut command = self.command();
        command.args(args);
        assert!(self.comes_up(command), "{}", std::fs::read_to_string(self.dir.path().join("log")).unwrap());
    }

    /// Starts it under another program; says whether it came up.
    pub fn run_under(&mut self, wrapper: &[&str]) -> bool {
        let agent = self.command();
        let mut command = Command::new(wrapper[0]);
        command.args(&wrapper[1..]).arg(agent.get_program()).args(agent.get_args());
        self.comes_up(command)
    }

    /// The agent that [`Agent::run_under`] began; the program around it is another process.
    pub fn wrapped(&self) -> Pid {
        let wrapper = self.child.as_ref().unwrap().id();
        Pid::from_raw(i32::try_from(children(wrapper)[0]).unwrap())
    }

    /// Of the agent's process, where what [`Agent::run_under`] was given became the agent.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Ends what [`Agent::run_under`] began; the program around it ends with the agent.
    pub fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            for pid in children(child.id()) {
                let _ = kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGTERM);
            }
            child.wait().unwrap();
        }
    }

    fn comes_up(&mut self, mut command: Command) -> bool {
        let path = self.dir.path().join("ready.sock");
        let _ = std::fs::remove_file(&path);
        let ready = UnixDatagram::bind(&path).unwrap();
        ready.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let log = File::create(self.dir.path().join("log")).unwrap();
        command.env("NOTIFY_SOCKET", &path).envs(self.environment.iter().cloned());
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = self.child.insert(command.spawn().unwrap());
        let deadline = Instant::now() + READY;
        let mut buffer = [0; 256];
        loop {
            if let Ok(read) = ready.recv(&mut buffer)
                && buffer[..read].starts_with(b"READY=1")
            {
                return true;
            }
            if child.try_wait().unwrap().is_some() {
                self.child = None;
                return false;
            }
            assert!(
                Instant::now() < deadline,
                "{}",
                std::fs::read_to_string(self.dir.path().join("log")).unwrap()
            );
        }
    }

    /// `berthd` on these directories, not started.
    pub fn command(&self) -> Command {
        let mut command = Command::new(BERTHD);
        command.arg("--data-dir").arg(self.data()).arg("--run-dir").arg(self.dir.path().join("run"));
        command
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("run/agent.sock")
    }

    pub fn address(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    pub fn berth(&self, args: &[&str]) -> Said {
        self.berth_with(args, b"")
    }

    pub fn berth_with(&self, args: &[&str], stdin: &[u8]) -> Said {
        said(Command::new(BERTH).env("BERTH_HOST", self.address()).args(args), stdin)
    }

    /// `berth --format json …`
    pub fn json(&self, args: &[&str]) -> Value {
        self.berth(&[&["--format", "json"], args].concat()).json()
    }

    pub fn signal(&mut self, signal: Signal) -> std::process::ExitStatus {
        let mut child = self.child.take().unwrap();
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
        child.wait().unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Only an agent can take down what an agent left running.
        let left = |dir: &Path| std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some());
        if left(&self.data().join("instances")) {
            if self.child.is_none() {
                self.run(&[]);
            }
            let list = self.berth(&["--format", "json", "instance", "ls"]).stdout;
            let list: Vec<Value> = serde_json::from_str(&list).unwrap_or_default();
            for name in list.iter().filter_map(|instance| instance["name"].as_str()) {
                let _ = self.berth(&["instance", "rm", "--force", name]);
            }
        }
        if let Some(mut child) = self.child.take() {
            // A program around it would not end by itself, or leave the agent behind.
            let around = (!is_agent(child.id())).then(|| children(child.id()));
            for pid in around.unwrap_or_else(|| vec![child.id()]) {
                let _ = kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGTERM);
            }
            let _ = child.wait();
        }
    }
}

fn is_agent(pid: u32) -> bool {
    std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == Path::new(BERTHD))
}

/// None where it has ended already.
fn children(pid: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// Of registries with a password.
pub const USER: &str = "someone";
pub const PASSWORD: &str = "right-horse";
const HTPASSWD: &str = "someone:$2y$05$PWSgEXJef6zxj5lyve91c.UYaEav0M5tiD3scczF6WmoUedR56xTK\n";

/// Debian's `docker-registry` on a port that the kernel chooses, with the image `tiny:1` in it.
pub struct Registry {
    _dir: TempDir,
    child: Child,
    pub port: u16,
}

impl Registry {
    pub fn start(password: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        std::fs::write(path.join("htpasswd"), HTPASSWD).unwrap();
        let auth = format!("auth:\n  htpasswd:\n    realm: tests\n    path: {}/htpasswd\n", path.display());
        let config = format!(
            "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: {}/storage\nhttp:\n  \
             addr: 127.0.0.1:0\n{}",
            path.display(),
            if password { &auth } else { "" }
        );
        std::fs::write(path.join("config.yml"), config).unwrap();
        let log = File::create(path.join("log")).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(path.join("config.yml")).env("OTEL_TRACES_EXPORTER", "none");
        let child =
            command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let mut registry = Self { child, port: 0, _dir: dir };
        registry.port = registry.listening();
        registry.push(password);
        registry
    }

    #[allow(clippy::disallowed_methods, reason = "the registry tells its port in its log alone")]
    fn listening(&self) -> u16 {
        let deadline = Instant::now() + READY;
        loop {
            let log = std::fs::read_to_string(self._dir.path().join("log")).unwrap();
            if let Some((_, rest)) = log.split_once("listening on 127.0.0.1:") {
                let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
                if digits.len() < rest.len() {
                    return digits.parse().unwrap();
                }
            }
            assert!(Instant::now() < deadline, "{log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn push(&self, password: bool) {
        let layout = self._dir.path().join("layout");
        tiny(&layout);
        self.copy(&layout, "tiny:1", password);
    }

    /// The tests' image under another tag, which declares these volumes.
    pub fn push_with_volumes(&self, tag: &str, volumes: &[&str]) {
        let layout = self._dir.path().join(tag).join("layout");
        let root = tiny_root(&layout);
        oci_layout_with_volumes(&layout, &[root], volumes);
        self.copy(&layout, &format!("tiny:{tag}"), false);
    }

    /// Pushes a layout's image to a registry without a password.
    pub fn push_layout(&self, layout: &Path, name: &str) {
        self.copy(layout, name, false);
    }

    fn copy(&self, layout: &Path, name: &str, password: bool) {
        let mut command = Command::new("skopeo");
        command.args(["copy", "--quiet", "--dest-tls-verify=false"]);
        if password {
            command.args(["--dest-creds", &format!("{USER}:{PASSWORD}")]);
        }
        command.arg(format!("oci:{}:1", layout.display()));
        command.arg(format!("docker://{}/{name}", self.host()));
        said(&mut command, b"").ok();
    }

    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn address(&self) -> String {
        format!("http://{}", self.host())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An OCI layout of one image: a static busybox.
pub fn tiny(layout: &Path) {
    let root = tiny_root(layout);
    oci_layout(layout, &[root]);
}

fn tiny_root(layout: &Path) -> PathBuf {
    let root = layout.join("../root");
    std::fs::create_dir_all(root.join("bin")).unwrap();
    std::fs::create_dir_all(root.join("etc")).unwrap();
    std::fs::create_dir_all(root.join("var/data")).unwrap();
    std::fs::write(root.join("var/data/seed"), "from the image\n").unwrap();
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    for name in ["sh", "cat", "sleep", "httpd", "id", "echo", "kill"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).unwrap();
    }
    std::fs::write(root.join("etc/passwd"), "root:x:0:0::/:/bin/sh\nweb:x:1000:1000::/:/bin/sh\n").unwrap();
    std::fs::write(root.join("etc/group"), "root:x:0:\nweb:x:1000:\n").unwrap();
    root
}

/// An OCI layout of one image, a layer of each of these directories.
pub fn oci_layout(layout: &Path, layers: &[PathBuf]) {
    oci_layout_with_volumes(layout, layers, &[]);
}

fn oci_layout_with_volumes(layout: &Path, layers: &[PathBuf], volumes: &[&str]) {
    let blobs = layout.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8]| {
        use sha2::Digest;
        let digest = sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        std::fs::write(blobs.join(&digest), bytes).unwrap();
        (format!("sha256:{digest}"), bytes.len())
    };
    let mut described = Vec::new();
    for root in layers {
        let tar =
            Command::new("tar").args(["--owner=0", "--group=0", "-C"]).arg(root).args(["-c", "."]).output();
        let (digest, size) = put(&tar.unwrap().stdout);
        let media_type = "application/vnd.oci.image.layer.v1.tar";
        described.push(serde_json::json!({ "mediaType": media_type, "digest": digest, "size": size }));
    }
    let diff_ids: Vec<_> = described.iter().map(|layer| layer["digest"].clone()).collect();
    let config = serde_json::json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "created": "2026-01-31T12:00:00Z",
        "config": {
            "Cmd": ["/bin/sleep", "1000"],
            "Env": ["PATH=/bin", "GREETING=hello"],
            "Labels": { "purpose": "tests" },
            "Volumes": volumes.iter().map(|path| (*path, serde_json::json!({}))).collect::<HashMap<_, _>>(),
        },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let (config, config_size) = put(config.to_string().as_bytes());
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": config_size },
        "layers": described,
    });
    let (manifest, manifest_size) = put(manifest.to_string().as_bytes());
    let index = serde_json::json!({
        "schemaVersion": 2,
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": manifest,
            "size": manifest_size,
            "annotations": { "org.opencontainers.image.ref.name": "1" },
        }],
    });
    std::fs::write(layout.join("index.json"), index.to_string()).unwrap();
    std::fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}
