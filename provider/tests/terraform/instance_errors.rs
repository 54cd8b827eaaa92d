//! What goes wrong with instances: the error's place, what is left, and the apply after the mend.

use berth_proto::agent as wire;
use wire::error_detail::Reason;

use crate::fake::{FakeAgent, detail, digest};
use crate::instance::web;
use crate::run::Workspace;

#[test]
fn all_malformed_arguments_are_told_at_once() {
    let agent = FakeAgent::start();
    let workspace = Workspace::new(
        &agent,
        r#"
resource "berth_instance" "web" {
  name         = "my_web"
  type         = "pod"
  image        = "nginx"
  stop_timeout = "10"
  limits       = { memory = "512M" }
  ports = {
    a = { container_port = 80, host_port = 8080 }
    b = { container_port = 81, host_port = 8080 }
    c = { container_port = "8000-8010" }
  }
}
"#,
    );
    let said = workspace.plan().fails();
    let said = said.says("\"my_web\" holds '_'").says("There is no type \"pod\"");
    let said = said.says("\"docker.io/nginx\"").says("Write \"10s\" if seconds are meant.");
    let said =
        said.says("\"512M\" could mean 512MiB or 512MB").says("in resource \"berth_instance\" \"web\"");
    let said = said.says("The ports a and b clash");
    said.says("A range of ports has no host_port");
    assert!(agent.state().calls.is_empty());
}

#[test]
fn a_taken_name_shows_a_ready_import_block() {
    let agent = FakeAgent::start();
    Workspace::new(&agent, &web("")).apply().ok();
    let other = Workspace::new(&agent, &web(""));
    let said = other.apply().fails().says("There is an instance web already");
    said.says("import { to = berth_instance.web id = \"web\" }").says("name = \"web\"");
    assert!(other.resource("berth_instance.web").is_null());
    assert_eq!(agent.state().instances.len(), 1);
}

#[test]
fn a_create_that_is_refused_leaves_nothing_and_the_next_succeeds() {
    let agent = FakeAgent::start();
    let mut refusal = detail(
        Reason::PortTaken,
        "web cannot listen on 127.0.0.1:8080",
        "Another program does. Choose another host_port.",
        &["ports", "http", "host_port"],
    );
    let line = wire::LogEntry { data: "bind: address in use".into(), stream: 2, ..wire::LogEntry::default() };
    refusal.log = vec![line];
    agent.state().fail_next.insert("CreateInstance".to_owned(), refusal);
    let workspace = Workspace::new(&agent, &web(""));
    let said = workspace.apply().fails().says("Web cannot listen on 127.0.0.1:8080");
    said.says("ports = { http = { container_port = 80 } }").says("stderr: bind: address in use");
    assert!(workspace.resource("berth_instance.web").is_null());
    workspace.apply().ok().says("1 added");
    workspace.plans_empty();
}

#[test]
fn an_apply_goes_on_when_the_agent_that_went_away_is_back() {
    let agent = FakeAgent::start();
    let workspace = Workspace::new(&agent, &web(""));
    agent.state().cuts.insert("CreateInstance", 1);
    workspace.apply().ok().says("1 added");
    let id = agent.state().instance("web").id.clone();
    assert_eq!(workspace.attributes("berth_instance.web")["id"], id.as_str());
    workspace.plans_empty();
    for (call, configuration) in
        [("UpdateInstance", web("description = \"another\"")), ("DeleteInstance", String::new())]
    {
        agent.state().cuts.insert(call, 1);
        workspace.rewrite(&agent, &configuration);
        workspace.apply().ok();
        assert_eq!(agent.state().count(call), 2, "{call} is asked for again");
        workspace.plans_empty();
    }
    assert!(agent.state().instances.is_empty());
}

#[test]
fn what_another_made_meanwhile_is_not_taken() {
    let agent = FakeAgent::start();
    Workspace::new(&agent, &web("description = \"theirs\"")).apply().ok();
    agent.state().lose_create = true;
    let workspace = Workspace::new(&agent, &web(""));
    workspace.apply().fails().says("There is an instance web already");
    assert!(workspace.resource("berth_instance.web").is_null());
}

#[test]
fn a_create_that_goes_on_breaking_off_is_kept_and_tainted() {
    let agent = FakeAgent::start();
    agent.state().cuts.extend([("CreateInstance", 1), ("WaitInstance", usize::MAX)]);
    let workspace = Workspace::new(&agent, &web(""));
    workspace
        .apply()
        .fails()
        .says("Waiting for the instance was cut off: the agent on")
        .says("gave no result");
    agent.state().cuts.clear();
    let resource = workspace.resource("berth_instance.web");
    assert_eq!(resource["tainted"], true);
    assert_eq!(resource["values"]["id"], agent.state().instance("web").id.as_str());
    workspace.plans_changes().says("is tainted, so must be replaced");
    workspace.apply().ok().says("1 added").says("1 destroyed");
    workspace.plans_empty();
}

#[test]
fn a_cut_create_does_not_take_what_another_made() {
    let agent = FakeAgent::start();
    Workspace::new(&agent, &web("description = \"theirs\"")).apply().ok();
    let refusal = wire::ErrorDetail::default();
    agent.state().fail_next.insert("CreateInstance".to_owned(), refusal);
    let workspace = Workspace::new(&agent, &web(""));
    workspace.apply().fails();
    assert!(workspace.resource("berth_instance.web").is_null());
}

#[test]
fn a_failed_update_keeps_the_old_state_and_is_tried_again() {
    let agent = FakeAgent::start();
    let workspace = Workspace::new(&agent, &web(""));
    workspace.apply().ok();
    let next = web("").replace(&digest("one"), &digest("two"));
    workspace.rewrite(&agent, &next);
    let refusal = detail(
        Reason::StartFailed,
        "web does not start on the new image",
        "It runs on the old one again.",
        &["image"],
    );
    agent.state().fail_next.insert("UpdateInstance".to_owned(), refusal);
    workspace.apply().fails().says("Web does not start on the new image");
    assert_eq!(workspace.attributes("berth_instance.web")["image"], digest("one"));
    workspace.plans_changes().says("will be rebuilt");
    workspace.apply().ok();
    workspace.plans_empty();
}

#[test]
fn an_image_that_is_not_there_is_told_on_the_argument() {
    let agent = FakeAgent::start();
    let workspace = Workspace::new(&agent, &web("").replace(&digest("one"), "docker.io/nope:1"));
    workspace.apply().fails().says("There is no image docker.io/nope:1").says("image = \"docker.io/nope:1\"");
    assert!(agent.state().instances.is_empty());
}

#[test]
fn a_timeout_is_told_and_its_argument_is_checked() {
    let agent = FakeAgent::start();
    let workspace = Workspace::new(&agent, &web("timeouts = { create = \"soon\" }"));
    workspace.plan().fails().says("\"soon\" is no duration");
}
