//! What a user of a provider sees.

use std::fs;

use serde_json::{Value as Json, json};

use crate::run::Workspace;

pub fn a_note_lives_and_ends(at: &Workspace) {
    at.note(
        r#"
        name   = "a"
        text   = "hello"
        labels = { x = { value = "1" }, y = { value = "2", number = 7 } }
        seal   = { by = "me" }"#,
    );
    at.applies();
    assert_eq!(at.text("a").unwrap(), "hello");
    let attributes = at.instance()["attributes"].clone();
    assert_eq!(attributes["id"], "a");
    assert_eq!(attributes["mode"], "0644");
    assert_eq!(attributes["seal"], json!({ "by": "me", "strong": true }));
    assert_eq!(
        attributes["labels"],
        json!({ "x": { "value": "1", "number": 0 }, "y": { "value": "2", "number": 7 } })
    );
    assert_eq!(attributes["length"], 5);
    at.destroy().code(0);
    assert_eq!(at.text("a"), None);
}

pub fn a_change_is_in_place_or_a_new_one(at: &Workspace) {
    at.note("name = \"a\"\ntext = \"one\"\nseal = { by = \"me\" }");
    at.applies();
    at.note("name = \"a\"\ntext = \"three\"\nseal = { by = \"me\", strong = false }");
    at.plan().code(2).says("updated in-place").says("(known after apply)");
    at.applies();
    assert_eq!(at.attribute("length"), 5);
    assert_eq!(at.attribute("applies"), 2, "the private state came through plan, apply and read");
    at.note("name = \"a\"\ntext = \"three\"\nseal = { by = \"you\" }");
    at.plan().code(2).says("must be replaced").says("forces replacement");
    at.applies();
    assert_eq!(at.attribute("applies"), 1);
    at.note("name = \"b\"\ntext = \"three\"\nseal = { by = \"you\" }");
    at.applies();
    assert_eq!((at.text("a"), at.text("b").as_deref()), (None, Some("three")));
    // No text and no seal: both are taken out.
    at.note("name = \"b\"");
    at.applies();
    assert_eq!((at.attribute("text"), at.attribute("seal")), (Json::Null, Json::Null));
}

pub fn equal_spellings_and_numbers_make_no_change(at: &Workspace) {
    at.note("name = \"a\"\nlimit = \"4KiB\"\nweight = 0.1");
    at.applies();
    assert_eq!(at.attribute("limit"), "4KiB");
    assert_eq!(at.attribute("weight").to_string(), "0.1");
    at.note("name = \"a\"\nlimit = \"4096\"\nweight = 0.1");
    at.plan().code(0);
    at.note("name = \"a\"\nlimit = \"8192\"\nweight = 1e3");
    at.applies();
    assert_eq!((at.attribute("limit"), at.attribute("weight")), (json!("8192"), json!(1000)));
}

pub fn write_only_values_are_in_no_state(at: &Workspace) {
    at.note("name = \"a\"\nsecret_wo = \"hush-hush\"\nsecret_wo_version = 1");
    at.applies();
    assert_eq!(at.text("a").unwrap(), "\nsecret: hush-hush");
    assert_eq!(at.attribute("secret_wo"), Json::Null);
    // Another secret is seen when its version is raised.
    at.note("name = \"a\"\nsecret_wo = \"other\"\nsecret_wo_version = 1");
    at.plan().code(0);
    at.note("name = \"a\"\nsecret_wo = \"other\"\nsecret_wo_version = 2");
    at.applies();
    assert_eq!(at.text("a").unwrap(), "\nsecret: other");
}

pub fn a_failed_create_is_kept_and_taken_away(at: &Workspace) {
    at.note("name = \"a\"\nmishap = \"fail\"");
    at.apply().code(1).says("It failed half-way").says("mishap = \"fail\"");
    assert_eq!(at.instance()["status"], "tainted");
    assert!(at.text("a").is_some());
    at.note("name = \"a\"");
    at.plan().code(2).says("tainted");
    at.applies();
    assert_eq!(at.attribute("applies"), 1);
}

pub fn a_panic_is_an_error_and_keeps_what_was_made(at: &Workspace) {
    at.note("name = \"a\"\nmishap = \"panic\"");
    at.apply().code(1).says("The provider made a mistake").says("as asked");
    assert_eq!(at.instance()["status"], "tainted");
    at.destroy().code(0);
    assert_eq!(at.text("a"), None);
}

pub fn a_failed_update_keeps_the_old_state(at: &Workspace) {
    at.note("name = \"a\"\ntext = \"old\"");
    at.applies();
    at.note("name = \"a\"\ntext = \"new\"\nmishap = \"fail\"");
    at.apply().code(1).says("It failed");
    assert_eq!((at.attribute("text"), at.attribute("mishap")), (json!("old"), Json::Null));
    assert_eq!(at.instance().get("status"), None);
    at.note("name = \"a\"\ntext = \"new\"");
    at.applies();
    assert_eq!(at.attribute("text"), "new");
}

pub fn what_is_gone_is_made_again(at: &Workspace) {
    at.note("name = \"a\"\ntext = \"here\"");
    at.applies();
    fs::remove_file(at.path("notes/a")).unwrap();
    at.plan().code(2).says("1 to add");
    at.applies();
    fs::write(at.path("notes/a"), "changed").unwrap();
    at.plan().code(2).says("1 to change");
    at.applies();
    assert_eq!(at.text("a").unwrap(), "here");
}

pub fn an_import_has_an_empty_plan(at: &Workspace) {
    fs::write(at.path("notes/a"), "from before").unwrap();
    at.note("name = \"a\"\ntext = \"from before\"");
    at.apply().code(1).says("The name is taken");
    at.terraform(&["import", "-no-color", "keeper_note.it", "none"]).code(1).says("There is no note none");
    at.terraform(&["import", "-no-color", "keeper_note.it", "a"]).code(0);
    at.plan().code(0);
}

pub fn diagnostics_are_on_the_argument(at: &Workspace) {
    at.note("name = \"a\"\ntext = \"forbidden\"");
    at.plan().code(1).says("Forbidden text").says("text = \"forbidden\"").says("Write another.");
    at.note("name = \"a\"\nmode = \"rwx\"");
    at.plan().code(1).says("Invalid value").says("mode = \"rwx\"").says("it must be an octal number");
    at.note("name = \"a\"\ntimeouts = { create = \"soon\" }");
    at.plan().code(1).says("Invalid duration");
    at.note("name = \"a\"\ntext = \"doubtful\"");
    at.apply().code(0).says("Warning: Doubtful text");
}

pub fn unknown_values_are_known_after_the_apply(at: &Workspace) {
    let configuration = r#"
        resource "terraform_data" "source" {
          input = "made"
        }
        resource "keeper_note" "it" {
          name   = terraform_data.source.output
          text   = terraform_data.source.id
          labels = { x = { value = terraform_data.source.id } }
        }
        data "keeper_note" "found" {
          name = keeper_note.it.id
        }
        output "found" {
          value = data.keeper_note.found.text
        }"#;
    at.write(configuration);
    at.applies();
    let text = at.text("made").unwrap();
    assert_eq!(at.state()["outputs"]["found"]["value"], text);
    assert_eq!(at.attribute("labels")["x"]["value"], text);
}

pub fn an_old_state_is_upgraded(at: &Workspace) {
    at.note("name = \"a\"\ntext = \"hello\"");
    at.applies();
    let mut state = at.state();
    let serial = state["serial"].as_i64().unwrap();
    state["serial"] = json!(serial + 1);
    let instance = &mut state["resources"][0]["instances"][0];
    instance["schema_version"] = json!(0);
    let attributes = instance["attributes"].as_object_mut().unwrap();
    let text = attributes.remove("text").unwrap();
    attributes.insert("body".into(), text);
    fs::write(at.path("terraform.tfstate"), state.to_string()).unwrap();
    at.plan().code(0);
    let mut newer = at.state();
    newer["resources"][0]["instances"][0]["schema_version"] = json!(2);
    fs::write(at.path("terraform.tfstate"), newer.to_string()).unwrap();
    // Terraform itself may refuse it before the provider is asked.
    at.plan().code(1);
}
