//! States as earlier versions wrote them.

use crate::fake::{FakeAgent, digest};
use crate::instance::web;
use crate::run::Workspace;

const STATE: &str = include_str!("state_v0.json");

/// What is compared is the fake's world: put its ids and its place into the pinned file.
fn pinned(agent: &FakeAgent) -> String {
    let state = agent.state();
    let instance = state.instance("web");
    let pin = state.pins.values().next().unwrap();
    let remote = state.remotes.values().next().unwrap();
    STATE
        .replace("@INSTANCE@", &instance.id)
        .replace("@PORT@", &instance.ports["http"].host_port.to_string())
        .replace("@PIN@", &pin.id)
        .replace("@REMOTE@", &remote.id)
}

#[test]
fn a_state_of_version_0_plans_empty() {
    let agent = FakeAgent::start();
    let tags = (digest("index-one"), digest("one"));
    agent.state().tags.insert("docker.io/library/web:1".to_owned(), tags);
    let resources = web("labels = { app = \"web\" }\n  timeouts = { create = \"5m\" }")
        + "resource \"berth_image\" \"web\" {\n  reference = \"docker.io/library/web:1\"\n}\n"
        + "resource \"berth_remote\" \"local\" {\n  name = \"local\"\n  address = \"http://127.0.0.1:5000\"\n  insecure = true\n}\n";
    Workspace::new(&agent, &resources).apply().ok();

    let workspace = Workspace::new(&agent, &resources);
    std::fs::write(workspace.path().join("terraform.tfstate"), pinned(&agent)).unwrap();
    workspace.plans_empty();
    workspace.destroy().ok().says("3 destroyed");
    let state = agent.state();
    assert!(state.instances.is_empty() && state.pins.is_empty() && state.remotes.is_empty());
}
