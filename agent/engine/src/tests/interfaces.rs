//! Interfaces of instances: on several networks, changed while they run, with addresses that stay.

use std::collections::BTreeMap;
use std::time::Duration;

use berth_domain::{InstanceDraft, InterfaceDraft, NetworkDraft, Status};

use crate::network_error::NetworkFault;
use crate::ports::runtime::InterfaceState;
use crate::tests::support::{Life, WEB, WEB2, World, draft};
use crate::view::InstanceView;
use crate::wait::Condition;
use crate::{EngineError, Reason, Reporter};

fn on(network: &str) -> InterfaceDraft {
    InterfaceDraft { network: network.to_owned(), ..InterfaceDraft::default() }
}

fn at(network: &str, address: &str) -> InterfaceDraft {
    InterfaceDraft { ipv4_address: address.to_owned(), ..on(network) }
}

fn with(name: &str, interfaces: &[(&str, InterfaceDraft)]) -> InstanceDraft {
    let networks = interfaces.iter().map(|(name, draft)| ((*name).to_owned(), draft.clone()));
    InstanceDraft { networks: Some(networks.collect()), ports: BTreeMap::new(), ..draft(name, WEB) }
}

fn network(life: &Life, name: &str, subnet: &str) -> crate::view::NetworkView {
    let draft =
        NetworkDraft { name: name.to_owned(), ipv4_subnet: subnet.to_owned(), ..NetworkDraft::default() };
    life.run(life.engine.create_network(&draft)).unwrap()
}

fn update(life: &Life, view: &InstanceView, draft: InstanceDraft) -> Result<InstanceView, EngineError> {
    life.run(life.engine.update_instance(view.id, draft, Reporter::silent()))
}

fn addresses(view: &InstanceView) -> Vec<String> {
    view.addresses.iter().map(|(name, all)| format!("{name} {}", all[0])).collect()
}

#[test]
fn interfaces_come_and_go_while_it_runs_and_get_their_addresses_again() {
    let world = World::new();
    let life = world.boot();
    network(&life, "back", "10.1.0.0/24");
    let made = life.create(with("web", &[("eth0", on("default"))])).unwrap();
    let both = with("web", &[("eth0", on("default")), ("eth1", at("back", "10.1.0.77"))]);
    let two = update(&life, &made, both.clone()).unwrap();
    assert_eq!(
        (two.pid, addresses(&two)),
        (made.pid, vec!["eth0 10.9.8.2/24".into(), "eth1 10.1.0.77/24".into()])
    );
    assert_eq!(world.host.networks().len(), 2);
    let attached = &world.host.running()[&made.id].contents.interfaces;
    assert_eq!(
        attached.iter().map(|it| (it.slot, it.gateway.is_some())).collect::<Vec<_>>(),
        [(0, true), (1, false)]
    );
    assert_ne!(two.mac_addresses["eth0"], two.mac_addresses["eth1"]);
    let error = life.run(life.engine.delete_network(life.engine.list_networks()[0].network.id)).unwrap_err();
    assert!(error.to_string().contains("\"web\""), "{error}");
    let sends: Vec<_> = world.host.links(made.id).iter().map(|link| (link.slot, link.addresses[0])).collect();
    assert_eq!(
        sends,
        [(0, "10.9.8.2".parse().unwrap()), (1, "10.1.0.77".parse::<std::net::IpAddr>().unwrap())]
    );
    let one = update(&life, &made, with("web", &[("eth1", on("back"))])).unwrap();
    assert_eq!(world.host.links(made.id).iter().map(|link| link.slot).collect::<Vec<_>>(), [1]);
    assert_eq!((one.pid, one.ipv4), (made.pid, Some("10.1.0.77".parse().unwrap())));
    assert_eq!(world.host.networks().len(), 1);
    let again = update(&life, &made, both).unwrap();
    assert_eq!((again.addresses, again.mac_addresses), (two.addresses.clone(), two.mac_addresses.clone()));
    let none = update(&life, &made, with("web", &[])).unwrap();
    assert_eq!((none.pid, none.ipv4, none.addresses), (made.pid, None, BTreeMap::new()));
    assert!(world.host.networks().is_empty());
}

#[test]
fn what_cannot_be_plugged_in_while_it_runs_comes_with_a_restart() {
    let world = World::new();
    let life = world.boot();
    network(&life, "back", "10.1.0.0/24");
    let made = life.create(with("web", &[("eth0", on("default"))])).unwrap();
    world.host.stiffen(made.id);
    let labelled = InstanceDraft {
        labels: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
        ..with("web", &[("eth0", on("default"))])
    };
    assert_eq!(update(&life, &made, labelled).unwrap().pid, made.pid);
    let two = update(&life, &made, with("web", &[("eth0", on("default")), ("eth1", on("back"))])).unwrap();
    assert_ne!(two.pid, made.pid);
    assert_eq!((two.addresses.len(), two.status), (2, Status::Running));
    assert_eq!(two.addresses["eth0"], made.addresses["eth0"]);
    assert_eq!(world.host.running()[&made.id].contents.interfaces.len(), 2);
    let one = update(&life, &made, with("web", &[("eth0", on("default"))])).unwrap();
    assert_eq!(one.pid, two.pid, "what was started now takes changes");
}

#[test]
fn addresses_stay_over_rebuild_replace_and_another_agent() {
    let world = World::new();
    let life = world.boot();
    network(&life, "back", "10.1.0.0/24");
    let draft = with("web", &[("eth0", on("default")), ("eth1", at("back", "10.1.0.77"))]);
    let made = life.create(draft.clone()).unwrap();
    let rebuilt = update(&life, &made, InstanceDraft { image: WEB2.to_owned(), ..draft.clone() }).unwrap();
    assert_eq!((&rebuilt.addresses, &rebuilt.mac_addresses), (&made.addresses, &made.mac_addresses));
    drop(life);
    let life = world.boot();
    let adopted = life.get("web").unwrap();
    assert_eq!((&adopted.addresses, adopted.pid), (&made.addresses, rebuilt.pid));
    life.run(life.engine.delete_instance(made.id, crate::ports::runtime::StopMode::Kill, Reporter::silent()))
        .unwrap();
    life.create(with("other", &[("eth0", on("default")), ("eth1", on("back"))])).unwrap();
    let again = life.create(with("web", &[("eth0", on("default")), ("eth1", on("back"))])).unwrap();
    assert_eq!((again.addresses, again.mac_addresses), (made.addresses, made.mac_addresses));
}

#[test]
fn a_network_has_ipv6_where_the_host_has_it_and_the_default_one_as_it_was() {
    let world = World::new();
    let life = world.boot();
    let ipv6 = |name: &str, ipv6: &str| {
        let (name, ipv6_subnet) = (name.to_owned(), ipv6.to_owned());
        let draft = NetworkDraft { name, ipv6_subnet, ..NetworkDraft::default() };
        life.run(life.engine.create_network(&draft)).map(|view| view.network.spec.ipv6_subnet)
    };
    assert_eq!(ipv6("one", "").unwrap(), "fd09::/64".parse().ok());
    assert_eq!(ipv6("two", "").unwrap(), "fd09:0:0:1::/64".parse().ok());
    assert_eq!(ipv6("three", "none").unwrap(), None);
    world.host.without_ipv6();
    assert_eq!(ipv6("four", "").unwrap(), None);
    let error = ipv6("five", "auto").unwrap_err();
    assert_eq!((error.attribute(), error.reason()), (vec!["ipv6_subnet".to_owned()], Reason::HostUnable));
    let default = life.engine.list_networks().into_iter().find(|it| it.network.is_default()).unwrap();
    assert_eq!(default.network.spec.ipv6_subnet, None);
    // It goes on as it is, whatever is said of it but its subnets.
    let draft = NetworkDraft { name: "default".to_owned(), mtu: 1400, ..NetworkDraft::default() };
    let changed = life.run(life.engine.update_network(default.network.id, &draft)).unwrap();
    assert_eq!(changed.network.spec.ipv6_subnet, None);
}

#[test]
fn addresses_of_ipv6_come_and_go_with_the_network_s() {
    let world = World::new();
    let life = world.boot();
    let net = |ipv6: &str| NetworkDraft {
        name: "back".to_owned(),
        ipv4_subnet: "10.1.0.0/24".to_owned(),
        ipv6_subnet: ipv6.to_owned(),
        ..NetworkDraft::default()
    };
    let back = life.run(life.engine.create_network(&net("auto"))).unwrap().network;
    assert_eq!(back.spec.ipv6_subnet.unwrap().to_string(), "fd09::/64");
    let fixed = InterfaceDraft { ipv6_address: "fd09::77".to_owned(), ..on("back") };
    life.create(with("first", &[("eth0", fixed)])).unwrap();
    let made = life.create(with("web", &[("eth0", on("back"))])).unwrap();
    let shown =
        |view: &InstanceView| view.addresses["eth0"].iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(shown(&made), ["10.1.0.3/24", "fd09::3/64"]);
    assert_eq!(made.ipv6, Some("fd09::3".parse().unwrap()));
    assert_eq!(world.host.links(made.id)[0].addresses.len(), 2);
    let attached = &world.host.running()[&made.id].contents.interfaces[0];
    assert_eq!(attached.ipv6_gateway, Some("fd09::1".parse().unwrap()));
    for (address, words) in
        [("fd09::77", "\"first\""), ("fd09::1", "host's own"), ("fd0a::5", "no address of")]
    {
        let bad = InterfaceDraft { ipv6_address: address.to_owned(), ..on("back") };
        let error = update(&life, &made, with("web", &[("eth0", bad)])).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(error.report().attribute, ["networks", "eth0", "ipv6_address"]);
    }
    let on_default = InterfaceDraft { ipv6_address: "fd09::5".to_owned(), ..on("default") };
    let error = update(&life, &made, with("web", &[("eth0", on_default)])).unwrap_err();
    assert!(error.to_string().contains("has no IPv6"), "{error}");
    // What it was, whatever is not said.
    let same = life.run(life.engine.update_network(back.id, &net(""))).unwrap();
    assert_eq!(same.network.spec.ipv6_subnet, back.spec.ipv6_subnet);
    life.run(life.engine.update_network(back.id, &net("fd55::/64"))).unwrap();
    assert_eq!(shown(&life.get("web").unwrap()), ["10.1.0.3/24", "fd55::3/64"]);
    life.run(life.engine.update_network(back.id, &net("none"))).unwrap();
    let after = life.get("web").unwrap();
    assert_eq!((shown(&after), after.ipv6), (vec!["10.1.0.3/24".to_owned()], None));
}

#[test]
fn what_cannot_be_given_is_refused_at_its_argument_and_nothing_changes() {
    let world = World::new();
    let life = world.boot();
    network(&life, "back", "10.1.0.0/24");
    let mac = InterfaceDraft { mac: "02:00:00:00:00:07".to_owned(), ..at("back", "10.1.0.5") };
    life.create(with("first", &[("eth0", mac.clone())])).unwrap();
    let made = life.create(with("web", &[("eth0", on("back"))])).unwrap();
    let before = addresses(&made);
    let same_mac = InterfaceDraft { ipv4_address: String::new(), ..mac };
    for (bad, argument, words) in [
        (at("back", "10.1.0.5"), "ipv4_address", "\"first\""),
        (at("back", "10.1.0.1"), "ipv4_address", "host's own address"),
        (at("back", "10.2.0.5"), "ipv4_address", "no address of"),
        (at("back", "10.1.0.255"), "ipv4_address", "no address of"),
        (same_mac, "mac", "\"first\""),
        (on("nowhere"), "network", "There is no network"),
    ] {
        let draft = with("web", &[("eth0", bad.clone())]);
        let error = update(&life, &made, draft).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(error.report().attribute, ["networks", "eth0", argument], "{error}");
        assert_eq!(error.reason(), Reason::InvalidArgument);
        assert_eq!(life.create(with("new", &[("eth0", bad)])).unwrap_err().reason(), Reason::InvalidArgument);
    }
    let after = life.get("web").unwrap();
    assert_eq!((addresses(&after), after.pid), (before, made.pid));
    assert!(life.get("new").is_none());
    let renamed = NetworkDraft { name: "rear".to_owned(), ..NetworkDraft::default() };
    let back = life.engine.list_networks()[0].network.id;
    life.run(life.engine.update_network(back, &renamed)).unwrap();
    let labelled =
        InstanceDraft { description: Some("x".to_owned()), ..with("web", &[("eth0", on("back"))]) };
    assert_eq!(update(&life, &made, labelled).unwrap().addresses, made.addresses);
}

#[test]
fn a_change_that_does_not_come_up_has_its_interfaces_again() {
    let world = World::new();
    let life = world.boot();
    network(&life, "back", "10.1.0.0/24");
    let made = life.create(with("web", &[("eth0", on("default"))])).unwrap();
    let mut bad = with("web", &[("eth1", on("back"))]);
    bad.entrypoint = Some(vec!["missing".to_owned()]);
    let error = update(&life, &made, bad).unwrap_err();
    assert!(!matches!(error, EngineError::Net(NetworkFault::Interface { .. })), "{error:?}");
    let back = life.get("web").unwrap();
    assert_eq!((back.addresses, back.mac_addresses), (made.addresses, made.mac_addresses));
    assert_eq!(world.host.running()[&made.id].contents.interfaces.len(), 1);
    assert_eq!(world.host.networks().len(), 1);
}

fn lan(life: &Life) {
    let draft = NetworkDraft {
        name: "lan".to_owned(),
        kind: "physical".to_owned(),
        parent: "eth0".to_owned(),
        ..NetworkDraft::default()
    };
    life.run(life.engine.create_network(&draft)).unwrap();
}

fn given(address: &str) -> InterfaceState {
    InterfaceState { addresses: vec![address.parse().unwrap()], ..InterfaceState::default() }
}

#[test]
fn what_a_server_gives_is_shown_while_it_runs_and_to_another_agent() {
    let world = World::new();
    let life = world.boot();
    lan(&life);
    let made = life.create(with("web", &[("eth0", on("lan"))])).unwrap();
    assert_eq!((made.ipv4, made.addresses["eth0"].as_slice()), (None, [].as_slice()));
    let attached = &world.host.running()[&made.id].contents.interfaces[0];
    assert_eq!((attached.ipv4, attached.gateway, attached.default_route), (None, None, true));
    let late = life.run(life.engine.wait(
        made.id,
        &Condition::Address { interface: None, ipv6: None },
        Duration::from_millis(50),
    ));
    assert!(late.unwrap_err().to_string().contains("its interface eth0 has no address"));
    world.host.give_addresses(made.id, BTreeMap::from([("eth0".to_owned(), given("192.0.2.50/24"))]));
    let shown = life.until("web", |view| view.ipv4.is_some());
    assert_eq!(addresses(&shown), ["eth0 192.0.2.50/24"]);
    drop(life);
    let life = world.boot();
    assert_eq!(life.get("web").unwrap().addresses, shown.addresses);
    world.host.give_addresses(made.id, BTreeMap::from([("eth0".to_owned(), given("192.0.2.77/24"))]));
    life.until("web", |view| view.ipv4 == "192.0.2.77".parse().ok());
}

#[test]
fn what_only_an_own_bridge_has_is_refused_on_another_network() {
    let world = World::new();
    let life = world.boot();
    lan(&life);
    let ports = InstanceDraft { ports: draft("web", WEB).ports, ..with("web", &[("eth0", on("lan"))]) };
    let error = life.create(ports).unwrap_err();
    assert_eq!((error.reason(), error.attribute()), (Reason::InvalidArgument, vec!["ports".to_owned()]));
    let error = life.create(with("web", &[("eth0", at("lan", "192.0.2.5"))])).unwrap_err();
    assert_eq!(error.attribute(), ["networks", "eth0", "ipv4_address"]);
}

#[test]
fn a_fixed_address_on_another_network_is_one_instance_s() {
    let world = World::new();
    let life = world.boot();
    lan(&life);
    let fixed = |address: &str| InterfaceDraft {
        ipv4_gateway: "192.0.2.1".to_owned(),
        ipv6_address: address.replace("192.0.2.", "2001:db8::").replace("/24", "/64"),
        dns: vec!["192.0.2.53".to_owned()],
        ..at("lan", address)
    };
    let made = life.create(with("web", &[("eth0", fixed("192.0.2.5/24"))])).unwrap();
    assert_eq!(
        made.addresses["eth0"],
        ["192.0.2.5/24".parse().unwrap(), "2001:db8::5/64".parse::<ipnet::IpNet>().unwrap()]
    );
    assert_eq!((made.ipv4, made.ipv6), ("192.0.2.5".parse().ok(), "2001:db8::5".parse().ok()));
    let attached = world.host.running()[&made.id].contents.interfaces[0].clone();
    assert_eq!(attached.ipv4, "192.0.2.5/24".parse().ok());
    assert_eq!((attached.gateway, attached.ipv6_gateway), ("192.0.2.1".parse().ok(), None));
    assert_eq!(attached.dns, ["192.0.2.53".parse::<std::net::IpAddr>().unwrap()]);
    assert!(world.host.links(made.id).is_empty(), "what it sends there is not the agent's to filter");
    for (taken, argument) in [("192.0.2.5/24", "ipv4_address"), ("192.0.2.6/24", "ipv6_address")] {
        let second = InterfaceDraft { ipv6_address: "2001:db8::5/64".to_owned(), ..fixed(taken) };
        let error = life.create(with("other", &[("eth0", second)])).unwrap_err();
        assert_eq!(error.attribute(), ["networks", "eth0", argument], "{error}");
        assert!(error.to_string().contains("is the instance \"web\"'s"), "{error}");
    }
    // What is said of the network moves nobody.
    let lan =
        life.engine.list_networks().into_iter().find(|it| it.network.spec.name.as_str() == "lan").unwrap();
    let labelled = NetworkDraft {
        name: "lan".to_owned(),
        kind: "physical".to_owned(),
        parent: "eth0".to_owned(),
        labels: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
        ..NetworkDraft::default()
    };
    life.run(life.engine.update_network(lan.network.id, &labelled)).unwrap();
    drop(life);
    let life = world.boot();
    assert_eq!(life.get("web").unwrap().addresses, made.addresses);
    let moved = update(&life, &made, with("web", &[("eth0", fixed("192.0.2.9/24"))])).unwrap();
    assert_eq!((moved.pid, moved.ipv4), (made.pid, "192.0.2.9".parse().ok()));
    life.create(with("other", &[("eth0", fixed("192.0.2.5/24"))])).unwrap();
    let leased = update(&life, &made, with("web", &[("eth0", on("lan"))])).unwrap();
    assert_eq!((leased.pid, leased.ipv4), (made.pid, None));
}

#[test]
fn an_address_is_written_as_its_network_needs_it() {
    let world = World::new();
    let life = world.boot();
    lan(&life);
    for (draft, words) in [
        (at("lan", "192.0.2.5"), "192.0.2.5 on the network \"lan\" is written with its prefix"),
        (at("default", "10.9.8.5/24"), "10.9.8.5 on the network \"default\" is written without its prefix"),
    ] {
        let error = life.create(with("web", &[("eth0", draft)])).unwrap_err();
        assert_eq!(error.attribute(), ["networks", "eth0", "ipv4_address"]);
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn what_is_leased_to_others_is_no_instance_s_and_the_other_way_round() {
    use crate::ports::network::Lease;
    use berth_domain::{DhcpDraft, Timestamp};

    let world = World::new();
    let life = world.boot();
    let draft = |range: &str, subnet: &str| NetworkDraft {
        name: "back".to_owned(),
        ipv4_subnet: subnet.to_owned(),
        dhcp: Some(DhcpDraft { ipv4_range: range.to_owned(), lease_time_ms: 0 }),
        ..NetworkDraft::default()
    };
    let made = life.run(life.engine.create_network(&draft("10.1.0.2-10.1.0.4", "10.1.0.0/29"))).unwrap();
    let id = made.network.id;
    let mac = "02:00:00:00:00:99".parse().unwrap();
    let lease = |address: &str| Lease {
        address: address.parse().unwrap(),
        mac,
        hostname: None,
        expires: Timestamp(u64::MAX),
    };
    world.host.lease(id, lease("10.1.0.3"));
    let found = life.run(life.engine.get_network(crate::view::By::Id(id))).unwrap();
    assert_eq!(found.leases.all, [lease("10.1.0.3")]);
    // Instances are given what the server does not give; then what it has not given.
    let one = life.create(with("one", &[("eth0", on("back"))])).unwrap();
    assert_eq!(addresses(&one), ["eth0 10.1.0.5/29"]);
    let error = life.create(with("two", &[("eth0", at("back", "10.1.0.3"))])).unwrap_err();
    assert!(error.to_string().contains("leased to 02:00:00:00:00:99"), "{error}");
    assert_eq!(error.report().attribute, ["networks", "eth0", "ipv4_address"]);
    // One that does not run holds its address all the same.
    let stopped = InstanceDraft { running: false, ..with("two", &[("eth0", at("back", "10.1.0.4"))]) };
    let two = life.create(stopped).unwrap();
    let others: Vec<_> =
        ["three", "four"].map(|name| life.create(with(name, &[("eth0", on("back"))]))).into();
    let given: Vec<_> = others.iter().map(|made| addresses(made.as_ref().unwrap())).collect();
    assert_eq!(given, [["eth0 10.1.0.6/29"], ["eth0 10.1.0.2/29"]]);
    assert!(matches!(life.create(with("five", &[("eth0", on("back"))])), Err(EngineError::Exhausted { .. })));
    let held = world.host.restrictions().held["fake-back"].clone();
    assert_eq!(held.len(), 4);
    assert_eq!(held[&two.mac_addresses["eth0"]].to_string(), "10.1.0.4");
    // Where the two have met all the same, the instance can be changed as ever.
    world.host.lease(id, lease("10.1.0.4"));
    let changed = InstanceDraft {
        description: Some("kept".to_owned()),
        running: false,
        ..with("two", &[("eth0", at("back", "10.1.0.4"))])
    };
    assert_eq!(addresses(&update(&life, &two, changed).unwrap()), ["eth0 10.1.0.4/29"]);
    // What is not the network's is not given, whether the subnet was chosen or is another.
    for (range, subnet) in [("10.1.0.2-10.1.0.9", "10.1.0.0/29"), ("10.1.0.2-10.1.0.4", "10.2.0.0/29")] {
        let error = life.run(life.engine.update_network(id, &draft(range, subnet))).unwrap_err();
        assert_eq!(error.report().attribute, ["dhcp", "ipv4_range"], "{range}");
    }
    let elsewhere = NetworkDraft { name: "other".to_owned(), ..draft("10.1.0.2-10.1.0.4", "") };
    let error = life.run(life.engine.create_network(&elsewhere)).unwrap_err();
    assert_eq!(error.report().attribute, ["dhcp", "ipv4_range"]);
    // What was given is forgotten with the server.
    let without = NetworkDraft { dhcp: None, ..draft("", "") };
    life.run(life.engine.update_network(id, &without)).unwrap();
    life.run(life.engine.update_network(id, &draft("", ""))).unwrap();
    assert_eq!(life.run(life.engine.get_network(crate::view::By::Id(id))).unwrap().leases.all, []);
}
