//! The helper as the agent uses it: with a real dnsmasq as the host's resolver and dig as the client, in namespaces that go with
//! the test.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where something goes wrong")]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use berth_network::firewall::Protocol;
use berth_network::helper::{Config, Helper, HelperError, Socket, Started, Zone};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// A host of its own, on the calling thread.
struct Host {
    dir: tempfile::TempDir,
    servers: Vec<Child>,
}

impl Host {
    fn enter() -> Self {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        let dir = tempfile::tempdir().unwrap();
        // Everyone may read it, as everyone may read the host's.
        std::os::unix::fs::chown(dir.path(), Some(0), Some(0)).unwrap();
        let host = Self { dir, servers: Vec::new() };
        host.resolvers(&[]);
        mount(Some(&host.dir.path().join("resolv.conf")), "/etc/resolv.conf", none, MsFlags::MS_BIND, none)
            .unwrap();
        host.run("ip", &["link", "set", "lo", "up"]);
        host
    }

    fn resolvers(&self, all: &[&str]) {
        use std::os::unix::fs::PermissionsExt;
        let text: String = all.iter().map(|server| format!("nameserver {server}\n")).collect();
        let path = self.dir.path().join("resolv.conf");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
    }

    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let output = Command::new(program).args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// A resolver that knows one name.
    fn serve(&mut self, address: &str, answer: &str) {
        let mut dnsmasq = Command::new("dnsmasq");
        dnsmasq.args([
            "--keep-in-foreground",
            "--no-resolv",
            "--no-hosts",
            "--bind-interfaces",
            "--conf-file=/dev/null",
        ]);
        dnsmasq.arg(format!("--listen-address={address}")).arg(format!("--address=/known.test/{answer}"));
        dnsmasq.args(["--user=root", "--pid-file="]).stderr(Stdio::null());
        self.servers.push(dnsmasq.spawn().unwrap());
        self.until(|| self.dig(address, &["known.test"]).contains(answer));
    }

    /// The code and the answer.
    fn dig(&self, server: &str, more: &[&str]) -> String {
        let server = format!("@{server}");
        let all =
            [&[server.as_str(), "+tries=1", "+timeout=8", "+noall", "+comments", "+answer"], more].concat();
        self.run("dig", &all)
    }

    #[allow(clippy::disallowed_methods, reason = "bounded, and what is awaited is another program's doing")]
    fn until(&self, fine: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !fine() {
            assert!(Instant::now() < deadline, "it did not come about");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("networks/bridge.sock")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

/// The one that is installed: cargo would build another, which is not static, for a test of its own package.
fn program() -> PathBuf {
    let supervisor = std::env::var_os("BERTH_SUPERVISOR").expect("run `cargo xtask test`");
    PathBuf::from(supervisor).with_file_name("berth-bridge")
}

fn config(address: &str, forward: bool) -> Config {
    let socket =
        |protocol| Socket { address: address.parse().unwrap(), protocol, device: Some("lo".to_owned()) };
    let zone = Zone {
        domain: "net.berth".to_owned(),
        subnets: vec!["10.1.2.0/24".parse().unwrap()],
        names: [("web".to_owned(), BTreeSet::from(["10.1.2.3".parse().unwrap()]))].into(),
    };
    let sockets = [Protocol::Udp, Protocol::Tcp].map(socket).into();
    Config { zones: vec![zone], forward, sockets, ..Config::default() }
}

#[test]
fn what_it_does_not_know_the_host_s_resolvers_say() {
    let mut host = Host::enter();
    host.serve("127.0.0.7", "192.0.2.7");
    host.resolvers(&["127.0.0.7"]);
    let Started { mut helper, mut process } = Helper::start(&program(), &host.socket()).unwrap();
    helper.configure(&config("127.0.0.1:53", true)).unwrap();
    for transport in ["+notcp", "+tcp"] {
        let known = host.dig("127.0.0.1", &["known.test", transport]);
        assert!(known.contains("NOERROR") && known.contains("192.0.2.7"), "{known}");
        let unknown = host.dig("127.0.0.1", &["unknown.test", transport]);
        assert!(unknown.contains("REFUSED"), "it says what dnsmasq says: {unknown}");
        assert!(host.dig("127.0.0.1", &["web.net.berth", transport]).contains("10.1.2.3"));
    }
    // The host's resolvers change, and one of them does not answer.
    host.serve("127.0.0.8", "192.0.2.8");
    host.resolvers(&["127.0.0.99", "127.0.0.8"]);
    assert!(host.dig("127.0.0.1", &["known.test"]).contains("192.0.2.8"));
    let began = Instant::now();
    assert!(host.dig("127.0.0.1", &["known.test"]).contains("192.0.2.8"));
    assert!(began.elapsed() < Duration::from_secs(2), "the one that answered is asked first");
    // It never asks itself.
    host.resolvers(&["127.0.0.1"]);
    assert!(host.dig("127.0.0.1", &["known.test"]).contains("SERVFAIL"));
    // What comes in damaged is answered with an error, or not at all, and then all is as before.
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    for damaged in [&[0_u8; 5][..], &[0xff; 40], &[0x12, 0x34, 1, 0, 0, 9, 0, 0, 0, 0, 0, 0, 63]] {
        client.send_to(damaged, "127.0.0.1:53").unwrap();
    }
    assert!(host.dig("127.0.0.1", &["web.net.berth"]).contains("10.1.2.3"));
    helper.configure(&config("127.0.0.1:53", false)).unwrap();
    assert!(host.dig("127.0.0.1", &["known.test"]).contains("REFUSED"));
    helper.quit().unwrap();
    assert!(process.wait().unwrap().success());
    assert!(!host.socket().exists());
}

#[test]
fn the_next_agent_goes_on_with_it() {
    let mut host = Host::enter();
    assert!(Helper::adopt(&host.socket()).unwrap().is_none());
    let Started { mut helper, mut process } = Helper::start(&program(), &host.socket()).unwrap();
    helper.configure(&config("127.0.0.1:53", false)).unwrap();
    drop(helper);
    assert!(host.dig("127.0.0.1", &["web.net.berth"]).contains("10.1.2.3"));
    let mut helper = Helper::adopt(&host.socket()).unwrap().unwrap();
    assert!(helper.is_current());
    assert_eq!(*helper.sockets(), config("127.0.0.1:53", false).sockets);
    // Its network has another address now.
    helper.configure(&config("127.0.0.2:53", false)).unwrap();
    assert!(host.dig("127.0.0.2", &["web.net.berth"]).contains("10.1.2.3"));
    assert!(!host.dig("127.0.0.1", &["web.net.berth", "+timeout=1"]).contains("10.1.2.3"));
    // Another has the place that it is to have: it stays where it is.
    host.serve("127.0.0.3", "192.0.2.3");
    let taken = helper.configure(&config("127.0.0.3:53", false)).unwrap_err();
    assert!(
        matches!(&taken, HelperError::Bind { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse)
    );
    assert!(host.dig("127.0.0.2", &["web.net.berth"]).contains("10.1.2.3"));
    helper.quit().unwrap();
    assert!(process.wait().unwrap().success());
    assert!(Helper::adopt(&host.socket()).unwrap().is_none());
}

#[test]
fn what_is_sent_to_the_loopback_is_relayed() {
    let host = Host::enter();
    let Started { mut helper, mut process } = Helper::start(&program(), &host.socket()).unwrap();
    let relay = |protocol, target: &str| {
        let address = "[::1]:80".parse().unwrap();
        (Socket { address, protocol, device: None }, target.parse().unwrap())
    };
    let config = |target: &str| {
        let relays = vec![relay(Protocol::Tcp, target), relay(Protocol::Udp, target)];
        Config {
            sockets: relays.iter().map(|(socket, _)| socket.clone()).collect(),
            relays,
            ..Config::default()
        }
    };
    helper.configure(&config("127.0.0.5:8080")).unwrap();
    let inside = UdpSocket::bind("127.0.0.5:8080").unwrap();
    inside.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    // Two senders, each with its own answer.
    let clients = [(); 2].map(|()| UdpSocket::bind("[::1]:0").unwrap());
    let mut buffer = [0; 64];
    for (client, word) in clients.iter().zip(["one", "two"]) {
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        client.connect("[::1]:80").unwrap();
        client.send(word.as_bytes()).unwrap();
    }
    for _ in 0..2 {
        let (length, from) = inside.recv_from(&mut buffer).unwrap();
        inside.send_to(&buffer[..length], from).unwrap();
    }
    for (client, word) in clients.iter().zip(["one", "two"]) {
        let length = client.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], word.as_bytes());
    }
    let listener = TcpListener::bind("127.0.0.5:8080").unwrap();
    let mut client = TcpStream::connect("[::1]:80").unwrap();
    let (mut served, _) = listener.accept().unwrap();
    // An open connection stays when the port leads elsewhere.
    helper.configure(&config("127.0.0.6:8080")).unwrap();
    client.write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut text = String::new();
    served.read_to_string(&mut text).unwrap();
    assert_eq!(text, "question");
    served.write_all(b"answer after the end of the question").unwrap();
    drop(served);
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    assert_eq!(text, "answer after the end of the question");
    // Nobody listens there.
    let mut refused = TcpStream::connect("[::1]:80").unwrap();
    assert_eq!(refused.read(&mut buffer).unwrap_or_default(), 0);
    helper.quit().unwrap();
    assert!(process.wait().unwrap().success());
    assert!(TcpStream::connect("[::1]:80").is_err());
}
