//! Leases of a real server, dnsmasq, on a network that each test has for itself. A second of the protocol is 20 ms long,
//! so that dnsmasq's shortest lease of two minutes ends after 2.4 s; dnsmasq itself goes by the real clock.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)] // Spawning dnsmasq is the test.

mod support;

use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::time::Duration;

use berth_runtime::client::Supervisor;
use berth_runtime::control::Event;
use berth_runtime::lease::{DhcpSpec, InterfaceStatus};
use berth_runtime::spec::{FileBind, InterfaceKind, InterfaceSpec, LaunchSpec};
use berth_sys::netlink::{BridgeSpec, Netlink};
use nix::sched::{CloneFlags, unshare};
use support::Instance;

struct Dnsmasq(Child);

impl Dnsmasq {
    fn start(directory: &Path, range: &str, more: &[&str]) -> Self {
        let file = |name: &str| directory.join(name).display().to_string();
        let mut command = Command::new("dnsmasq");
        command.args([
            "--keep-in-foreground",
            "--port=0",
            "--no-ping",
            "--interface=lan",
            "--bind-interfaces",
        ]);
        command.args(["--conf-file=/dev/null", "--user=root", "--group=root", "--dhcp-authoritative"]);
        command
            .arg(format!("--dhcp-leasefile={}", file("leases")))
            .arg(format!("--pid-file={}", file("pid")));
        command.arg(format!("--dhcp-range={range},255.255.255.0,120")).arg("--domain=lan.example");
        command.args(["--dhcp-option=option:dns-server,192.0.2.53", "--log-facility=/dev/null"]).args(more);
        Self(command.spawn().unwrap())
    }

    fn leases(directory: &Path) -> String {
        std::fs::read_to_string(directory.join("leases")).unwrap_or_default()
    }
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// From here on this thread, and what it spawns, are on a host of their own whose bridge is the physical network.
fn enter_own_host() {
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    let mut netlink = Netlink::open().unwrap();
    netlink.set_up("lo").unwrap();
    netlink.create_bridge(&BridgeSpec { name: "lan", mac: None, mtu: None }).unwrap();
    netlink.add_address("lan", "192.0.2.1".parse().unwrap(), 24).unwrap();
}

fn spec(instance: &Instance) -> LaunchSpec {
    let mut spec = instance.spec(&["sleep", "1000"]);
    let dhcp = DhcpSpec { default_route: true, dns: true, hostname: Some("web".into()), second_ms: Some(20) };
    spec.networks.push(InterfaceSpec {
        name: "eth0".into(),
        host_name: "vbtest0".into(),
        kind: InterfaceKind::Physical,
        bridge: "lan".into(),
        vlan: None,
        mac: "02:00:00:00:00:07".into(),
        ipv4_address: None,
        ipv4_prefix: 0,
        ipv4_gateway: None,
        ipv6_address: None,
        ipv6_prefix: 0,
        ipv6_gateway: None,
        dhcp: Some(dhcp),
        ipv6_autoconf: false,
        mtu: None,
    });
    let source = instance.directory.path().join("resolv.conf");
    std::fs::write(&source, "nameserver 203.0.113.1\n").unwrap();
    spec.files.push(FileBind { source, target: "/etc/resolv.conf".into(), read_only: false });
    spec
}

/// Waits until the interface is as a test wants it.
async fn until(supervisor: &Supervisor, wanted: impl Fn(&InterfaceStatus) -> bool) -> InterfaceStatus {
    let mut events = supervisor.watch().await.unwrap();
    let mut now = supervisor.status().await.unwrap().interfaces;
    let waited = async {
        loop {
            if wanted(&now[0]) {
                return now[0].clone();
            }
            loop {
                if let Event::Addresses { interfaces } = events.next().await.unwrap().unwrap() {
                    now = interfaces;
                    break;
                }
            }
        }
    };
    match tokio::time::timeout(Duration::from_secs(20), waited).await {
        Ok(status) => status,
        Err(_elapsed) => panic!("{:?}", supervisor.status().await.unwrap().interfaces),
    }
}

fn address(status: &InterfaceStatus) -> String {
    status.lease.as_ref().map(|lease| lease.address.to_string()).unwrap_or_default()
}

#[tokio::test]
async fn a_lease_is_taken_renewed_three_times_and_given_back() {
    enter_own_host();
    let instance = Instance::new();
    let place = instance.directory.path();
    let _server = Dnsmasq::start(place, "192.0.2.50,192.0.2.59", &[]);
    let mut spawned = instance.spawn(&spec(&instance)).await.unwrap();
    let taken = until(&spawned.supervisor, |status| status.lease.is_some()).await;
    let own = address(&taken);
    assert_eq!(taken.addresses, [format!("{own}/24")]);
    let script = "ip -4 -o addr show eth0; ip route; cat /etc/resolv.conf";
    let (code, output) = instance.exec(&spawned.supervisor, &["sh", "-c", script]).await;
    assert_eq!(code, 0, "{output}");
    let inet = format!("inet {own}/24");
    for part in [&inet, "default via 192.0.2.1 dev eth0", "search lan.example\nnameserver 192.0.2.53\n"] {
        assert!(output.contains(part), "no {part:?} in {output}");
    }
    assert!(Dnsmasq::leases(place).contains(&format!("02:00:00:00:00:07 {own} web ")));
    let renewed =
        until(&spawned.supervisor, |status| status.lease.as_ref().is_some_and(|lease| lease.renewals >= 3));
    let renewed = renewed.await;
    assert_eq!((address(&renewed), &renewed.trouble), (own.clone(), &None));
    spawned.supervisor.stop(true).await.unwrap();
    spawned.process.wait().await.unwrap();
    let end = std::time::Instant::now() + Duration::from_secs(5);
    while Dnsmasq::leases(place).contains(&own) {
        assert!(std::time::Instant::now() < end, "not given back: {}", Dnsmasq::leases(place));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // And asked for again.
    let mut spawned = instance.spawn(&spec(&instance)).await.unwrap();
    assert_eq!(address(&until(&spawned.supervisor, |status| status.lease.is_some()).await), own);
    spawned.supervisor.stop(true).await.unwrap();
    spawned.process.wait().await.unwrap();
    instance.assert_nothing_left();
}

#[tokio::test]
async fn a_server_that_changes_its_mind_gives_another_address() {
    enter_own_host();
    let instance = Instance::new();
    let place = instance.directory.path();
    let server = Dnsmasq::start(place, "192.0.2.50,192.0.2.59", &[]);
    let mut spawned = instance.spawn(&spec(&instance)).await.unwrap();
    until(&spawned.supervisor, |status| status.lease.is_some()).await;
    drop(server);
    std::fs::remove_file(place.join("leases")).unwrap();
    let _server = Dnsmasq::start(place, "192.0.2.150,192.0.2.159", &[]);
    let other = until(&spawned.supervisor, |status| address(status).starts_with("192.0.2.15")).await;
    let (_, output) = instance.exec(&spawned.supervisor, &["ip", "-4", "-o", "addr", "show", "eth0"]).await;
    assert!(output.contains(&address(&other)) && !output.contains("192.0.2.5"), "{output}");
    spawned.supervisor.stop(true).await.unwrap();
    spawned.process.wait().await.unwrap();
    instance.assert_nothing_left();
}

#[tokio::test]
async fn an_instance_runs_without_a_lease_and_gets_one_when_the_server_is_back() {
    enter_own_host();
    let instance = Instance::new();
    let place = instance.directory.path();
    let mut spawned = instance.spawn(&spec(&instance)).await.unwrap();
    let none = spawned.supervisor.status().await.unwrap().interfaces;
    assert_eq!((&none[0].lease, none[0].addresses.len()), (&None, 0));
    assert_eq!(none[0].trouble.as_deref(), Some("no server has answered so far"));
    let server = Dnsmasq::start(place, "192.0.2.50,192.0.2.59", &[]);
    let own = address(&until(&spawned.supervisor, |status| status.lease.is_some()).await);
    drop(server);
    let lost = until(&spawned.supervisor, |status| status.lease.is_none()).await;
    assert_eq!(lost.addresses, [] as [String; 0], "an address is not used beyond its time");
    assert_eq!(lost.trouble.as_deref(), Some("no server renewed the lease before its end"));
    let _server = Dnsmasq::start(place, "192.0.2.50,192.0.2.59", &[]);
    assert_eq!(address(&until(&spawned.supervisor, |status| status.lease.is_some()).await), own);
    spawned.supervisor.stop(true).await.unwrap();
    spawned.process.wait().await.unwrap();
    instance.assert_nothing_left();
}

#[tokio::test]
async fn an_address_that_a_router_announces_is_told_of() {
    enter_own_host();
    Netlink::open().unwrap().add_address("lan", "2001:db8:1::1".parse().unwrap(), 64).unwrap();
    let instance = Instance::new();
    let announce = ["--enable-ra", "--dhcp-range=2001:db8:1::,ra-only", "--ra-param=lan,10"];
    let _server = Dnsmasq::start(instance.directory.path(), "192.0.2.50,192.0.2.59", &announce);
    let mut spec = spec(&instance);
    spec.networks[0].ipv6_autoconf = true;
    let mut spawned = instance.spawn(&spec).await.unwrap();
    let own = |status: &InterfaceStatus| {
        status.addresses.iter().find(|address| address.starts_with("2001:db8:1:")).cloned()
    };
    let told = own(&until(&spawned.supervisor, |status| own(status).is_some()).await).unwrap();
    let script = "ip -6 -o addr show eth0; ip -6 route";
    let (_, output) = instance.exec(&spawned.supervisor, &["sh", "-c", script]).await;
    assert!(output.contains(&told) && output.contains("default via fe80:"), "{output}");
    spawned.supervisor.stop(true).await.unwrap();
    spawned.process.wait().await.unwrap();
    instance.assert_nothing_left();
}

/// A server that says what a test tells it to: for how long it offers, and what it answers to a request.
struct Liar {
    seconds: AtomicU32,
    verdict: AtomicU8,
}

const ACK: u8 = 5;
const NAK: u8 = 6;

impl Liar {
    fn start(seconds: u32, verdict: u8) -> Arc<Self> {
        let liar = Arc::new(Self { seconds: seconds.into(), verdict: verdict.into() });
        let socket = UdpSocket::bind("0.0.0.0:67").unwrap();
        socket.set_broadcast(true).unwrap();
        let server = Arc::clone(&liar);
        // It ends with the test's process.
        std::thread::spawn(move || {
            let mut buffer = [0; 1500];
            while let Ok(length) = socket.recv(&mut buffer) {
                // The first option says what is asked for: 1 is a discovery, 3 a request.
                let kind = match buffer[242] {
                    1 => 2,
                    3 => server.verdict.load(Ordering::SeqCst),
                    _ => continue,
                };
                let answer = server.answer(&buffer[..length], kind);
                socket.send_to(&answer, "192.0.2.255:68").unwrap();
            }
        });
        liar
    }

    fn answer(&self, query: &[u8], kind: u8) -> Vec<u8> {
        let mut answer = query[..240].to_vec();
        answer[0] = 2;
        answer[16..20].copy_from_slice(&[192, 0, 2, 66]);
        answer.extend([53, 1, kind, 54, 4, 192, 0, 2, 1, 1, 4, 255, 255, 255, 0, 51, 4]);
        answer.extend(self.seconds.load(Ordering::SeqCst).to_be_bytes());
        answer.push(255);
        answer
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_server_is_told_until_it_is_right() {
    enter_own_host();
    let instance = Instance::new();
    let liar = Liar::start(1, NAK);
    let mut spawned = instance.spawn(&spec(&instance)).await.unwrap();
    let says = |words: &'static str| {
        move |status: &InterfaceStatus| status.trouble.as_ref().is_some_and(|trouble| trouble.contains(words))
    };
    let short = until(&spawned.supervisor, says("a lease of 1 s is too short")).await;
    assert_eq!((&short.lease, short.addresses.len()), (&None, 0));
    liar.seconds.store(120, Ordering::SeqCst);
    let refused = until(&spawned.supervisor, says("the server takes the address back")).await;
    assert_eq!((&refused.lease, refused.addresses.len()), (&None, 0));
    liar.verdict.store(ACK, Ordering::SeqCst);
    let given = until(&spawned.supervisor, |status| status.lease.is_some()).await;
    assert_eq!((given.addresses.as_slice(), given.trouble), (&["192.0.2.66/24".to_owned()][..], None));
    spawned.supervisor.stop(true).await.unwrap();
    spawned.process.wait().await.unwrap();
    instance.assert_nothing_left();
}
