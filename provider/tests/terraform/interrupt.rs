//! Ctrl-C while the agent works: the wait ends at once, and the next apply goes on from what there is.

use std::process::{Child, Command};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::fake::FakeAgent;
use crate::instance::web;
use crate::run::{Said, Workspace};

/// Far more than an end at once takes, and far less than any timeout.
const AT_ONCE: Duration = Duration::from_secs(15);

fn interrupt(apply: Child) -> Said {
    let begun = Instant::now();
    let sent = Command::new("kill").args(["-INT", &apply.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let output = apply.wait_with_output().unwrap();
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Said { code: output.status.code().unwrap_or(-1), text: text.concat() }
}

/// The next call of this name hangs; gives what says that it does.
fn hang(agent: &FakeAgent, call: &str) -> mpsc::Receiver<()> {
    let (hangs, hung) = mpsc::channel();
    agent.state().hang_next = Some((call.to_owned(), hangs));
    hung
}

#[test]
fn an_interrupted_create_is_gone_on_from() {
    let agent = FakeAgent::start();
    let workspace = Workspace::new(&agent, &web(""));
    let hung = hang(&agent, "CreateInstance");
    let apply = workspace.start_apply();
    hung.recv_timeout(Duration::from_secs(60)).unwrap();
    interrupt(apply).fails().says("Creating the instance was interrupted").says("The agent goes on");
    let id = workspace.attributes("berth_instance.web")["id"].clone();
    let there = agent.state().instance("web").id.clone();
    assert_eq!(id, there.as_str(), "what was made is in the state");
    workspace.apply().ok();
    workspace.plans_empty();
    assert_eq!(agent.state().instances.len(), 1);
}

#[test]
fn an_interrupted_wait_is_gone_on_from() {
    let agent = FakeAgent::start();
    let workspace = Workspace::new(&agent, &web("wait_for = { condition = \"healthy\" }"));
    let hung = hang(&agent, "WaitInstance");
    let apply = workspace.start_apply();
    hung.recv_timeout(Duration::from_secs(60)).unwrap();
    interrupt(apply).fails().says("Waiting for the instance was interrupted");
    let there = agent.state().instance("web").id.clone();
    assert_eq!(
        workspace.attributes("berth_instance.web")["id"],
        there.as_str(),
        "what was made is in the state"
    );
    workspace.apply().ok();
    workspace.plans_empty();
    assert_eq!(agent.state().instances.len(), 1);
}

#[test]
fn an_interrupted_update_is_gone_on_from() {
    let agent = FakeAgent::start();
    let workspace = Workspace::new(&agent, &web(""));
    workspace.apply().ok();
    let id = workspace.attributes("berth_instance.web")["id"].clone();
    workspace.rewrite(&agent, &web("hostname = \"other\""));
    let hung = hang(&agent, "UpdateInstance");
    let apply = workspace.start_apply();
    hung.recv_timeout(Duration::from_secs(60)).unwrap();
    interrupt(apply).fails().says("Updating the instance was interrupted");
    workspace.apply().ok();
    workspace.plans_empty();
    assert_eq!(workspace.attributes("berth_instance.web")["id"], id);
}

#[test]
fn an_interrupted_delete_is_gone_on_from() {
    let agent = FakeAgent::start();
    let workspace = Workspace::new(&agent, &web(""));
    workspace.apply().ok();
    workspace.write(&format!("provider \"berth\" {{\n  host = \"{}\"\n}}\n", agent.address()));
    let hung = hang(&agent, "DeleteInstance");
    let apply = workspace.start_apply();
    hung.recv_timeout(Duration::from_secs(60)).unwrap();
    interrupt(apply).fails().says("Deleting the instance was interrupted");
    assert!(!workspace.resource("berth_instance.web").is_null());
    workspace.apply().ok();
    assert!(workspace.resource("berth_instance.web").is_null());
}
