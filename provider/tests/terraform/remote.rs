//! The life of a remote, and of its password.

use serde_json::json;

use crate::fake::FakeAgent;
use crate::run::Workspace;

const SECRET: &str = "hunter2-never-shown";

fn remote(version: u32, extra: &str) -> String {
    format!(
        r#"
variable "password" {{
  ephemeral = true
  default   = "{SECRET}"
}}

resource "berth_remote" "hub" {{
  name                = "hub"
  address             = "https://registry.example:443/"
  username            = "me"
  password_wo         = var.password
  password_wo_version = {version}
  {extra}
}}
"#
    )
}

#[test]
fn the_password_reaches_the_agent_and_nothing_else() {
    let agent = FakeAgent::start();
    let mut workspace = Workspace::new(&agent, &remote(1, ""));
    let log = workspace.path().join("log.txt").display().to_string();
    workspace.set("TF_LOG", "TRACE");
    workspace.set("TF_LOG_PATH", log);
    let said = workspace.apply().ok();
    assert!(!said.text.contains(SECRET));
    assert_eq!(agent.state().passwords.values().collect::<Vec<_>>(), [SECRET]);
    workspace.plans_empty();
    workspace.terraform(&["plan", "-out=saved", "-input=false"]).ok();
    let files = workspace.all_files();
    assert!(files.contains("registry.example"));
    assert!(!files.contains(SECRET), "the password is in a file");
    assert_eq!(workspace.attributes("berth_remote.hub")["password_wo"], json!(null));
}

#[test]
fn the_version_sends_the_password_again() {
    let agent = FakeAgent::start();
    let workspace = Workspace::new(&agent, &remote(1, ""));
    workspace.apply().ok();
    workspace.rewrite(&agent, &remote(1, "").replace(SECRET, "another"));
    workspace.plans_empty();
    workspace.rewrite(&agent, &remote(2, "").replace(SECRET, "another"));
    workspace.plans_changes().says("password_wo_version = 1 -> 2");
    workspace.apply().ok();
    assert_eq!(agent.state().passwords.values().collect::<Vec<_>>(), ["another"]);

    agent.state().passwords.clear();
    agent.state().remotes.values_mut().for_each(|remote| remote.has_password = false);
    workspace.plans_changes().says("+ password_wo_version = 2");
    workspace.apply().ok();
    assert_eq!(agent.state().passwords.len(), 1);

    let without =
        "resource \"berth_remote\" \"hub\" {\n name = \"hub\"\n address = \"https://registry.example\"\n}";
    workspace.rewrite(&agent, without);
    workspace.apply().ok();
    assert!(agent.state().passwords.is_empty());
    workspace.plans_empty();
}

#[test]
fn create_update_import_destroy() {
    let agent = FakeAgent::start();
    let plain = |extra: &str| {
        format!(
            "resource \"berth_remote\" \"local\" {{\n name = \"local\"\n address = \"http://127.0.0.1:5000\"\n {extra}\n}}"
        )
    };
    let workspace = Workspace::new(&agent, &plain(""));
    workspace.plan().fails().says("The address is plain HTTP").says("insecure = true");
    workspace.rewrite(&agent, &plain("insecure = true"));
    workspace.apply().ok();
    workspace.plans_empty();
    let id = workspace.attributes("berth_remote.local")["id"].clone();

    let second = Workspace::new(&agent, &plain("insecure = true"));
    second.apply().fails().says("import { to = berth_remote.local id = \"local\" }");
    second.import("berth_remote.local", "local").ok();
    second.plans_empty();

    workspace.rewrite(&agent, &plain("insecure = true").replace("5000", "5001"));
    workspace.apply().ok().says("1 changed");
    assert_eq!(workspace.attributes("berth_remote.local")["id"], id);
    workspace
        .rewrite(&agent, &plain("insecure = true").replace("\"local\"\n address", "\"other\"\n address"));
    workspace.plans_changes().says("forces replacement");
    workspace.destroy().ok();
    assert!(agent.state().remotes.is_empty());
}
