//! The life of a pin.

use serde_json::json;

use crate::fake::{FakeAgent, digest};
use crate::run::Workspace;

const REFERENCE: &str = "docker.io/library/web:1";

fn agent() -> FakeAgent {
    let agent = FakeAgent::start();
    tag(&agent, REFERENCE, "one");
    agent
}

fn tag(agent: &FakeAgent, reference: &str, image: &str) {
    let digests = (digest(&format!("index-{image}")), digest(image));
    agent.state().tags.insert(reference.to_owned(), digests);
}

fn image(extra: &str) -> String {
    format!("resource \"berth_image\" \"web\" {{\n  reference = \"{REFERENCE}\"\n  {extra}\n}}\n")
}

#[test]
fn create_plan_import_destroy() {
    let agent = agent();
    let workspace = Workspace::new(&agent, &image(""));
    workspace.apply().ok();
    let attributes = workspace.attributes("berth_image.web");
    assert_eq!(attributes["id"], digest("one"));
    assert_eq!(attributes["platform"], "linux/amd64");
    assert_eq!(attributes["reference_resolved"], format!("docker.io/library/web@{}", digest("one")));
    assert_eq!(attributes["config"]["entrypoint"], json!(["/bin/web"]));
    assert_eq!(attributes["config"]["health_check"]["interval"], "30s");
    assert_eq!(attributes["layers"][0]["size"], 1200);
    workspace.plans_empty();

    let second = Workspace::new(&agent, &image(""));
    second.import("berth_image.web", REFERENCE).ok();
    second.plans_empty();
    second.import("berth_image.web", "docker.io/library/other:1").fails();

    workspace.destroy().ok();
    assert!(agent.state().pins.is_empty());
}

#[test]
fn a_moved_tag_shows_as_the_digests_change() {
    let agent = agent();
    let resources = image("")
        + "resource \"berth_instance\" \"web\" {\n  name = \"web\"\n  image = berth_image.web.id\n}\n";
    let workspace = Workspace::new(&agent, &resources);
    workspace.apply().ok();
    workspace.plans_empty();
    let pin = agent.state().pins.keys().next().unwrap().clone();

    tag(&agent, REFERENCE, "two");
    let said = workspace.plans_changes().says("2 to change");
    let said = said.says(&format!("\"{}\" -> \"{}\"", digest("one"), digest("two")));
    said.says("Warning: The instance web will be rebuilt").says("Because image changes.");
    workspace.terraform(&["plan", "-out=saved", "-input=false"]).ok();
    // What was planned is applied, whatever the tag says by then.
    tag(&agent, REFERENCE, "three");
    workspace.terraform(&["apply", "-input=false", "saved"]).ok();
    assert_eq!(workspace.attributes("berth_image.web")["id"], digest("two"));
    assert_eq!(agent.state().instance("web").image_id, digest("two"));
    assert_eq!(agent.state().pins.keys().collect::<Vec<_>>(), [&pin]);

    workspace.plans_changes().says(&format!("-> \"{}\"", digest("three")));
    workspace.apply().ok();
    workspace.plans_empty();
}

#[test]
fn an_index_that_moved_for_others_only_is_no_change() {
    let agent = agent();
    let workspace = Workspace::new(&agent, &image(""));
    workspace.apply().ok();
    agent.state().tags.insert(REFERENCE.to_owned(), (digest("index-other"), digest("one")));
    workspace.plans_empty();
}

#[test]
fn a_registry_that_is_down_warns_and_changes_nothing() {
    let agent = agent();
    let workspace = Workspace::new(&agent, &image(""));
    workspace.apply().ok();
    agent.state().registry_down = true;
    let said = workspace.plans_empty();
    said.says(&format!("Warning: {REFERENCE} may have moved")).says("The registry does not answer");
}

#[test]
fn the_reference_changes_in_place_and_the_platform_replaces() {
    let agent = agent();
    tag(&agent, "docker.io/library/web:2", "two");
    let workspace = Workspace::new(&agent, &image(""));
    workspace.apply().ok();
    workspace.rewrite(&agent, &image("").replace("web:1", "web:2"));
    workspace.plans_changes().says("1 to change").says("id = ");
    workspace.apply().ok();
    assert_eq!(workspace.attributes("berth_image.web")["id"], digest("two"));
    assert_eq!(agent.state().pins.len(), 1);
    let platform = image("platform = \"linux/arm64\"").replace("web:1", "web:2");
    workspace.rewrite(&agent, &platform);
    workspace.plans_changes().says("platform = \"linux/amd64\" -> \"linux/arm64\" # forces replacement");
    workspace.apply().ok();
    workspace.plans_empty();
}

#[test]
fn the_platform_is_the_hosts_whatever_terraform_runs_on() {
    // This machine is none of these.
    for architecture in ["riscv64", "s390x"] {
        let agent = agent();
        agent.state().architecture = architecture.to_owned();
        let workspace = Workspace::new(&agent, &image(""));
        workspace.apply().ok();
        assert_eq!(workspace.attributes("berth_image.web")["platform"], format!("linux/{architecture}"));
        workspace.plans_empty();
    }
}

#[test]
fn a_pin_may_be_left_on_the_host() {
    let agent = agent();
    let workspace = Workspace::new(&agent, &image(""));
    workspace.apply().ok();
    workspace.rewrite(&agent, &image("keep_on_destroy = true"));
    workspace.plans_changes().says("1 to change").says_not("known after apply");
    workspace.apply().ok();
    workspace.plans_empty();
    workspace.destroy().ok();
    assert_eq!(agent.state().pins.len(), 1);
}

#[test]
fn a_pin_that_was_removed_is_made_anew() {
    let agent = agent();
    let workspace = Workspace::new(&agent, &image(""));
    workspace.apply().ok();
    agent.state().pins.clear();
    workspace.plans_changes().says("1 to add");
    workspace.apply().ok();
    workspace.plans_empty();
}

#[test]
fn errors_are_on_the_reference() {
    let agent = agent();
    let workspace = Workspace::new(&agent, &image("").replace("web:1", "nope:1"));
    workspace.apply().fails().says("There is no image docker.io/library/nope:1").says("reference = ");
    assert!(agent.state().pins.is_empty());
    workspace.rewrite(&agent, &image("").replace(REFERENCE, "postgres"));
    workspace.plan().fails().says("Write \"docker.io/postgres\"");
}
