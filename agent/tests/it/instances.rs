//! `berth instance`, on the host's own kernel.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use serde_json::Value;

use crate::world::{Agent, BERTH, Registry, free_port, said};

/// An agent with the remote `reg`.
fn world() -> (Registry, Agent) {
    let registry = Registry::start(false);
    let agent = Agent::start();
    agent.berth(&["remote", "add", "reg", &registry.address(), "--insecure"]).ok();
    (registry, agent)
}

fn inspect(agent: &Agent, name: &str) -> Value {
    agent.berth(&["instance", "inspect", name]).json()
}

/// A program that was started may not listen yet.
#[allow(clippy::disallowed_methods, reason = "nothing tells when a program in a container begins to listen")]
fn connected(port: u16) -> TcpStream {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => return stream,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn get(port: u16) -> String {
    let mut stream = connected(port);
    stream.write_all(b"GET /hostname HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Nothing of the agent's is on the host.
pub fn assert_nothing_left(agent: &Agent, bridge: &str) {
    let empty = |dir: &Path| std::fs::read_dir(dir).map_or(true, |mut entries| entries.next().is_none());
    assert!(empty(&agent.data().join("instances")), "data is left");
    assert!(empty(&agent.dir.path().join("run/instances")), "run data is left");
    assert!(!Path::new("/sys/class/net").join(bridge).exists(), "the bridge is left");
    let mark = bridge.trim_end_matches('0');
    let tables = said(Command::new("nft").args(["list", "tables"]), b"").ok();
    assert!(!tables.contains(mark), "{tables}");
    for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap() {
        let group = hierarchy.unwrap().path().join(mark);
        assert!(!group.exists(), "{} is left", group.display());
    }
}

pub fn bridge(agent: &Agent) -> String {
    agent.json(&["network", "inspect", "default"])["bridge"].as_str().unwrap().to_owned()
}

#[test]
fn an_instance_serves_through_its_port_and_outlives_its_agent() {
    let (_registry, mut agent) = world();
    let port = free_port();
    let publish = format!("{port}:8080");
    let launch = ["instance", "launch", "reg:tiny:1", "--name", "web", "--publish", &publish, "--entrypoint"];
    agent.berth(&[&launch[..], &["/bin/httpd", "--", "-f", "-p", "8080", "-h", "/etc"]].concat()).ok();
    assert!(get(port).ends_with("web\n"));
    let before = agent.json(&["instance", "ls"])[0].clone();
    assert_eq!((&before["name"], &before["status"]), (&"web".into(), &"running".into()));
    assert_eq!(before["ports"]["tcp-8080"]["host_port"], port);
    agent.signal(Signal::SIGKILL);
    assert!(get(port).ends_with("web\n"), "it went with its agent");
    agent.run(&[]);
    let after = agent.json(&["instance", "ls"])[0].clone();
    assert_eq!((&after["pid"], &after["status"]), (&before["pid"], &before["status"]));
    assert!(get(port).ends_with("web\n"), "it is not reached any more");
    agent.berth(&["instance", "restart", "--force", "web"]).ok();
    assert_ne!(inspect(&agent, "web")["pid"], before["pid"]);
    assert!(get(port).ends_with("web\n"));
    agent
        .berth(&["instance", "rm", "web"])
        .fails(1, &["web is running", "berth instance stop web", "--force"]);
    assert!(get(port).ends_with("web\n"));
    agent.berth(&["instance", "stop", "--force", "web"]).ok();
    assert_eq!(inspect(&agent, "web")["status"], "stopped");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "a stopped instance has its port");
    agent.berth(&["instance", "start", "web"]).ok();
    assert!(get(port).ends_with("web\n"));
    agent.berth(&["instance", "rm", "--force", "web"]).ok();
    assert_eq!(agent.json(&["image", "ls"]), serde_json::json!([]));
    assert_nothing_left(&agent, &bridge(&agent));
}

#[test]
fn exec_is_inside_all_namespaces_and_gives_the_command_s_code() {
    let (_registry, agent) = world();
    agent.berth(&["instance", "launch", "reg:tiny:1", "--name", "box", "--env", "WHAT=told"]).ok();
    let pid = inspect(&agent, "box")["pid"].as_u64().unwrap();
    for namespace in ["user", "mnt", "pid", "ipc", "uts", "net", "cgroup"] {
        let link = format!("/proc/self/ns/{namespace}");
        let inside = agent.berth(&["instance", "exec", "box", "--", "/bin/busybox", "readlink", &link]).ok();
        let workload = std::fs::read_link(format!("/proc/{pid}/ns/{namespace}")).unwrap();
        let own = std::fs::read_link(&link).unwrap();
        assert_eq!(inside.trim(), workload.display().to_string());
        assert_ne!(inside.trim(), own.display().to_string(), "{namespace}");
    }
    let status = agent.berth(&["instance", "exec", "box", "--", "cat", "/proc/self/status"]).ok();
    assert!(status.lines().any(|line| line == "Seccomp:\t2"), "{status}");
    let script = "echo $GREETING $WHAT; echo bad >&2; exit 7";
    let ran = agent.berth(&["instance", "exec", "box", "--", "sh", "-c", script]);
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(7), "hello told\n", "bad\n"));
    let much = vec![b'x'; 3 << 20];
    let echoed = agent.berth_with(&["instance", "exec", "-i", "box", "--", "cat"], &much).ok();
    assert_eq!(echoed.len(), much.len());
    let mut odd = Command::new(BERTH);
    odd.args(["--host", &agent.address(), "instance", "exec", "box", "--", "/bin/busybox", "printf"]);
    let odd = odd.arg(OsStr::from_bytes(b"%o,%o,%o")).args(["'a", "'b"]).arg(OsStr::from_bytes(b"'\xff"));
    assert_eq!(said(odd, b"").ok(), "141,142,377");
    agent.berth(&["instance", "exec", "box", "--", "nope"]).fails(1, &["(command)", "nope"]);
    let terminal = format!("{BERTH} --host {} instance exec -it box -- /bin/busybox tty", agent.address());
    let on_terminal = said(Command::new("script").args(["-qec", &terminal, "/dev/null"]), b"").ok();
    assert!(on_terminal.contains("/dev/pts/"), "{on_terminal}");
}

#[test]
fn files_are_put_in_and_got_out_and_lead_nowhere_else() {
    let (_registry, agent) = world();
    agent.berth(&["instance", "launch", "reg:tiny:1", "--name", "box"]).ok();
    let run = |script: &str| agent.berth(&["instance", "exec", "box", "--", "/bin/sh", "-c", script]).ok();
    let here = agent.dir.path().join("here");
    let content: Vec<u8> = (0..3_u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(&here, &content).unwrap();
    let path = here.display().to_string();
    // Directories on the way are made, links are the instance's own, and the owner is one inside.
    run("mkdir /real && ln -s /real /link && ln -s /etc/hostname /named");
    let put = ["instance", "push", "--uid", "5", "--gid", "6", "--mode", "0640", &path, "box:/link/a/"];
    agent.berth(&put).ok();
    assert_eq!(run("busybox stat -c %u:%g:%a:%s /real/a/here").trim(), format!("5:6:640:{}", content.len()));
    // Over what a link leads to, with the permissions that it has inside but for set-id.
    let (back, link) = (agent.dir.path().join("back"), agent.dir.path().join("link"));
    std::fs::write(&back, "before").unwrap();
    std::os::unix::fs::symlink("back", &link).unwrap();
    run("chmod 4640 /real/a/here");
    agent.berth(&["instance", "pull", "box:/link/a/here", link.to_str().unwrap()]).ok();
    assert!(std::fs::read(&back).unwrap() == content, "it came back changed");
    assert_eq!(std::fs::metadata(&back).unwrap().mode() & 0o7777, 0o640);
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    let names = std::fs::read_dir(agent.dir.path()).unwrap().map(|it| it.unwrap().file_name());
    assert!(!names.map(|name| name.into_string().unwrap()).any(|name| name.ends_with(".partial")));
    // A pipe takes what comes, and stays one.
    let pipe = agent.dir.path().join("pipe");
    nix::unistd::mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    let mut options = std::fs::OpenOptions::new();
    let mut reader =
        options.read(true).write(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(&pipe).unwrap();
    agent.berth(&["instance", "pull", "box:/named", pipe.to_str().unwrap()]).ok();
    let mut came = [0; 4];
    reader.read_exact(&mut came).unwrap();
    assert_eq!(&came, b"box\n");
    agent
        .berth(&["instance", "pull", "box:/named", "/nowhere/at/all"])
        .fails(1, &["/nowhere/at/all cannot be written"]);
    agent.berth_with(&["instance", "push", "-", "box:/note"], b"said\n").ok();
    assert_eq!(run("cat /note; busybox stat -c %u:%a /note"), "said\n0:644\n");
    assert_eq!(agent.berth(&["instance", "pull", "box:/named", "-"]).ok(), "box\n");
    // What is no file, is the kernel's or would lead out is refused, and nothing is changed.
    run("busybox mkfifo /pipe; ln -s /proc/1/root/etc/shadow /out");
    for path in ["/pipe", "/real", "/out", "/proc/self/environ", "/dev/null", "/nowhere"] {
        agent
            .berth(&["instance", "pull", &format!("box:{path}"), "-"])
            .fails(1, &[path, "Give the path of a file"]);
    }
    for path in ["/real", "/proc/sys/kernel/domainname", "/note/under"] {
        agent.berth_with(&["instance", "push", "-", &format!("box:{path}")], b"x").fails(1, &[path]);
    }
    agent.berth(&["instance", "push", "/nowhere", "box:/x"]).fails(1, &["/nowhere cannot be read"]);
    agent.berth(&["instance", "pull", "box:relative", "-"]).fails(2, &["NAME:PATH"]);
    agent.berth(&["instance", "pull", "box:/a/../b", "-"]).fails(1, &["(path)"]);
    assert_eq!(run("ls /x /nowhere 2>/dev/null; cat /note"), "said\n");
    agent.berth(&["instance", "stop", "--force", "box"]).ok();
    agent.berth(&["instance", "pull", "box:/note", "-"]).fails(1, &["not running", "berth instance start"]);
    agent.berth_with(&["instance", "push", "-", "box:/note"], b"x").fails(1, &["not running"]);
    agent.berth(&["instance", "rm", "box"]).ok();
}

#[test]
fn logs_are_told_by_stream_and_an_exit_by_its_code() {
    let (_registry, agent) = world();
    let script = "echo one; echo two >&2; echo three; sleep 1000";
    let launch = ["instance", "launch", "reg:tiny:1", "--name", "talk", "--", "/bin/sh", "-c", script];
    agent.berth(&launch).ok();
    let mut follow = Command::new(BERTH);
    follow.args(["--host", &agent.address(), "instance", "logs", "--follow", "talk"]);
    let mut follow = follow.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    let followed = [lines.next().unwrap().unwrap(), lines.next().unwrap().unwrap()];
    follow.kill().unwrap();
    follow.wait().unwrap();
    assert_eq!(followed, ["one", "three"]);
    let logs = agent.berth(&["instance", "logs", "talk"]);
    assert_eq!((logs.stdout.as_str(), logs.stderr.as_str()), ("one\nthree\n", "two\n"));
    // Which of the two streams was read last is not known.
    let last = agent.berth(&["instance", "logs", "talk", "--tail", "1"]);
    assert!(["three\n", "two\n"].contains(&(last.stdout + &last.stderr).as_str()));
    assert_eq!(agent.berth(&["instance", "logs", "talk", "--since", "2100-01-01T00:00:00Z"]).ok(), "");
}

#[test]
fn what_cannot_start_names_its_argument_and_leaves_nothing() {
    let (_registry, agent) = world();
    let launch = |args: &[&str]| agent.berth(&[&["instance", "launch", "--name", "x"], args].concat());
    launch(&["reg:tiny:1", "--entrypoint", "/bin/nope"]).fails(1, &["(entrypoint)", "/bin/nope"]);
    launch(&["reg:tiny:1", "--entrypoint", "/etc/passwd"]).fails(1, &["(entrypoint)", "/etc/passwd"]);
    launch(&["reg:nope:1"]).fails(1, &["(image)", "nope"]);
    launch(&["reg:tiny:1", "--type", "toaster"]).fails(1, &["(type)", "toaster"]);
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    let taken = format!("{port}:80");
    launch(&["reg:tiny:1", "--publish", &taken]).fails(1, &["host_port", &port.to_string(), "taken"]);
    assert_eq!(agent.json(&["instance", "ls"]), serde_json::json!([]));
    assert_eq!(agent.json(&["image", "ls"]), serde_json::json!([]));
    assert_nothing_left(&agent, &bridge(&agent));
    launch(&["reg:tiny:1"]).ok();
    launch(&["reg:tiny:1"]).fails(1, &["(name)", "taken"]);
}
