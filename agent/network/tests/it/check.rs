//! What `berth check` says, and that what it advises helps.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use berth_network::check::{Finding, Severity, Subject, check};

use berth_sys::netlink::{LinkKind, Netlink};

use crate::world::{HOST, OUTSIDE, World};

const DOCKER: &str = r#"nft -f - <<'END'
table ip filter {
  chain DOCKER-USER {
    counter return
  }
  chain FORWARD {
    type filter hook forward priority 0; policy drop;
    counter jump DOCKER-USER
    iifname "docker0" accept
  }
}
END"#;

const STRICT: &str = r#"nft -f - <<'END'
table inet site {
  chain transit {
    type filter hook forward priority 10; policy accept;
    iifname "lan0" accept
    counter reject
  }
}
END"#;

/// As ufw and many a host's own rules are.
const SHUT: &str = r#"nft -f - <<'END'
table inet filter {
  chain input {
    type filter hook input priority 0; policy drop;
    ct state established,related accept
    iifname "lo" accept
  }
}
END"#;

fn find(world: &World, subject: Subject) -> Vec<Finding> {
    let findings = world.host.run(|| check(&world.agent.prefix));
    findings.into_iter().filter(|finding| finding.subject == subject).collect()
}

#[test]
fn a_host_that_has_everything_is_fine() {
    let world = World::new();
    let before = world.host.ruleset() + &world.host.sh("ip link");
    let findings = world.host.run(|| check(&world.agent.prefix));
    // Networks work without VLANs, which not every kernel has.
    let (vlan, others): (Vec<_>, Vec<_>) =
        findings.into_iter().partition(|finding| finding.subject == Subject::Vlan);
    assert!(others.iter().all(|finding| finding.severity == Severity::Fine), "{others:#?}");
    assert_eq!(others.len(), 6);
    let has = world.host.run(|| {
        let mut netlink = Netlink::open().unwrap();
        netlink.supports(LinkKind::Vlan).unwrap()
    });
    let said = vlan.iter().map(|finding| (finding.severity, finding.fix.is_some())).collect::<Vec<_>>();
    assert_eq!(said, [if has { (Severity::Fine, false) } else { (Severity::Warning, true) }], "{vlan:#?}");
    assert_eq!(world.host.ruleset() + &world.host.sh("ip link"), before, "it only looks");
}

#[test]
fn a_foreign_chain_that_drops_is_named_and_the_advice_opens_it() {
    for (setup, chain) in [
        (DOCKER, "the chain FORWARD of the table ip filter"),
        (STRICT, "the chain transit of the table inet site"),
    ] {
        let mut world = World::new();
        let web = world.instance(2);
        web.serve(80);
        world.publish(Ipv4Addr::UNSPECIFIED, 8080, &web, 80);
        world.outside.serve(&format!("{OUTSIDE}:80"));
        world.host.sh(setup);
        let (inward, outward) = (format!("{HOST}:8080"), format!("{OUTSIDE}:80"));
        assert!(world.outside.ask_briefly(&inward).is_err(), "it is blocked");

        let findings = find(&world, Subject::ForeignFirewall);
        let [finding] = findings.as_slice() else { panic!("{findings:#?}") };
        assert_eq!(finding.severity, Severity::Warning);
        assert!(finding.detail.starts_with(chain), "{}", finding.detail);

        world.host.sh(finding.fix.as_ref().unwrap());
        assert!(world.outside.ask(&inward).is_ok());
        assert!(web.netns.ask(&outward).is_ok());
        nothing_blocks(&world);
    }
}

/// What was opened is named no more.
fn nothing_blocks(world: &World) {
    let findings = find(world, Subject::ForeignFirewall);
    assert!(matches!(findings.as_slice(), [Finding { severity: Severity::Fine, .. }]), "{findings:#?}");
}

#[test]
fn a_host_that_answers_nobody_is_named_and_the_advice_lets_names_be_asked_for() {
    let mut world = World::new();
    let web = world.instance(2);
    let gateway = world.agent.bridge.gateway.addr();
    let [names, other] = [53, 80].map(|port| format!("{gateway}:{port}"));
    world.host.serve(&names);
    world.host.serve(&other);
    world.host.sh(SHUT);
    web.netns.hears_nothing_from(&names);
    let findings = find(&world, Subject::ForeignFirewall);
    let [finding] = findings.as_slice() else { panic!("{findings:#?}") };
    assert!(finding.detail.starts_with("the chain input of the table inet filter"), "{}", finding.detail);
    world.host.sh(finding.fix.as_ref().unwrap());
    assert!(web.netns.ask(&names).is_ok());
    web.netns.hears_nothing_from(&other);
    nothing_blocks(&world);
    // Who gives addresses is to be asked for them too.
    world.agent.desired.networks[0].dhcp = true;
    world.agent.apply(&world.host);
    let server = world.host.run(|| UdpSocket::bind("0.0.0.0:67").unwrap());
    server.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let ask = || {
        let question = "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 68)); s.sendto(b'x', ('{}', 67))";
        let question = question.replace("{}", &gateway.to_string());
        web.netns.sh(&format!("python3 -c \"import socket; {question}\""));
    };
    ask();
    assert!(server.recv(&mut [0; 8]).is_err(), "it is blocked");
    let findings = find(&world, Subject::ForeignFirewall);
    let [finding] = findings.as_slice() else { panic!("{findings:#?}") };
    assert!(finding.detail.contains("DHCP") && !finding.detail.contains("names"), "{}", finding.detail);
    world.host.sh(finding.fix.as_ref().unwrap());
    server.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    ask();
    assert_eq!(server.recv(&mut [0; 8]).unwrap(), 1);
    nothing_blocks(&world);
}

#[test]
fn forwarding_that_is_off_is_turned_on_by_the_agent() {
    let world = World::new();
    world.host.set_sysctl("net/ipv4/ip_forward", "0");
    let findings = find(&world, Subject::Forwarding);
    assert_eq!(findings[0].severity, Severity::Fine);
    assert_eq!(world.host.sysctl("net/ipv4/ip_forward"), "0", "it only looks");
}
