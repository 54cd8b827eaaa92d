//! A host, somebody outside of it, and instances, as network namespaces.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd,
    process::Command,
    thread,
    time::Duration,
};

use berth_network::{
    Ipv4Net, Prefix,
    bridge::{self, Bridge},
    firewall::{Access, Desired, Firewall, HostPort, Interface, Network, Protocol, Target},
    nft::Nft,
};
use berth_sys::netlink::{Namespace, Netlink, VethEnd, VethSpec};
use nix::sched::{CloneFlags, setns, unshare};

/// What an answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a packet that is dropped is waited for.
const SILENCE: Duration = Duration::from_millis(400);

/// The host's address towards the outside, and that of somebody there.
pub const HOST: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
pub const OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);

/// A network namespace, alive as long as this.
pub struct Netns(File);

impl Netns {
    pub fn new() -> Self {
        let created = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            Netlink::open().unwrap().set_up("lo").unwrap();
            Self(File::open("/proc/thread-self/ns/net").unwrap())
        });
        created.join().unwrap()
    }

    /// Runs `body` on a thread inside.
    pub fn run<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&self.0, CloneFlags::CLONE_NEWNET).unwrap();
                body()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    pub fn netlink(&self) -> Netlink {
        self.run(|| Netlink::open().unwrap())
    }

    /// What a shell command prints, run inside.
    pub fn sh(&self, command: &str) -> String {
        self.run(|| {
            let output = Command::new("sh").args(["-ec", command]).output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{command}: {stderr}");
            String::from_utf8(output.stdout).unwrap()
        })
    }

    pub fn sysctl(&self, name: &str) -> String {
        self.run(|| fs::read_to_string(format!("/proc/sys/{name}")).unwrap().trim_end().to_owned())
    }

    pub fn set_sysctl(&self, name: &str, value: &str) {
        self.run(|| fs::write(format!("/proc/sys/{name}"), value).unwrap());
    }

    /// Everything that nft shows, handles and all.
    pub fn ruleset(&self) -> String {
        self.sh("nft -j list ruleset")
    }

    /// A bridge of somebody else's, with one namespace on it.
    pub fn plug_into(&self, other: &Self, bridge: &str, own: &str, theirs: &str) {
        self.sh(&format!(
            "ip link add {bridge} type bridge; ip address add {own} dev {bridge}; ip link set {bridge} up"
        ));
        let spec = VethSpec {
            host: VethEnd { name: "theirs0", mac: None },
            master: Some(bridge),
            peer: VethEnd { name: "eth0", mac: None },
            peer_namespace: Some(Namespace::Fd(other.0.as_fd())),
            mtu: None,
        };
        self.netlink().create_veth(&spec).unwrap();
        let gateway = own.split('/').next().unwrap();
        other.sh(&format!(
            "ip link set eth0 up; ip address add {theirs} dev eth0; ip route add default via {gateway}"
        ));
    }

    /// Serves TCP inside: answers each connection with the client's address. It ends with the test's process.
    pub fn serve(&self, address: &str) {
        let listener = self.run(|| TcpListener::bind(address).unwrap());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let peer = stream.peer_addr().unwrap().ip().to_string();
                let _ = stream.write_all(peer.as_bytes());
            }
        });
    }

    /// What the server at `address` says of who asks.
    pub fn ask(&self, address: &str) -> io::Result<String> {
        self.ask_within(address, PATIENCE)
    }

    /// As [`Netns::ask`], for what is expected to get no answer.
    pub fn ask_briefly(&self, address: &str) -> io::Result<String> {
        self.ask_within(address, SILENCE)
    }

    /// Asserts that a connection gets no answer at all.
    pub fn hears_nothing_from(&self, address: &str) {
        let error = self.ask_within(address, SILENCE).expect_err(address);
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{address}: {error}");
    }

    fn ask_within(&self, address: &str, patience: Duration) -> io::Result<String> {
        let address: SocketAddr = address.parse().unwrap();
        self.run(|| {
            let mut stream = TcpStream::connect_timeout(&address, patience)?;
            stream.set_read_timeout(Some(patience))?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        })
    }
}

/// A host with one agent's network on it.
pub struct World {
    pub host: Netns,
    pub outside: Netns,
    pub agent: Agent,
}

/// What one agent has on the host.
pub struct Agent {
    pub prefix: Prefix,
    pub bridge: Bridge,
    pub subnet: Ipv4Net,
    pub firewall: Firewall,
    pub desired: Desired,
}

impl World {
    /// A host that forwards, with somebody outside, and an agent whose table is applied.
    pub fn new() -> Self {
        let (host, outside) = host_and_outside();
        host.set_sysctl("net/ipv4/ip_forward", "1");
        let agent = Agent::new(&host, "test", "10.77.1.0/24");
        Self { host, outside, agent }
    }

    pub fn instance(&self, number: u8) -> Instance {
        self.agent.instance(&self.host, number)
    }

    /// Publishes and applies the whole table.
    pub fn publish(&mut self, address: Ipv4Addr, port: u16, instance: &Instance, to: u16) {
        self.agent.publish(&self.host, address, port, instance, to);
    }
}

/// A host and somebody on its outer network. It has a default route, as a host has.
pub fn host_and_outside() -> (Netns, Netns) {
    let (host, outside) = (Netns::new(), Netns::new());
    let end = |name| VethEnd { name, mac: None };
    let spec = VethSpec {
        host: end("eth0"),
        master: None,
        peer: end("eth0"),
        peer_namespace: Some(Namespace::Fd(outside.0.as_fd())),
        mtu: None,
    };
    host.netlink().create_veth(&spec).unwrap();
    host.netlink().add_address("eth0", HOST.into(), 24).unwrap();
    let mut beyond = outside.netlink();
    beyond.add_address("eth0", OUTSIDE.into(), 24).unwrap();
    beyond.set_up("eth0").unwrap();
    host.netlink().add_default_route(OUTSIDE.into(), "eth0").unwrap();
    (host, outside)
}

impl Agent {
    pub fn new(host: &Netns, prefix: &str, subnet: &str) -> Self {
        let prefix = Prefix::new(prefix).unwrap();
        let subnet: Ipv4Net = subnet.parse().unwrap();
        let bridge = Bridge::new(prefix.bridge(0), subnet);
        host.run(|| bridge::ensure(&mut Netlink::open().unwrap(), &bridge)).unwrap();
        let firewall = Firewall::new(Nft::find().unwrap(), &prefix);
        let network = Network::new(bridge.name.clone(), subnet);
        let desired = Desired { networks: vec![network], ..Desired::default() };
        let agent = Self { prefix, bridge, subnet, firewall, desired };
        agent.apply(host);
        agent
    }

    /// Publishes and applies the whole table.
    pub fn publish(&mut self, host: &Netns, address: Ipv4Addr, port: u16, instance: &Instance, to: u16) {
        let port = HostPort { address: address.into(), protocol: Protocol::Tcp, port };
        self.desired.ports.insert(port, Target { address: instance.address.into(), port: to });
        self.apply(host);
    }

    pub fn apply(&self, host: &Netns) {
        host.run(|| self.firewall.apply(&self.desired).unwrap());
    }

    /// An instance on the agent's bridge, at the network's address `number`.
    pub fn instance(&self, host: &Netns, number: u8) -> Instance {
        let netns = Netns::new();
        let host_end = format!("v{}{number}", self.prefix);
        let spec = VethSpec {
            host: VethEnd { name: &host_end, mac: None },
            master: Some(&self.bridge.name),
            peer: VethEnd { name: "eth0", mac: None },
            peer_namespace: Some(Namespace::Fd(netns.0.as_fd())),
            mtu: None,
        };
        host.netlink().create_veth(&spec).unwrap();
        let address = self.subnet.hosts().nth(usize::from(number) - 1).unwrap();
        let mut inside = netns.netlink();
        inside.set_up("eth0").unwrap();
        inside.add_address("eth0", address.into(), self.subnet.prefix_len()).unwrap();
        inside.add_default_route(self.bridge.gateway.addr().into(), "eth0").unwrap();
        Instance { netns, address, port: host_end }
    }
}

pub struct Instance {
    pub netns: Netns,
    pub address: Ipv4Addr,
    /// The host's end.
    pub port: String,
}

impl Instance {
    /// Itself as the rules know it, with no lists.
    pub fn interface(&self, bridge: &str) -> Interface {
        let mac = self.netns.netlink().link("eth0").unwrap().unwrap().mac.unwrap();
        let addresses = vec![self.address.into()];
        let access = Access::default();
        Interface { name: self.port.clone(), bridge: bridge.to_owned(), mac, addresses, access }
    }

    /// Serves at this port of the instance.
    pub fn serve(&self, port: u16) {
        self.netns.serve(&format!("{}:{port}", self.address));
    }
}
