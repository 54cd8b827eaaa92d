//! The life of a network.

use berth_proto::agent::error_detail::Reason;
use serde_json::json;

use crate::fake::{FakeAgent, detail};
use crate::run::Workspace;

fn network(arguments: &str) -> String {
    format!("resource \"berth_network\" \"net\" {{\n {arguments}\n}}")
}

#[test]
fn a_network_changes_in_place_is_imported_and_replaced_by_its_type() {
    let agent = FakeAgent::start();
    let rule = "ingress = [{ protocol = \"tcp\", ports = [\"80\", \"8000-8010\"], cidr = \"10.0.0.0/8\" }]";
    let workspace = Workspace::new(&agent, &network(&format!("name = \"web\"\n {rule}")));
    workspace.apply().ok();
    workspace.plans_empty();
    let first = workspace.attributes("berth_network.net");
    assert_eq!(first["ipv6_subnet"], json!("fd00:8:0::/64"));
    assert_eq!((&first["ipv4_subnet"], &first["bridge"]), (&json!("10.8.0.0/24"), &json!("berthfake1")));
    let changed =
        network("name = \"front\"\n isolated = true\n nat = false\n egress = []\n ipv6_subnet = \"none\"");
    workspace.rewrite(&agent, &changed);
    workspace.apply().ok().says("1 changed");
    workspace.plans_empty();
    let second = workspace.attributes("berth_network.net");
    assert_eq!((&second["id"], &second["ipv4_subnet"]), (&first["id"], &first["ipv4_subnet"]));
    let spec = agent.state().networks.values().next().unwrap().spec.clone().unwrap();
    assert_eq!((spec.ingress, spec.egress.map(|it| it.rules.len()), spec.nat), (None, Some(0), Some(false)));

    let other = Workspace::new(&agent, &changed);
    other.apply().fails().says("import { to = berth_network.front id = \"front\" }");
    other.import("berth_network.net", "front").ok();
    other.apply().ok();
    other.plans_empty();
    workspace.rewrite(&agent, &network("name = \"front\"\n type = \"macvlan\"\n parent = \"eth0\""));
    workspace.plans_changes().says("must be replaced").says("type").says("forces replacement");
    workspace.apply().ok();
    workspace.plans_empty();
    assert_eq!(workspace.attributes("berth_network.net")["ipv4_subnet"], json!(null));
    workspace.destroy().ok();
    assert!(agent.state().networks.is_empty());
}

#[test]
fn what_the_agent_refuses_is_told_at_its_argument() {
    let agent = FakeAgent::start();
    let rules = "ingress = [\n{ protocol = \"tcp\" },\n{ network = \"other\" },\n]";
    let workspace = Workspace::new(&agent, &network(&format!("name = \"web\"\n {rules}")));
    let words = ["ingress", "1", "network"];
    let refused = detail(Reason::InvalidArgument, "There is no network \"other\"", "Make it.", &words);
    agent.state().fail_next.insert("CreateNetwork".to_owned(), refused);
    workspace.apply().fails().says("There is no network \"other\"").says("network = \"other\"");
    workspace.apply().ok();
    let used =
        detail(Reason::InUse, "The network \"web\" is used by the instance \"db\"", "Take it out.", &[]);
    agent.state().fail_next.insert("DeleteNetwork".to_owned(), used);
    workspace.destroy().fails().says("is used by the instance \"db\"");
    assert_eq!(workspace.attributes("berth_network.net")["name"], json!("web"));
    let bad = network("name = \"web\"\n ipv4_subnet = \"10.1.2.3/24\"\n ingress = [{ ports = [\"9-1\"] }]");
    let bad = Workspace::new(&agent, &bad);
    bad.plan().fails().says("Write \"10.1.2.0/24\"").says("The range 9-1 ends before it begins");
}

#[test]
fn a_network_that_is_there_is_read() {
    let agent = FakeAgent::start();
    Workspace::new(&agent, &network("name = \"web\"\n mtu = 1400")).apply().ok();
    let read = "data \"berth_network\" \"it\" {\n name = \"web\"\n}\noutput \"it\" {\n value = \"${data.berth_network.it.mtu} ${data.berth_network.it.ipv4_subnet}\"\n}";
    Workspace::new(&agent, read).apply().ok().says("it = \"1400 10.8.0.0/24\"");
}
