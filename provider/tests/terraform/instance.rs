//! The life of an instance.

use berth_proto::agent as wire;
use serde_json::json;

use crate::fake::{FakeAgent, digest};
use crate::run::Workspace;

/// A web server with a bit of everything.
pub fn web(extra: &str) -> String {
    format!(
        r#"
resource "berth_instance" "web" {{
  name         = "web"
  image        = "{}"
  command      = ["serve", "--port", "80"]
  environment  = {{ MODE = "test", PATH = null }}
  stop_timeout = "1m30s"
  restart      = {{ policy = "on-failure", backoff = "1s" }}
  limits       = {{ memory = "512MiB", cpu = "1.50", pids = 100 }}
  ports        = {{ http = {{ container_port = 80 }} }}
  {extra}
}}
"#,
        digest("one")
    )
}

#[test]
fn create_plan_update_destroy() {
    let agent = FakeAgent::start();
    let workspace = Workspace::new(&agent, &web(""));
    workspace.apply().ok().says("1 added");
    let attributes = workspace.attributes("berth_instance.web");
    assert_eq!(attributes["status"], "running");
    assert_eq!(attributes["image_id"], digest("one"));
    assert_eq!(attributes["ipv4_address"], "10.77.0.2");
    assert_eq!(attributes["addresses"], json!({ "eth0": ["10.77.0.2/24"] }));
    assert_eq!(attributes["ports"]["http"]["host_port"], "32768");
    assert_eq!(attributes["environment"], json!({ "MODE": "test", "PATH": null }));
    workspace.plans_empty();

    workspace.rewrite(&agent, &web("labels = { app = \"web\" }"));
    workspace
        .plans_changes()
        .says("1 to change")
        .says_not("known after apply")
        .says_not("Warning: The instance");
    workspace.apply().ok().says("1 changed");
    workspace.plans_empty();
    let changed = workspace.attributes("berth_instance.web");
    assert_eq!(changed["id"], attributes["id"]);
    assert_eq!(agent.state().instance("web").spec.as_ref().unwrap().labels["app"], "web");

    workspace.destroy().ok().says("1 destroyed");
    assert!(agent.state().instances.is_empty());
}

#[test]
fn a_plan_says_what_restarts_and_keeps_what_stays() {
    let agent = FakeAgent::start();
    let workspace = Workspace::new(&agent, &web(""));
    workspace.apply().ok();
    workspace.rewrite(&agent, &web("user = \"nobody\"\n  working_dir = \"/srv\""));
    let said = workspace.plans_changes();
    let said = said.says("Warning: The instance web will be restarted");
    let said = said.says("Because working_dir and user change.").says("~ status");
    said.says_not("~ id ").says_not("~ ipv4_address").says_not("~ mac_addresses").says_not("~ image_id");
    workspace.apply().ok().says("1 changed");
    workspace.plans_empty();
}

#[test]
fn an_image_is_rebuilt_replaced_or_ignored() {
    let agent = FakeAgent::start();
    let with = |image: &str, way: &str| {
        format!(
            "resource \"berth_instance\" \"web\" {{\n name = \"web\"\n image = \"{image}\"\n on_image_change = \"{way}\"\n}}"
        )
    };
    let workspace = Workspace::new(&agent, &with(&digest("one"), "rebuild"));
    workspace.apply().ok();
    let id = workspace.attributes("berth_instance.web")["id"].clone();

    workspace.rewrite(&agent, &with(&digest("two"), "rebuild"));
    workspace.plans_changes().says("will be rebuilt").says(&format!("-> \"{}\"", digest("two")));
    workspace.apply().ok().says("1 changed");
    assert_eq!(workspace.attributes("berth_instance.web")["id"], id);
    assert_eq!(agent.state().instance("web").image_id, digest("two"));

    workspace.rewrite(&agent, &with(&digest("three"), "ignore"));
    workspace.apply().ok();
    assert_eq!(agent.state().instance("web").image_id, digest("two"));
    workspace.plans_empty();

    workspace.rewrite(&agent, &with(&digest("three"), "replace"));
    workspace.plans_changes().says("image = ").says("forces replacement");
    workspace.apply().ok().says("1 added").says("1 destroyed");
    assert_ne!(workspace.attributes("berth_instance.web")["id"], id);
    workspace.plans_empty();
}

#[test]
fn an_instance_that_was_removed_is_made_anew() {
    let agent = FakeAgent::start();
    let workspace = Workspace::new(&agent, &web(""));
    workspace.apply().ok();
    agent.state().remove_instance("web");
    workspace.plans_changes().says("1 to add");
    workspace.apply().ok().says("1 added");
    workspace.plans_empty();
}

#[test]
fn a_stop_by_hand_is_drift_and_an_exit_is_not() {
    let agent = FakeAgent::start();
    let workspace = Workspace::new(&agent, &web(""));
    workspace.apply().ok();
    {
        let mut state = agent.state();
        let instance = state.instance_mut("web");
        instance.spec.as_mut().unwrap().running = false;
        instance.status = wire::instance::Status::Stopped.into();
    }
    workspace.plans_changes().says("- running = false -> null").says("status = \"stopped\"");
    workspace.apply().ok();
    workspace.plans_empty();
    assert!(agent.state().instance("web").spec.as_ref().unwrap().running);

    {
        let mut state = agent.state();
        let instance = state.instance_mut("web");
        instance.status = wire::instance::Status::Exited.into();
        instance.exit_code = Some(3);
    }
    workspace.plans_empty();
}

#[test]
fn changes_made_elsewhere_show() {
    let agent = FakeAgent::start();
    let check = "health_check = { tcp = { port = 80 }, interval = \"5s\" }";
    let workspace = Workspace::new(&agent, &web(&format!("description = \"mine\"\n  {check}")));
    workspace.apply().ok();
    {
        let mut state = agent.state();
        let spec = state.instance_mut("web").spec.as_mut().unwrap();
        spec.description = Some("theirs".to_owned());
        spec.limits.as_mut().unwrap().memory_bytes = 1 << 30;
        spec.ports.get_mut("http").unwrap().container_port = 81;
        spec.health_check.as_mut().unwrap().interval_ms = 60_000;
    }
    let said = workspace.plans_changes().says("\"theirs\" -> \"mine\"").says("\"1GiB\" -> \"512MiB\"");
    said.says("\"81\" -> \"80\"").says("\"1m\" -> \"5s\"");
    workspace.apply().ok();
    workspace.plans_empty();
}

#[test]
fn an_import_plans_empty() {
    let agent = FakeAgent::start();
    let first = Workspace::new(&agent, &web(""));
    first.apply().ok();
    let second = Workspace::new(&agent, &web(""));
    second.import("berth_instance.web", "web").ok();
    second.plans_empty();
    second.import("berth_instance.web", "other").fails();

    let third = Workspace::new(&agent, &web(""));
    third.import("berth_instance.web", "nobody").fails().says("There is no instance nobody on unix://");
    third.import("berth_instance.web", "node9,web").fails().says("There is no host \"node9\"");
}

#[test]
fn equal_spellings_and_defaults_written_out_plan_empty() {
    let agent = FakeAgent::start();
    let more = "supplementary_groups = [\"4\", \"5\"]\n  stop_signal = \"SIGQUIT\"\n  \
                egress = [{ protocol = \"udp\" }, { protocol = \"tcp\", ports = [\"80\", \"443\"] }]\n  \
                security = { capabilities_add = [\"NET_ADMIN\", \"SYS_TIME\"] }";
    let workspace = Workspace::new(&agent, &web(more));
    workspace.apply().ok();
    let other = web(more).replace("1m30s", "90s").replace("512MiB", "536870912").replace("1.50", "1.5");
    let other = other.replace("\"NET_ADMIN\", \"SYS_TIME\"", "\"CAP_SYS_TIME\", \"net_admin\"");
    let other = other
        .replace("[{ protocol = \"udp\" }, ", "[")
        .replace("\"443\"] }]", "\"443\"] }, { protocol = \"udp\" }]");
    let other = other.replace("\"80\", \"443\"", "\"443\", \"80\"").replace("SIGQUIT", "quit");
    let other = other.replace("[\"4\", \"5\"]", "[\"5\", \"4\"]");
    workspace.rewrite(&agent, &other);
    workspace.plans_empty();
    assert_eq!(agent.state().count("UpdateInstance"), 0);
}

#[test]
fn a_job_that_has_ended_is_applied() {
    let agent = FakeAgent::start();
    agent.state().exit_next = Some(4);
    let workspace = Workspace::new(&agent, &web(""));
    workspace.apply().ok();
    let attributes = workspace.attributes("berth_instance.web");
    assert_eq!((&attributes["status"], &attributes["exit_code"]), (&json!("exited"), &json!(4)));
    workspace.plans_empty();
}

#[test]
fn default_labels_are_on_everything_and_no_diff() {
    let agent = FakeAgent::start();
    let workspace = Workspace::bare();
    let with = |team: &str| {
        format!(
            "provider \"berth\" {{\n host = \"{}\"\n default_labels = {{ team = \"{team}\" }}\n}}\n{}",
            agent.address(),
            web("labels = { app = \"web\" }")
        )
    };
    workspace.write(&with("a"));
    workspace.apply().ok();
    let attributes = workspace.attributes("berth_instance.web");
    assert_eq!(attributes["effective_labels"], json!({ "app": "web", "team": "a" }));
    assert_eq!(attributes["labels"], json!({ "app": "web" }));
    workspace.plans_empty();
    workspace.write(&with("b"));
    workspace.plans_changes().says("\"team\" = \"a\" -> \"b\"");
    workspace.apply().ok();
    workspace.plans_empty();
    assert_eq!(agent.state().instance("web").spec.as_ref().unwrap().labels["team"], "b");
}
