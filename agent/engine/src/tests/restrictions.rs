//! Access rules: whom they name is known by addresses, and those change.

use std::collections::BTreeMap;

use berth_domain::{AccessRuleDraft, InstanceDraft, NetworkDraft};

use crate::ports::runtime::StopMode;
use crate::tests::support::{Life, WEB, World, draft};
use crate::{Reason, Reporter};

fn front() -> BTreeMap<String, String> {
    BTreeMap::from([("tier".to_owned(), "front".to_owned())])
}

fn instance(name: &str, labels: BTreeMap<String, String>) -> InstanceDraft {
    InstanceDraft { labels, ports: BTreeMap::new(), ..draft(name, WEB) }
}

fn of_front(name: &str) -> InstanceDraft {
    let rule = AccessRuleDraft { labels: front(), ..AccessRuleDraft::default() };
    InstanceDraft { ingress: Some(vec![rule]), ..instance(name, BTreeMap::new()) }
}

/// Whom the only list of the only restricted instance lets in.
fn peers(world: &World) -> Vec<String> {
    let restrictions = world.host.restrictions();
    assert_eq!(restrictions.instances.len(), 1);
    let access = restrictions.instances.into_values().next().unwrap();
    assert_eq!(access.egress, None);
    access.ingress.unwrap()[0].peers.as_ref().unwrap().iter().map(ToString::to_string).collect()
}

#[test]
fn who_has_the_labels_is_let_in_as_instances_come_change_and_go() {
    let world = World::new();
    let life = world.boot();
    let web = life.create(of_front("web")).unwrap();
    assert_eq!(peers(&world), Vec::<String>::new());
    let one = life.create(instance("one", front())).unwrap();
    life.create(instance("two", front())).unwrap();
    assert_eq!(peers(&world), ["10.9.8.3/32", "10.9.8.4/32"]);
    life.run(life.engine.update_instance(one.id, instance("one", BTreeMap::new()), Reporter::silent()))
        .unwrap();
    assert_eq!(peers(&world), ["10.9.8.4/32"]);
    drop(life);
    let life = world.boot();
    assert_eq!(life.until_running("web").pid, web.pid);
    let two = life.until_running("two");
    assert_eq!(peers(&world), ["10.9.8.4/32"]);
    life.run(life.engine.delete_instance(two.id, StopMode::Kill, Reporter::silent())).unwrap();
    assert_eq!(peers(&world), Vec::<String>::new());
    let open = instance("web", BTreeMap::new());
    let opened = life.run(life.engine.update_instance(web.id, open, Reporter::silent())).unwrap();
    assert_eq!((opened.pid, world.host.restrictions()), (web.pid, Default::default()));
}

#[test]
fn a_network_that_a_rule_names_is_known_by_its_subnet() {
    let world = World::new();
    let life = world.boot();
    let rule = AccessRuleDraft { network: "back".to_owned(), ..AccessRuleDraft::default() };
    let web = InstanceDraft { ingress: Some(vec![rule.clone()]), ..instance("web", BTreeMap::new()) };
    let error = life.create(web.clone()).unwrap_err();
    assert_eq!(
        (error.reason(), error.report().attribute.join(".")),
        (Reason::InvalidArgument, "ingress.0.network".to_owned())
    );
    let net = |life: &Life, name: &str, subnet: &str, egress| {
        let draft = NetworkDraft {
            name: name.to_owned(),
            ipv4_subnet: subnet.to_owned(),
            egress,
            ..NetworkDraft::default()
        };
        life.run(life.engine.create_network(&draft))
    };
    let refused = net(&life, "front", "10.2.0.0/24", Some(vec![rule.clone()])).unwrap_err();
    assert_eq!(refused.report().attribute.join("."), "egress.0.network");
    let back = net(&life, "back", "10.1.0.0/24", None).unwrap();
    let front = net(&life, "front", "10.2.0.0/24", Some(vec![rule])).unwrap();
    life.create(web).unwrap();
    assert_eq!(peers(&world), ["10.1.0.0/24", "fd09::/64"]);
    let bridge = front.bridge.unwrap();
    let of_front = world.host.restrictions().networks.remove(&bridge).unwrap().egress.unwrap();
    assert_eq!(of_front[0].peers.as_deref().unwrap()[0].to_string(), "10.1.0.0/24");
    let moved = NetworkDraft {
        name: "back".to_owned(),
        ipv4_subnet: "10.3.0.0/24".to_owned(),
        ..NetworkDraft::default()
    };
    life.run(life.engine.update_network(back.network.id, &moved)).unwrap();
    assert_eq!(peers(&world), ["10.3.0.0/24", "fd09::/64"]);
    life.run(life.engine.delete_network(back.network.id)).unwrap();
    assert_eq!(peers(&world), Vec::<String>::new());
}
