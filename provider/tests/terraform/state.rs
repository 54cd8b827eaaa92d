//! States as earlier versions wrote them.

use crate::fake::{FakeAgent, digest};
use crate::instance::web;
use crate::run::Workspace;

/// Written by the first version, and never changed since.
const STATE: &str = include_str!("state_v0.json");
const AGENT: &str = "1be573b6-ab21-4126-b7bf-469da598ea1a";
const INSTANCE: &str = "5f0c4a52-0d43-4c5c-9d4e-3f6a5d1c7b10";
const PIN: &str = "65d3f8df-1f9a-4fe9-b0f8-e085d500e301";
const REMOTE: &str = "c7a1f0de-5a2b-4f39-8d57-0d9be6a3f2c4";

/// Gives what the agent holds the ids of the pinned file.
fn take_pinned_ids(agent: &FakeAgent) {
    let mut state = agent.state();
    state.agent_id = AGENT.to_owned();
    let (_, mut instance) = state.instances.pop_first().unwrap();
    instance.id = INSTANCE.to_owned();
    state.instances.insert(INSTANCE.to_owned(), instance);
    let (_, mut pin) = state.pins.pop_first().unwrap();
    pin.id = PIN.to_owned();
    state.pins.insert(PIN.to_owned(), pin);
    let (_, mut remote) = state.remotes.pop_first().unwrap();
    remote.id = REMOTE.to_owned();
    state.remotes.insert(REMOTE.to_owned(), remote);
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
    take_pinned_ids(&agent);

    let workspace = Workspace::new(&agent, &resources);
    std::fs::write(workspace.path().join("terraform.tfstate"), STATE).unwrap();
    workspace.plans_empty().says_not("Another agent");
    workspace.destroy().ok().says("3 destroyed");
    let state = agent.state();
    assert!(state.instances.is_empty() && state.pins.is_empty() && state.remotes.is_empty());
}
