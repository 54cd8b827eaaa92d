//! Networks: made, changed and deleted.

use berth_domain::{KnownNetwork, NetworkDraft};

use crate::network_error::NetworkFault;
use crate::tests::support::{Life, WEB, World, draft};
use crate::view::{By, NetworkView};
use crate::{EngineError, Reason};

fn network(name: &str) -> NetworkDraft {
    NetworkDraft { name: name.to_owned(), ..NetworkDraft::default() }
}

fn with_subnet(name: &str, subnet: &str) -> NetworkDraft {
    NetworkDraft { ipv4_subnet: subnet.to_owned(), ..network(name) }
}

fn find(life: &Life, name: &str) -> NetworkView {
    life.run(life.engine.get_network(By::Name(name.to_owned()))).unwrap()
}

fn subnet(view: &NetworkView) -> String {
    view.network.spec.ipv4_subnet.unwrap().to_string()
}

fn names(life: &Life) -> Vec<String> {
    life.engine.list_networks().iter().map(|view| view.network.spec.name.to_string()).collect()
}

#[test]
fn a_network_is_made_changed_and_deleted_and_survives_the_agent() {
    let world = World::new();
    let life = world.boot();
    let made = life.run(life.engine.create_network(&network("web"))).unwrap();
    assert_ne!(subnet(&made), subnet(&find(&life, "default")));
    assert_eq!((made.network.number, made.network.generation), (1, 1));
    let taken = life.run(life.engine.create_network(&network("web"))).unwrap_err();
    assert_eq!(taken.report().existing_id, Some(made.network.id.to_string()));
    let change = NetworkDraft { nat: Some(false), mtu: 1400, ..network("front") };
    let changed = life.run(life.engine.update_network(made.network.id, &change)).unwrap();
    assert_eq!((subnet(&changed), changed.network.generation), (subnet(&made), 2));
    let same = life.run(life.engine.update_network(made.network.id, &change)).unwrap();
    assert_eq!(same.network.generation, 2);
    drop(life);
    let life = world.boot();
    assert_eq!(names(&life), ["default", "front"]);
    assert_eq!(find(&life, "front").network, changed.network);
    life.run(life.engine.delete_network(made.network.id)).unwrap();
    let gone = life.run(life.engine.delete_network(made.network.id)).unwrap_err();
    assert_eq!((gone.reason(), names(&life)), (Reason::NotFound, vec!["default".to_owned()]));
    assert_eq!(world.host.leftovers(), Vec::<String>::new());
}

#[test]
fn what_another_has_is_no_subnet() {
    let world = World::new();
    let life = world.boot();
    world.host.route("10.200.0.0/16".parse().unwrap());
    life.run(life.engine.create_network(&with_subnet("web", "10.1.0.0/16"))).unwrap();
    for (bad, other) in [
        ("10.1.2.0/24", "10.1.0.0/16 of the network \"web\""),
        ("10.0.0.0/8", "of the network"),
        ("10.200.7.0/24", "the route 10.200.0.0/16"),
    ] {
        let error = life.run(life.engine.create_network(&with_subnet("other", bad))).unwrap_err();
        assert!(error.to_string().contains(other), "{error}");
        assert_eq!(error.report().attribute, ["ipv4_subnet"]);
    }
    let web = find(&life, "web").network.id;
    let error = life.run(life.engine.update_network(web, &with_subnet("web", "10.9.8.0/24"))).unwrap_err();
    assert!(matches!(error, EngineError::Net(NetworkFault::Overlap { .. })), "{error:?}");
    let physical = |parent: &str| NetworkDraft {
        kind: "physical".to_owned(),
        parent: parent.to_owned(),
        ..network("lan")
    };
    let error = life.run(life.engine.create_network(&physical("eth9"))).unwrap_err();
    assert_eq!(
        (error.report().attribute, error.reason()),
        (vec!["parent".to_owned()], Reason::InvalidArgument)
    );
    let beyond = NetworkDraft { vlan: 200, ..physical("eth0") };
    let error = life.run(life.engine.create_network(&beyond)).unwrap_err();
    let report = error.report();
    assert_eq!((report.attribute, error.reason()), (vec!["vlan".to_owned()], Reason::HostUnable));
    assert!(report.detail.contains("modprobe 8021q"), "{}", report.detail);
    let lan = life.run(life.engine.create_network(&physical("eth0"))).unwrap();
    let moved = NetworkDraft { vlan: 7, ..physical("eth0") };
    let error = life.run(life.engine.update_network(lan.network.id, &moved)).unwrap_err();
    assert_eq!(error.report().attribute, ["vlan"]);
    assert_eq!((lan.bridge, lan.network.spec.ipv4_subnet), (None, None));
    let error = life.run(life.engine.update_network(lan.network.id, &network("lan"))).unwrap_err();
    assert_eq!(error.report().attribute, ["type"]);
}

#[test]
fn another_subnet_restarts_who_is_on_it_at_the_same_place() {
    let world = World::new();
    let life = world.boot();
    for name in ["one", "two"] {
        life.create(draft(name, WEB)).unwrap();
    }
    let stopped = berth_domain::InstanceDraft { running: false, ..draft("three", WEB) };
    life.create(stopped).unwrap();
    let before = life.get("two").unwrap();
    let default = find(&life, "default").network;
    assert_eq!(find(&life, "default").used_by.len(), 3);
    let nat = NetworkDraft { nat: Some(false), ..network("default") };
    life.run(life.engine.update_network(default.id, &nat)).unwrap();
    assert_eq!(life.get("two").unwrap().pid, before.pid);
    assert!(!world.host.networks()[0].spec.nat);
    life.run(life.engine.update_network(default.id, &with_subnet("default", "10.77.0.0/24"))).unwrap();
    let after = life.get("two").unwrap();
    assert_eq!(
        (after.ipv4.unwrap().to_string(), before.ipv4.unwrap().to_string()),
        ("10.77.0.3".to_owned(), "10.9.8.3".to_owned())
    );
    assert_ne!(after.pid, before.pid);
    let attached = &world.host.running()[&after.id].contents.interfaces;
    assert_eq!(attached[0].ipv4.unwrap().to_string(), "10.77.0.3/24");
    assert_eq!(life.get("three").unwrap().ipv4.unwrap().to_string(), "10.77.0.4");
    let small = life.run(life.engine.update_network(default.id, &with_subnet("default", "10.78.0.0/30")));
    let error = small.unwrap_err();
    assert!(matches!(error, EngineError::Net(NetworkFault::NoRoom { .. })), "{error:?}");
    assert_eq!(life.get("two").unwrap().ipv4, after.ipv4);
    drop(life);
    let life = world.boot();
    assert_eq!(life.get("two").unwrap().ipv4, after.ipv4);
    assert_eq!(subnet(&find(&life, "default")), "10.77.0.0/24");
}

#[test]
fn the_default_network_stays_and_one_in_use_is_not_deleted() {
    let world = World::new();
    let life = world.boot();
    let default = find(&life, "default").network;
    let error = life.run(life.engine.update_network(default.id, &network("other"))).unwrap_err();
    assert_eq!(error.report().attribute, ["name"]);
    let changed = NetworkDraft { mtu: 1400, ..network("default") };
    life.run(life.engine.update_network(default.id, &changed)).unwrap();
    life.run(life.engine.delete_network(default.id)).unwrap();
    let KnownNetwork { spec, id, .. } = find(&life, "default").network;
    assert_eq!((spec, id), (default.spec, default.id));
}

#[test]
fn a_host_that_refuses_a_change_keeps_what_it_has() {
    let world = World::new();
    let life = world.boot();
    life.create(draft("one", WEB)).unwrap();
    let default = find(&life, "default").network;
    let change = NetworkDraft { nat: Some(false), ..network("default") };
    world.host.faults().disarm();
    life.run(life.engine.update_network(default.id, &change)).unwrap();
    let points = world.host.faults().passed();
    life.run(life.engine.update_network(default.id, &network("default"))).unwrap();
    let nth = points.iter().position(|point| point.starts_with("ensure network")).unwrap();
    world.host.faults().disarm();
    world.host.faults().fail_at(nth);
    let error = life.run(life.engine.update_network(default.id, &change)).unwrap_err();
    assert_eq!(error.reason(), Reason::HostUnable);
    assert!(find(&life, "default").network.spec.nat);
    assert!(world.host.networks()[0].spec.nat);
}
