//! Beside Docker and firewalld: theirs goes on working, ours works where it can, and what blocks the rest is named.

use std::net::{Ipv4Addr, Ipv6Addr};

use berth_network::{
    bridge,
    check::{Severity, Subject, check},
    firewall::{HostPort, Protocol, Target},
    forwarding::Forwarding,
};
use berth_sys::netlink::Netlink;

use crate::world::{Agent, HOST, Instance, Netns, OUTSIDE, host_and_outside};

const HOST6: &str = "2001:db8::1";
const OUTSIDE6: &str = "2001:db8::2";

/// What Docker leaves: NAT for its bridge, a published port, and a policy of drop for what is forwarded.
const DOCKER: &str = r#"nft -f - <<'END'
table ip nat {
  chain DOCKER {
    iifname "docker0" return
    iifname != "docker0" tcp dport 9090 dnat to 172.17.0.2:80
  }
  chain PREROUTING { type nat hook prerouting priority dstnat; policy accept; fib daddr type local jump DOCKER; }
  chain OUTPUT { type nat hook output priority -100; policy accept; ip daddr != 127.0.0.0/8 fib daddr type local jump DOCKER; }
  chain POSTROUTING { type nat hook postrouting priority srcnat; policy accept; oifname != "docker0" ip saddr 172.17.0.0/16 masquerade; }
}
table ip filter {
  chain DOCKER-USER { return; }
  chain DOCKER { iifname != "docker0" oifname "docker0" ip daddr 172.17.0.2 tcp dport 80 accept; }
  chain DOCKER-ISOLATION-STAGE-1 {
    iifname "docker0" oifname != "docker0" jump DOCKER-ISOLATION-STAGE-2
    return
  }
  chain DOCKER-ISOLATION-STAGE-2 { oifname "docker0" drop; return; }
  chain FORWARD {
    type filter hook forward priority filter; policy drop;
    jump DOCKER-USER
    jump DOCKER-ISOLATION-STAGE-1
    oifname "docker0" ct state established,related accept
    oifname "docker0" jump DOCKER
    iifname "docker0" oifname != "docker0" accept
    iifname "docker0" oifname "docker0" accept
  }
}
table ip6 filter {
  chain DOCKER-USER { return; }
  chain FORWARD { type filter hook forward priority filter; policy drop; jump DOCKER-USER; }
}
END"#;

/// What firewalld leaves: zones by interface, and a rejection of what is in none that forwards.
const FIREWALLD: &str = r#"nft -f - <<'END'
table inet firewalld {
  chain filter_INPUT {
    type filter hook input priority filter + 10; policy accept;
    ct state established,related accept
    iifname "lo" accept
    iifname "docker0" accept
    meta l4proto { icmp, ipv6-icmp } accept
    tcp dport 22 accept
    iifname "eth0" reject with icmpx admin-prohibited
  }
  chain filter_FORWARD_ZONES { iifname "docker0" accept; oifname "docker0" accept; }
  chain filter_FORWARD {
    type filter hook forward priority filter + 10; policy accept;
    ct state { established, related } accept
    iifname "lo" accept
    jump filter_FORWARD_ZONES
    ct state invalid drop
    reject with icmpx admin-prohibited
  }
}
END"#;

fn facts(host: &Netns) -> String {
    // Counts of what passes, and what the kernel finds out by itself.
    let volatile = "nf_conntrack_count|nf_conntrack_max|random|route.gc|neigh.default.gc|dev_weight|\\.mtu";
    host.sh(&format!(
        "nft -s list ruleset; ip route show table all | grep -v '^local fe80:'; ip rule; ip -6 rule
         ip -o link | sed 's/ state .*//'; sysctl -a 2>/dev/null | grep ^net | grep -vE '{volatile}' | sort"
    ))
}

struct Beside {
    host: Netns,
    outside: Netns,
    container: Netns,
    shared: tempfile::TempDir,
}

impl Beside {
    fn new(tables: &[&str], bridged: &str) -> Self {
        let (host, outside) = host_and_outside();
        let container = Netns::new();
        host.set_sysctl("net/ipv4/ip_forward", "1");
        // Where this is on, what neighbours send each other passes the chains for what is forwarded as well.
        host.set_sysctl("net/bridge/bridge-nf-call-iptables", bridged);
        for (netns, address) in [(&host, HOST6), (&outside, OUTSIDE6)] {
            netns.sh(&format!("ip -6 address add {address}/64 dev eth0 nodad"));
        }
        host.plug_into(&container, "docker0", "172.17.0.1/16", "172.17.0.2/16");
        for table in tables {
            host.sh(table);
        }
        container.serve("172.17.0.2:80");
        outside.serve(&format!("{OUTSIDE}:80"));
        outside.serve(&format!("[{OUTSIDE6}]:80"));
        Self { host, outside, container, shared: tempfile::tempdir().unwrap() }
    }

    fn theirs_work(&self, when: &str) {
        assert_eq!(self.outside.ask(&format!("{HOST}:9090")).unwrap(), OUTSIDE.to_string(), "{when}");
        assert_eq!(self.container.ask(&format!("{OUTSIDE}:80")).unwrap(), HOST.to_string(), "{when}");
        assert!(self.host.ask("172.17.0.2:80").is_ok(), "{when}");
    }

    fn forwarding(&self, agent: &Agent) -> Forwarding {
        Forwarding::new(&self.shared.path().join("host"), &agent.prefix, &self.shared.path().join("lock"))
    }

    /// Ours, of both families, with a published port.
    fn begin(&self) -> (Agent, Instance, Instance) {
        let mut agent = Agent::new(&self.host, "test", "10.77.1.0/24");
        agent.bridge.gateway6 = Some("fd77::1/64".parse().unwrap());
        agent.desired.networks[0].ipv6 = Some("fd77::/64".parse().unwrap());
        self.host.run(|| {
            let (mut netlink, forwarding) = (Netlink::open().unwrap(), self.forwarding(&agent));
            bridge::ensure(&mut netlink, &agent.bridge).unwrap();
            forwarding.acquire(&mut netlink).unwrap();
            forwarding.acquire_ipv6().unwrap();
        });
        let (web, other) = (agent.instance(&self.host, 2), agent.instance(&self.host, 3));
        web.serve(80);
        let bridge = agent.bridge.name.clone();
        agent.desired.interfaces = [&web, &other].map(|instance| instance.interface(&bridge)).into();
        web.netns.sh("ip -6 address add fd77::2/64 dev eth0 nodad; ip -6 route add default via fd77::1");
        web.netns.serve("[fd77::2]:80");
        agent.desired.interfaces[0].addresses.push("fd77::2".parse().unwrap());
        let port = HostPort { address: Ipv6Addr::UNSPECIFIED.into(), protocol: Protocol::Tcp, port: 8080 };
        agent.desired.ports.insert(port, Target { address: "fd77::2".parse().unwrap(), port: 80 });
        agent.publish(&self.host, Ipv4Addr::UNSPECIFIED, 8080, &web, 80);
        (agent, web, other)
    }

    fn end(&self, agent: &Agent, instances: [Instance; 2]) {
        for instance in instances {
            // It goes with the namespace of its other end, now or in a moment.
            match self.host.netlink().delete_link(&instance.port) {
                Err(error) if !error.is_missing() => panic!("{error}"),
                _ => {}
            }
        }
        self.host.run(|| agent.firewall.remove().unwrap());
        self.host.run(|| bridge::remove(&mut Netlink::open().unwrap(), &agent.bridge.name).unwrap());
        self.host.run(|| self.forwarding(agent).release(&mut Netlink::open().unwrap()).unwrap());
    }
}

#[test]
fn theirs_goes_on_and_ours_works_where_it_can_and_nothing_is_left() {
    let beside = Beside::new(&[DOCKER, FIREWALLD], "0");
    beside.theirs_work("before");
    let before = facts(&beside.host);
    let (agent, web, other) = beside.begin();
    beside.theirs_work("beside ours");
    // What nobody forwards works beside any firewall.
    assert!(other.netns.ask("10.77.1.2:80").is_ok(), "neighbours");
    assert!(beside.host.ask("127.0.0.1:8080").is_ok(), "the host to a published port");
    assert!(beside.host.ask("[fd77::2]:80").is_ok(), "the host to an instance");
    for address in [format!("{HOST}:8080"), format!("[{HOST6}]:8080")] {
        assert!(beside.outside.ask_briefly(&address).is_err(), "theirs drops {address}");
    }
    beside.end(&agent, [web, other]);
    beside.theirs_work("after");
    let after = facts(&beside.host);
    let (before, after): (Vec<_>, Vec<_>) = (before.lines().collect(), after.lines().collect());
    let differing = |one: &[&str], other: &[&str]| -> Vec<String> {
        one.iter().filter(|line| !other.contains(line)).map(ToString::to_string).collect()
    };
    assert_eq!((differing(&before, &after), differing(&after, &before)), Default::default());
    assert_eq!(before, after, "in another order");
}

#[test]
fn what_blocks_is_named_and_its_advice_opens_it() {
    for (tables, named) in [
        (&[DOCKER][..], &["FORWARD of the table ip filter", "FORWARD of the table ip6 filter"][..]),
        (&[DOCKER, FIREWALLD][..], &["FORWARD of the table ip filter", "ip6 filter", "inet firewalld"][..]),
    ] {
        let beside = Beside::new(tables, "1");
        let (agent, web, other) = beside.begin();
        let (v4, v6) = (format!("{HOST}:8080"), format!("[{HOST6}]:8080"));
        assert!(beside.outside.ask_briefly(&v4).is_err() && beside.outside.ask_briefly(&v6).is_err());
        let findings = beside.host.run(|| check(&agent.prefix));
        let findings: Vec<_> =
            findings.into_iter().filter(|finding| finding.subject == Subject::ForeignFirewall).collect();
        assert_eq!(findings.len(), named.len(), "{findings:#?}");
        for (finding, named) in findings.iter().zip(named) {
            assert_eq!(finding.severity, Severity::Warning);
            assert!(finding.detail.contains(named), "{}", finding.detail);
            let fix = finding.fix.as_ref().unwrap();
            if fix.starts_with("firewall-cmd") {
                assert!(fix.contains(&agent.bridge.name), "{fix}");
                // What firewalld makes of it.
                let bridge = &agent.bridge.name;
                for side in ["iifname", "oifname"] {
                    beside.host.sh(&format!(
                        "nft add rule inet firewalld filter_FORWARD_ZONES {side} {bridge} accept"
                    ));
                }
            } else {
                beside.host.sh(fix);
            }
        }
        assert_eq!(beside.outside.ask(&v4).unwrap(), OUTSIDE.to_string());
        assert_eq!(beside.outside.ask(&v6).unwrap(), OUTSIDE6);
        assert_eq!(web.netns.ask(&format!("{OUTSIDE}:80")).unwrap(), HOST.to_string());
        assert_eq!(web.netns.ask(&format!("[{OUTSIDE6}]:80")).unwrap(), HOST6);
        beside.theirs_work("after the advice");
        assert!(other.netns.ask("10.77.1.2:80").is_ok(), "neighbours");
    }
}
