//! Reads: what there is on a host is listed once.

use crate::fake::{FakeAgent, digest};
use crate::instance::web;
use crate::run::Workspace;

const MANY: usize = 30;

fn many(labels: &str) -> String {
    format!(
        "resource \"berth_instance\" \"many\" {{\n  count = {MANY}\n  name = \"web-${{count.index}}\"\n  image = \"{}\"\n  {labels}\n}}\n",
        digest("one")
    )
}

#[test]
fn a_plan_lists_what_there_is_once() {
    let agent = FakeAgent::start();
    let others = "resource \"berth_volume\" \"many\" {\n  count = 3\n  name = \"data-${count.index}\"\n}\n\
                  resource \"berth_network\" \"many\" {\n  count = 3\n  name = \"net-${count.index}\"\n}\n";
    let workspace = Workspace::new(&agent, &(many("wait_for = { condition = \"healthy\" }") + others));
    workspace.apply().ok();
    assert_eq!(agent.state().count("WaitInstance"), MANY);
    agent.state().calls.clear();
    workspace.plans_empty();
    let count = |call: &str| agent.state().count(call);
    let lists = ["ListInstances", "ListVolumes", "ListNetworks"].map(count);
    let others = ["GetInstance", "GetVolume", "GetNetwork", "WaitInstance"].map(count);
    assert_eq!((lists, others), ([1; 3], [0; 4]), "{:?}", agent.state().calls);
    assert_eq!(count("GetHost"), 1, "its host is dialled once");
}

#[test]
fn a_list_is_of_no_use_after_a_change() {
    let agent = FakeAgent::start();
    let workspace = Workspace::new(&agent, &web(""));
    workspace.apply().ok();
    // The look-up is made in the apply, by the same provider that has changed what it looks up.
    let look = "data \"berth_instance\" \"web\" {\n  id = berth_instance.web.id\n}\n\
                output \"labels\" {\n  value = data.berth_instance.web.labels.tier\n}\n";
    let labelled = |tier: &str| {
        web(&format!("labels = {{ tier = \"{tier}\" }}\n  lifecycle {{ create_before_destroy = true }}"))
            + look
    };
    for tier in ["front", "back"] {
        workspace.rewrite(&agent, &labelled(tier));
        workspace.apply().ok();
        workspace.apply().ok().says(&format!("labels = \"{tier}\""));
    }
    workspace.plans_empty();
}

#[test]
fn what_is_not_in_the_list_is_asked_for() {
    let agent = FakeAgent::start();
    let workspace = Workspace::new(&agent, &many(""));
    workspace.apply().ok();
    agent.state().remove_instance("web-7");
    workspace.plans_changes().says("1 to add, 0 to change, 0 to destroy");
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let agent = FakeAgent::start();
    let wrong = format!(
        r#"
resource "berth_instance" "web" {{
  name         = "web_1"
  image        = "{}"
  stop_timeout = "soon"
  working_dir  = "tmp"
  limits       = {{ memory = "512M" }}
  timeouts     = {{ create = "soon" }}
  ports = {{
    a = {{ container_port = 80, host_port = 8080 }}
    b = {{ container_port = 81, host_port = 8080 }}
  }}
}}
resource "berth_remote" "hub" {{
  name    = "h/ub"
  address = "ftp://hub"
}}
"#,
        digest("one")
    );
    let workspace = Workspace::new(&agent, &wrong);
    let said = workspace.plan().fails();
    let said = said
        .says("Invalid duration")
        .says("The ports a and b clash")
        .says("\"512M\" could mean 512MiB or 512MB");
    let lines = [
        "name = \"web_1\"",
        "stop_timeout = \"soon\"",
        "working_dir = \"tmp\"",
        "timeouts = {",
        "ports = {",
        "address = \"ftp://hub\"",
    ];
    lines.into_iter().fold(said, |said, line| said.says(line));
    assert_eq!(agent.state().calls, Vec::<String>::new(), "nobody was asked");
}

#[test]
fn an_import_with_written_out_defaults_changes_only_the_state() {
    let agent = FakeAgent::start();
    let first = Workspace::new(&agent, &web(""));
    first.apply().ok();
    let written_out = web("type = \"container\"\n  running = true\n  on_image_change = \"rebuild\"").replace(
        "container_port = 80",
        "container_port = 80, host_address = \"127.0.0.1\", protocol = \"tcp\"",
    );
    let second = Workspace::new(&agent, &written_out);
    second.import("berth_instance.web", "web").ok();
    second
        .plans_changes()
        .says("1 to change")
        .says_not("Warning: The instance")
        .says_not("known after apply");
    second.apply().ok();
    second.plans_empty();
    assert_eq!(agent.state().count("UpdateInstance"), 0, "nothing is to be done on the host");
}
