//! Plans and conversions of a network, without an agent.

use berth_proto::agent as wire;

use super::convert::{from_wire, to_spec};
use super::dhcp::DhcpModel;
use super::model::NetworkModel;
use super::plan::{create, needs_agent, update, validate};
use crate::attr::{Attr, list};
use crate::client::hosts::Setting;
use crate::report::Path;
use crate::resources::access::AccessRuleModel;
use crate::resources::labels::Labels;

fn config() -> NetworkModel {
    let rule = AccessRuleModel {
        protocol: Attr::from("tcp"),
        ports: list(["80-80".to_owned()]),
        cidr: Attr::from("FD00::/64"),
        ..AccessRuleModel::default()
    };
    NetworkModel {
        name: Attr::from("web"),
        ipv6_subnet: Attr::from("FD00:1::/64"),
        ingress: list([rule]),
        dhcp: Attr::Known(DhcpModel {
            ipv4_range: Attr::from("10.8.1.9 - 10.8.1.20"),
            lease_time: Attr::from("90s"),
        }),
        ..NetworkModel::default()
    }
}

/// As an agent answers.
fn network(config: &NetworkModel) -> wire::Network {
    let mut spec = to_spec(config, &Labels::new());
    spec.r#type = "bridge".to_owned();
    spec.ipv4_subnet = "10.8.1.0/24".to_owned();
    spec.ipv6_subnet = spec.ipv6_subnet.to_lowercase().replace("none", "");
    spec.nat = Some(spec.nat.unwrap_or(true));
    for rule in spec.ingress.iter_mut().flat_map(|rules| &mut rules.rules) {
        rule.ports = vec!["80".to_owned()];
        rule.cidr = rule.cidr.to_lowercase();
    }
    let bridge = "berthabcd1".to_owned();
    wire::Network { id: "one".to_owned(), bridge, spec: Some(spec), ..wire::Network::default() }
}

#[test]
fn a_second_plan_is_empty_and_keeps_every_spelling() {
    let defaults = Setting::Known(Labels::new());
    let none = NetworkModel { ipv6_subnet: Attr::from("none"), nat: Attr::Known(true), ..config() };
    for config in [config(), none] {
        let mut planned = create(&config, &defaults).model;
        assert_eq!(planned.ipv4_subnet, Attr::Unknown);
        let read = from_wire(&network(&config), Some(&planned), &Labels::new());
        crate::attr::Part::fill(&mut planned, read);
        let again = from_wire(&network(&config), Some(&planned), &Labels::new());
        assert_eq!(again, planned);
        let second = update(&planned, &config, &defaults, |_, _| true);
        assert_eq!((second.model.clone(), second.replaced_by), (planned.clone(), vec![]));
        assert!(!needs_agent(&planned, &second.model));
    }
}

#[test]
fn what_was_chosen_is_read_once_nothing_is_asked_for() {
    let defaults = Setting::Known(Labels::new());
    let chosen = |config: &NetworkModel| {
        let mut network = network(config);
        network.spec.as_mut().unwrap().ipv6_subnet = "fd00:7::/64".to_owned();
        network
    };
    let auto = NetworkModel { ipv6_subnet: Attr::from("auto"), ..config() };
    let prior = from_wire(&chosen(&auto), Some(&auto), &Labels::new());
    assert_eq!(prior.ipv6_subnet, Attr::from("auto"));
    let silent = NetworkModel { ipv6_subnet: Attr::Null, ..config() };
    assert_eq!(create(&silent, &defaults).model.ipv6_subnet, Attr::Unknown);
    let planned = update(&prior, &silent, &defaults, |_, _| true).model;
    assert_eq!(planned.ipv6_subnet, Attr::Unknown);
    let read = from_wire(&chosen(&silent), Some(&planned), &Labels::new());
    assert_eq!(read.ipv6_subnet, Attr::from("fd00:7::/64"));
    assert_eq!(update(&read, &silent, &defaults, |_, _| true).model.ipv6_subnet, read.ipv6_subnet);
}

#[test]
fn only_host_type_parent_and_vlan_replace() {
    let defaults = Setting::Known(Labels::new());
    let prior = from_wire(&network(&config()), Some(&config()), &Labels::new());
    let changed = NetworkModel {
        name: Attr::from("front"),
        isolated: Attr::Known(true),
        ipv4_subnet: Attr::from("10.9.0.0/24"),
        ..config()
    };
    let planned = update(&prior, &changed, &defaults, |one, other| one == other);
    assert_eq!(planned.replaced_by, []);
    assert!(needs_agent(&prior, &planned.model));
    let moved = NetworkModel {
        r#type: Attr::from("macvlan"),
        parent: Attr::from("eth0"),
        vlan: Attr::Known(7),
        host: Attr::from("a"),
        ..config()
    };
    let planned = update(&prior, &moved, &defaults, |one, other| one == other);
    assert_eq!(planned.replaced_by, ["host", "type", "parent", "vlan"].map(Path::at));
    let spelled = NetworkModel { r#type: Attr::from("bridge"), ..config() };
    assert_eq!(update(&prior, &spelled, &defaults, |_, _| true).replaced_by, []);
}

#[test]
fn mistakes_are_told_with_their_arguments() {
    let rule = AccessRuleModel {
        protocol: Attr::from("icmp"),
        ports: list(["9-1".to_owned()]),
        cidr: Attr::from("10.0.0.1/8"),
        network: Attr::from("web"),
        ..AccessRuleModel::default()
    };
    let bad = NetworkModel {
        name: Attr::from("-web"),
        parent: Attr::from("eth0"),
        vlan: Attr::Known(4095),
        ipv4_subnet: Attr::from("10.1.2.3/24"),
        ipv6_subnet: Attr::from("10.0.0.0/8"),
        mtu: Attr::Known(100),
        egress: list([rule]),
        ..NetworkModel::default()
    };
    let rule = || Path::at("egress").index(0);
    let expected = [
        Path::at("name"),
        Path::at("ipv4_subnet"),
        Path::at("ipv6_subnet"),
        Path::at("mtu"),
        Path::at("vlan"),
        Path::at("parent"),
        Path::at("vlan"),
        rule().attribute("ports"),
        rule().attribute("ports").index(0),
        rule().attribute("cidr"),
        rule(),
    ];
    let paths: Vec<_> = validate(&bad).into_iter().map(|found| found.path).collect();
    assert_eq!(paths, expected);
    assert!(validate(&config()).is_empty());
    let physical = NetworkModel {
        r#type: Attr::from("physical"),
        nat: Attr::Known(true),
        dhcp: Attr::Known(DhcpModel::default()),
        ..NetworkModel::default()
    };
    let paths: Vec<_> = validate(&physical).into_iter().map(|found| found.path).collect();
    assert_eq!(paths, ["parent", "nat", "dhcp"].map(Path::at));
}

#[test]
fn a_server_s_mistakes_are_told_where_they_are_known() {
    let network = |range: Attr<String>, time: Attr<String>, subnet: Attr<String>| NetworkModel {
        ipv4_subnet: subnet,
        dhcp: Attr::Known(DhcpModel { ipv4_range: range, lease_time: time }),
        ..config()
    };
    let subnet = || Attr::from("10.8.1.0/24");
    for (range, time, words) in [
        ("10.8.1.20-10.8.1.9", "1h", "ends before it begins"),
        ("10.8.1.20", "1h", "not a range"),
        ("10.8.1.1-10.8.1.9", "1h", "the host's own"),
        ("10.8.0.9-10.8.1.9", "1h", "10.8.0.9 is no address"),
        ("10.8.1.9-10.8.1.255", "1h", "10.8.1.255 is no address"),
        ("10.8.1.9-10.8.1.20", "59s", "out of range"),
        ("10.8.1.9-10.8.1.20", "1m0.5s", "out of range"),
        ("10.8.1.9-10.8.1.20", "60", "no unit"),
    ] {
        let [found] = &validate(&network(range.into(), time.into(), subnet()))[..] else {
            panic!("{range} {time}")
        };
        assert!(found.summary.contains(words), "{range} {time}: {}", found.summary);
        assert_eq!(found.path.to_string().split('.').next(), Some("dhcp"));
    }
    for subnet in [Attr::Null, Attr::Unknown, Attr::from("10.8.0.0/16")] {
        assert!(validate(&network("10.8.1.1-10.8.1.9".into(), Attr::Unknown, subnet)).is_empty());
    }
}
