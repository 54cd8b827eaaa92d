//! Against the kernel, in network namespaces that vanish with the test: whatever is made or changed by netlink, in whatever
//! order, is what nft makes of the same JSON at once.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Write,
    process::{Command, Stdio},
    thread,
};

use berth_sys::netlink::MacAddress;
use nix::sched::{CloneFlags, setns, unshare};
use serde_json::Value;

use super::super::{
    Access, AccessProtocol, AccessRule, Desired, Firewall, HostPort, Interface, Network, Protocol, State,
    Table, Target, document, tables,
};
use crate::{Prefix, nft::Nft};

const STEPS: usize = 60;
/// How often they are compared: nft takes its time.
const APART: usize = 5;

/// A network namespace, alive as long as this.
struct Netns(File);

impl Netns {
    fn new() -> Self {
        let created = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            Self(File::open("/proc/thread-self/ns/net").unwrap())
        });
        created.join().unwrap()
    }

    /// Runs `body` on a thread inside.
    fn run<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&self.0, CloneFlags::CLONE_NEWNET).unwrap();
                body()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// What nft shows, but for handles, and the order of what has none.
    fn shown(&self) -> Vec<String> {
        let listed = Nft::find().unwrap();
        let objects = self.run(|| listed.list(&["ruleset"])).unwrap().unwrap();
        let mut chains: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut others = Vec::new();
        for object in &objects {
            let object = plain(object);
            match object.get("rule") {
                Some(rule) => {
                    let chain = format!("{} {}", rule["family"], rule["chain"]);
                    chains.entry(chain).or_default().push(rule.to_string());
                }
                None => others.push(object.to_string()),
            }
        }
        others.sort();
        others.extend(chains.into_values().flatten());
        others
    }
}

fn plain(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(name, _)| *name != "handle");
            let kept = kept.map(|(name, value)| {
                let mut value = plain(value);
                if let ("elem" | "set", Value::Array(items)) = (name.as_str(), &mut value) {
                    items.sort_by_key(Value::to_string);
                }
                (name.clone(), value)
            });
            Value::Object(kept.collect())
        }
        other => other.clone(),
    }
}

/// What nft shows of the tables that it made itself.
fn made_by_nft(desired: &Desired) -> Vec<String> {
    let host = Netns::new();
    let commands = document(tables("berthtest", desired).iter().flat_map(Table::replace).collect());
    host.run(|| {
        let nft = Nft::find().unwrap();
        let mut child =
            Command::new(nft.program()).args(["-j", "-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(commands.to_string().as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    });
    host.shown()
}

fn firewall() -> Firewall {
    Firewall::new(Nft::find().unwrap(), &Prefix::new("test").unwrap())
}

#[track_caller]
fn assert_shown(shown: &[String], expected: &[String], at: &str) {
    let without = |these: &[String], others: &[String]| {
        these.iter().filter(|one| !others.contains(one)).cloned().collect::<Vec<_>>().join("\n")
    };
    assert!(
        shown == expected,
        "{at}\nby netlink alone:\n{}\nby nft alone:\n{}",
        without(shown, expected),
        without(expected, shown)
    );
}

fn network(bridge: &str, ipv4: &str) -> Network {
    Network::new(bridge.to_owned(), ipv4.parse().unwrap())
}

fn interface(number: u8, bridge: &str, addresses: &[&str]) -> Interface {
    Interface {
        name: format!("v{number}"),
        bridge: bridge.to_owned(),
        mac: MacAddress([2, 0, 0, 0, 0, number]),
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        access: Access::default(),
    }
}

fn rules() -> Vec<AccessRule> {
    let peers = ["10.0.0.0/8", "172.16.0.0/12", "192.0.2.7/32", "fd01::1/128"];
    let some = AccessRule {
        protocol: Some(AccessProtocol::Tcp),
        ports: vec![80..=80, 8000..=8010],
        peers: Some(peers.iter().map(|peer| peer.parse().unwrap()).collect()),
    };
    let one = AccessRule {
        protocol: Some(AccessProtocol::Udp),
        ports: vec![5000..=5009],
        peers: Some(vec!["10.128.0.0/9".parse().unwrap()]),
    };
    vec![some, one, AccessRule { protocol: Some(AccessProtocol::Icmp), ..AccessRule::default() }]
}

/// States that differ by what a network is, and by what is there at all.
fn states() -> Vec<(&'static str, Desired)> {
    type Edit = fn(&mut Desired);
    let edits: [(&str, Edit); 14] = [
        ("a network", |_| {}),
        ("nothing", |desired| *desired = Desired::default()),
        ("no NAT", |desired| desired.networks[0].nat = false),
        ("isolated", |desired| desired.networks[0].isolated = true),
        ("IPv6", |desired| desired.networks[0].ipv6 = Some("fd77::/64".parse().unwrap())),
        ("IPv6 alone", |desired| {
            desired.networks[0].ipv6 = Some("fd77::/49".parse().unwrap());
            desired.networks[0].ipv4 = None;
            desired.interfaces = vec![interface(4, "b0", &["fd77::4"])];
        }),
        ("DHCP", |desired| {
            desired.networks[0].dhcp = true;
            desired.interfaces = vec![interface(2, "b0", &["10.77.1.2"]), interface(3, "b0", &[])];
        }),
        ("two networks", |desired| {
            desired.networks.push(Network { dhcp: true, ..network("b1", "10.80.0.0/18") });
            desired.interfaces = vec![interface(2, "b0", &["10.77.1.2", "fd77::2"]), interface(5, "b1", &[])];
        }),
        ("lists of the network", |desired| {
            desired.networks[0].access = Access { ingress: Some(rules()), egress: Some(Vec::new()) };
        }),
        ("what may come in", |desired| {
            desired.interfaces = vec![interface(2, "b0", &["10.77.1.2", "fd77::2"])];
            desired.interfaces[0].access.ingress = Some(rules());
        }),
        ("what may go out", |desired| {
            desired.networks[0].dhcp = true;
            desired.interfaces = vec![interface(2, "b0", &["10.77.1.2"])];
            desired.interfaces[0].access.egress = Some(rules());
        }),
        ("lists of two", |desired| {
            desired.interfaces = vec![interface(2, "b0", &["10.77.1.2"]), interface(3, "b0", &["fd77::3"])];
            desired.interfaces[0].access.egress = Some(rules());
            desired.interfaces[1].access = Access { ingress: Some(rules()), egress: Some(rules()) };
        }),
        ("ports", publish),
        ("all", |desired| {
            let own = Access { ingress: Some(rules()), egress: Some(rules()) };
            desired.networks[0] = Network {
                ipv6: Some("fd77::/64".parse().unwrap()),
                isolated: true,
                dhcp: true,
                access: own.clone(),
                ..network("b0", "10.0.0.0/8")
            };
            desired.interfaces = vec![interface(2, "b0", &["10.77.1.2", "fd77::2"])];
            desired.interfaces[0].access = own;
            publish(desired);
        }),
    ];
    let state = |(what, edit): (_, Edit)| {
        let mut desired = Desired { networks: vec![network("b0", "10.77.1.0/24")], ..Desired::default() };
        edit(&mut desired);
        (what, desired)
    };
    edits.into_iter().map(state).collect()
}

fn publish(desired: &mut Desired) {
    for (number, address) in (0..).zip(["0.0.0.0", "127.0.0.1", "203.0.113.1", "::", "::1", "2001:db8::1"]) {
        let address: std::net::IpAddr = address.parse().unwrap();
        let to = if address.is_ipv4() { "10.77.1.2" } else { "fd77::2" };
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let target = Target { address: to.parse().unwrap(), port: 80 + number };
            desired.ports.insert(HostPort { address, protocol, port: 8080 }, target);
        }
    }
}

#[test]
fn every_table_is_as_nft_makes_it_and_every_change_leads_to_it() {
    let states = states();
    let (host, firewall) = (Netns::new(), firewall());
    let expected: Vec<_> = states.iter().map(|(_, desired)| made_by_nft(desired)).collect();
    for ((what, desired), expected) in states.iter().zip(&expected) {
        host.run(|| firewall.apply(desired)).unwrap();
        assert_shown(&host.shown(), expected, what);
        assert_eq!(host.run(|| firewall.observe(desired)).unwrap(), State::AsDesired, "{what}");
    }
    // Each way and back: what is left over of one would be there in the end.
    for ((before, from), left) in states.iter().zip(&expected).step_by(2) {
        host.run(|| firewall.apply(from)).unwrap();
        for ((after, to), expected) in states.iter().zip(&expected) {
            let at = format!("from {before} to {after}");
            let there = host.run(|| firewall.change(from, to));
            there.unwrap_or_else(|error| panic!("{at}: {error}: {:?}", error.source));
            assert!(host.run(|| firewall.is_untouched()), "{at}");
            assert_shown(&host.shown(), expected, &at);
            host.run(|| firewall.change(to, from)).unwrap();
        }
        assert_shown(&host.shown(), left, before);
    }
    host.run(|| firewall.remove()).unwrap();
    host.run(|| firewall.remove()).unwrap();
    assert_shown(&host.shown(), &Netns::new().shown(), "removed");
}

/// Numbers that follow from a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn port(&mut self) -> u16 {
        // Both ends of what there is, and few between, so that ranges touch.
        [0, 1, 79, 80, 81, 443, 65_534, 65_535][self.below(8) as usize]
    }

    fn rule(&mut self) -> AccessRule {
        let protocols =
            [None, Some(AccessProtocol::Tcp), Some(AccessProtocol::Udp), Some(AccessProtocol::Icmp)];
        let ports = (0..self.below(4)).map(|_| {
            let (one, other) = (self.port(), self.port());
            one.min(other)..=one.max(other)
        });
        let ports = ports.collect();
        let nets = [
            "0.0.0.0/0",
            "10.77.1.2/32",
            "10.77.1.3/32",
            "10.0.0.0/9",
            "10.128.0.0/9",
            "192.0.2.7/32",
            "255.255.255.255/32",
            "::/0",
            "fd77::2/128",
            "fd77::3/128",
            "fd78::/16",
        ];
        let peers = (0..self.below(5)).map(|_| nets[self.below(nets.len() as u64) as usize].parse().unwrap());
        let peers: Vec<_> = peers.collect();
        let peers = (self.below(3) > 0).then_some(peers);
        AccessRule { protocol: protocols[self.below(4) as usize], ports, peers }
    }

    fn list(&mut self) -> Option<Vec<AccessRule>> {
        (self.below(2) == 0).then(|| (0..self.below(4)).map(|_| self.rule()).collect())
    }

    fn access(&mut self) -> Access {
        Access { ingress: self.list(), egress: self.list() }
    }

    fn interface(&mut self, number: u8, bridge: &str) -> Interface {
        let mut addresses = vec![format!("10.77.1.{number}").parse().unwrap()];
        if self.below(2) == 0 {
            addresses.push(format!("fd77::{number}").parse().unwrap());
        }
        let mac = MacAddress([2, 0, 0, 0, self.below(2) as u8, number]);
        let (name, bridge) = (format!("v{number}"), bridge.to_owned());
        Interface { name, bridge, mac, addresses, access: self.access() }
    }

    fn publish(&mut self, ports: &mut BTreeMap<HostPort, Target>) {
        let addresses = ["0.0.0.0", "127.0.0.1", "203.0.113.1", "::", "2001:db8::1"];
        let address = addresses[self.below(5) as usize].parse().unwrap();
        let protocol = if self.below(2) == 0 { Protocol::Tcp } else { Protocol::Udp };
        let port = HostPort { address, protocol, port: 8000 + self.below(3) as u16 };
        let to = if port.address.is_ipv4() { "10.77.1.2" } else { "fd77::2" };
        let target = Target { address: to.parse().unwrap(), port: 1 + self.below(65_535) as u16 };
        if ports.remove(&port).is_none() || self.below(2) == 0 {
            ports.insert(port, target);
        }
    }

    fn step(&mut self, desired: &mut Desired) {
        let bridge = desired.networks[0].bridge.clone();
        match self.below(14) {
            0 => desired.networks[0].access = self.access(),
            1 => desired.networks[0].isolated ^= true,
            2 => desired.networks[0].nat ^= true,
            12 => desired.networks[0].dhcp ^= true,
            13 => {
                let ipv6 = desired.networks[0].ipv6.is_none().then(|| "fd77::/64".parse().unwrap());
                desired.networks[0].ipv6 = ipv6;
            }
            3..=5 => self.publish(&mut desired.ports),
            6..=8 => {
                let number = 2 + self.below(5) as u8;
                let name = format!("v{number}");
                let before = desired.interfaces.len();
                desired.interfaces.retain(|interface| interface.name != name);
                if desired.interfaces.len() == before || self.below(2) == 0 {
                    let new = self.interface(number, &bridge);
                    desired.interfaces.push(new);
                }
            }
            _ => {
                let count = desired.interfaces.len() as u64;
                if count > 0 {
                    let which = self.below(count) as usize;
                    desired.interfaces[which].access = self.access();
                }
            }
        }
    }
}

#[test]
fn whatever_was_changed_the_tables_are_those_that_nft_would_make_at_once() {
    for seed in [1, 2] {
        let (host, firewall) = (Netns::new(), firewall());
        let mut desired = Desired { networks: vec![network("b0", "10.77.1.0/24")], ..Desired::default() };
        host.run(|| firewall.apply(&desired)).unwrap();
        let mut random = Random(seed * 0x9e37_79b9_7f4a_7c15);
        for step in 0..STEPS {
            let before = desired.clone();
            random.step(&mut desired);
            let changed = host.run(|| firewall.change(&before, &desired));
            let at = || format!("seed {seed}, step {step}: from {before:#?}\nto {desired:#?}");
            changed.unwrap_or_else(|error| panic!("{error}: {:?}\n{}", error.source, at()));
            if step % APART == APART - 1 {
                assert_shown(&host.shown(), &made_by_nft(&desired), &at());
            }
        }
    }
}
