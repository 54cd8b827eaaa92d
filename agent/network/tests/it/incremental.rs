//! Tables that were changed step by step are those that would be made at once: whatever is changed, in whatever order.

use std::collections::BTreeMap;

use berth_network::firewall::{
    Access, AccessProtocol, AccessRule, Desired, HostPort, Interface, Protocol, Target,
};
use berth_sys::netlink::MacAddress;
use serde_json::Value;

use crate::world::{Agent, Netns};

const STEPS: usize = 60;
/// How often they are compared: nft takes its time.
const APART: usize = 5;

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
        match self.below(12) {
            0 => desired.networks[0].access = self.access(),
            1 => desired.networks[0].isolated ^= true,
            2 => desired.networks[0].nat ^= true,
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

/// What nft shows, but for handles, and the order of what has none. A set of one is that one.
fn shown(host: &Netns) -> Vec<String> {
    let listed: Value = serde_json::from_str(&host.ruleset()).unwrap();
    let objects = listed["nftables"].as_array().unwrap();
    let mut chains: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut others = Vec::new();
    for object in objects {
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

fn plain(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Object(fields) => {
            if let Some([one]) = fields.get("set").and_then(Value::as_array).map(Vec::as_slice) {
                return plain(one);
            }
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

#[test]
fn whatever_was_changed_the_tables_are_those_that_would_be_made_at_once() {
    for seed in [1, 2] {
        let (host, fresh) = (Netns::new(), Netns::new());
        let mut agent = Agent::new(&host, "test", "10.77.1.0/24");
        agent.desired.networks[0].ipv6 = Some("fd77::/64".parse().unwrap());
        agent.apply(&host);
        let mut random = Random(seed * 0x9e37_79b9_7f4a_7c15);
        for step in 0..STEPS {
            let before = agent.desired.clone();
            random.step(&mut agent.desired);
            let (firewall, desired) = (&agent.firewall, &agent.desired);
            let changed = host.run(|| firewall.change(&before, desired));
            let at = || format!("seed {seed}, step {step}: from {before:#?}\nto {desired:#?}");
            if let Err(error) = changed {
                panic!("{error}: {:?}\n{}", std::error::Error::source(&error).unwrap(), at());
            }
            if step % APART == APART - 1 {
                agent.apply(&fresh);
                assert_eq!(shown(&host), shown(&fresh), "{}", at());
            }
        }
    }
}
