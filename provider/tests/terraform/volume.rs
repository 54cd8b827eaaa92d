//! The life of a volume.

use serde_json::json;

use crate::fake::{FakeAgent, detail};
use crate::run::Workspace;

fn volume(arguments: &str) -> String {
    format!("resource \"berth_volume\" \"data\" {{\n {arguments}\n}}")
}

#[test]
fn a_volume_changes_in_place_and_is_imported() {
    let agent = FakeAgent::start();
    let workspace = Workspace::new(&agent, &volume("name = \"data\"\n mode = \"750\"\n uid = 70"));
    workspace.apply().ok();
    workspace.plans_empty();
    let id = workspace.attributes("berth_volume.data")["id"].clone();
    workspace.rewrite(&agent, &volume("name = \"pg_data\"\n mode = \"0750\"\n labels = { app = \"db\" }"));
    workspace.apply().ok().says("1 changed");
    assert_eq!(workspace.attributes("berth_volume.data")["id"], id);
    workspace.plans_empty();
    let spec = agent.state().volumes.values().next().unwrap().spec.clone().unwrap();
    assert_eq!((spec.name.as_str(), spec.uid, spec.mode), ("pg_data", None, Some(0o750)));

    let same = volume("name = \"pg_data\"\n mode = \"0750\"\n labels = { app = \"db\" }");
    let second = Workspace::new(&agent, &same);
    second.apply().fails().says("import { to = berth_volume.pg_data id = \"pg_data\" }");
    second.import("berth_volume.data", "pg_data").ok();
    second.plans_empty();
    agent.state().volumes.values_mut().next().unwrap().spec.as_mut().unwrap().mode = Some(0o700);
    second.plans_changes().says("\"0700\" -> \"0750\"");
    workspace.destroy().ok();
    assert!(agent.state().volumes.is_empty());
}

#[test]
fn a_volume_in_use_stays_and_says_who_uses_it() {
    let agent = FakeAgent::start();
    let workspace = Workspace::new(&agent, &volume("name = \"data\""));
    workspace.apply().ok();
    let reason = berth_proto::agent::error_detail::Reason::InUse;
    let used = detail(reason, "The volume \"data\" is used by the instance \"db\"", "Take it out.", &[]);
    agent.state().fail_next.insert("DeleteVolume".to_owned(), used);
    workspace.destroy().fails().says("is used by the instance \"db\"").says("Take it out.");
    assert_eq!(workspace.attributes("berth_volume.data")["name"], json!("data"));
    workspace.rewrite(&agent, &volume("name = \"data\"\n keep_on_destroy = true"));
    workspace.apply().ok();
    assert_eq!(agent.state().count("UpdateVolume"), 0);
    workspace.destroy().ok();
    assert_eq!(agent.state().volumes.len(), 1);
}

#[test]
fn a_volume_that_is_there_is_read() {
    let agent = FakeAgent::start();
    let first = Workspace::new(&agent, &volume("name = \"data\"\n mode = \"0700\""));
    first.apply().ok();
    let read = "data \"berth_volume\" \"it\" {\n name = \"data\"\n}\noutput \"mode\" {\n value = data.berth_volume.it.mode\n}";
    Workspace::new(&agent, read).apply().ok().says("mode = \"0700\"");
    let missing = "data \"berth_volume\" \"it\" {\n name = \"nope\"\n}";
    Workspace::new(&agent, missing).apply().fails().says("There is no volume");
    let bad = volume("name = \"../etc\"\n mode = \"9\"\n uid = 70000");
    Workspace::new(&agent, &bad)
        .plan()
        .fails()
        .says("holds '.'")
        .says("no permissions")
        .says("No instance has the id 70000");
}
