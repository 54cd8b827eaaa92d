//! What a user sees beside resources: functions, ephemerals, actions, lists and identity.

use std::fs;

use serde_json::json;

use crate::run::{Said, Workspace};

pub fn a_function_is_called_with_its_arguments(at: &Workspace) {
    at.write(
        "output \"loud\" {\n  value = provider::keeper::shout(\"hello\")\n}\n\
         output \"none\" {\n  value = provider::keeper::sum(null)\n}\n\
         output \"some\" {\n  value = provider::keeper::sum(\"all\", 1, 2, 3)\n}\n",
    );
    at.applies();
    let outputs = at.state()["outputs"].clone();
    assert_eq!(outputs["loud"]["value"], "HELLO");
    assert_eq!(outputs["none"]["value"], "sum = 0");
    assert_eq!(outputs["some"]["value"], "all = 6");
}

pub fn a_functions_error_is_on_its_argument(at: &Workspace) {
    let call = |call: &str| {
        at.write(&format!("output \"it\" {{\n  value = provider::keeper::{call}\n}}\n"));
        at.plan().code(1)
    };
    call("shout(\"hey!\")").says("Invalid value for \"text\" parameter").says("It is shouted already.");
    call("sum(null, 1, 0.5)").says("Invalid value for \"numbers\" parameter").says("a whole number");
    call("sum(null, 9223372036854775807, 1)").says("The sum is too large.");
    call("shout(\"panic\")").says("The provider made a mistake").says("as asked");
    call("shout(null)").says("argument must not be null");
}

pub fn an_ephemeral_is_opened_and_closed_and_kept_nowhere(at: &Workspace) {
    fs::write(at.path("notes/source"), "hush-hush").unwrap();
    let copy = |name: &str| {
        format!(
            "ephemeral \"keeper_note\" \"copy\" {{\n  name = \"{name}\"\n}}\n\
             resource \"keeper_note\" \"it\" {{\n  name = \"a\"\n  secret_wo = ephemeral.keeper_note.copy.text\n  secret_wo_version = 1\n}}\n"
        )
    };
    at.write(&copy("source"));
    at.applies();
    assert_eq!(at.text("a").unwrap(), "\nsecret: hush-hush");
    assert!(!fs::read_to_string(at.path("terraform.tfstate")).unwrap().contains("hush"));
    let journal = fs::read_to_string(at.path("journal")).unwrap();
    let count = |word: &str| journal.lines().filter(|line| line.starts_with(word)).count();
    assert!(count("open source") >= 2, "{journal}");
    assert_eq!(count("open"), count("close"), "{journal}");
    at.write(&copy("none"));
    at.plan().code(1).says("There is no such note").says("name = \"none\"");
    at.write(&copy("forbidden"));
    at.plan().code(1).says("Forbidden name");
}

/// With an action, and the note it is triggered by.
fn stamp(at: &Workspace, text: &str, config: &str) {
    at.write(&format!(
        "action \"keeper_stamp\" \"it\" {{\n  config {{\n    {config}\n  }}\n}}\n\
         resource \"keeper_note\" \"it\" {{\n  name = \"a\"\n  text = \"{text}\"\n  lifecycle {{\n    ignore_changes = [text]\n    action_trigger {{\n      events  = [after_create]\n      actions = [action.keeper_stamp.it]\n    }}\n  }}\n}}\n"
    ));
}

fn invoke(at: &Workspace) -> Said {
    at.terraform(&["apply", "-auto-approve", "-input=false", "-no-color", "-invoke=action.keeper_stamp.it"])
}

pub fn an_action_tells_how_far_it_is(at: &Workspace) {
    stamp(at, "once", "name = \"a\"\n times = 3");
    at.apply().code(0).says("stamp 1 of 3").says("stamp 3 of 3").says("Action complete");
    assert_eq!(at.text("a").unwrap(), "once###");
    invoke(at).code(0).says("stamp 2 of 3");
    assert_eq!(at.text("a").unwrap(), "once######");
}

pub fn an_actions_errors_are_its_own(at: &Workspace) {
    stamp(at, "once", "name = \"none\"\n times = 1");
    at.apply().code(1).says("There is no such note").says("name = \"none\"");
    stamp(at, "once", "name = \"forbidden\"\n times = 1");
    at.plan().code(1).says("Forbidden name");
    stamp(at, "once", "name = \"a\"\n times = -1");
    at.plan().code(1).says("Unexpected value");
    stamp(at, "once", "name = \"a\"\n times = 0");
    invoke(at).code(0).says("Warning: Nothing to stamp");
}

/// What `terraform query` says of a list with these arguments.
fn query(at: &Workspace, arguments: &str, config: &str) -> Said {
    at.write("");
    fs::write(
        at.path("all.tfquery.hcl"),
        format!(
            "list \"keeper_note\" \"all\" {{\n  provider = keeper\n  {arguments}\n  config {{\n    {config}\n  }}\n}}\n"
        ),
    )
    .unwrap();
    at.terraform(&["query", "-no-color", "-json"])
}

pub fn what_there_is_is_listed(at: &Workspace) {
    query(at, "", "").code(0).says("There are no notes");
    for name in ["a1", "a2", "a3", "b1"] {
        fs::write(at.path("notes").join(name), format!("text of {name}")).unwrap();
    }
    let said = query(at, "", "prefix = \"a\"").code(0);
    assert_eq!(said.text.matches("\"display_name\":\"the note a").count(), 3, "{}", said.text);
    let said = said.says("\"identity\":{\"name\":\"a2\"}");
    assert!(!said.text.contains("text of"), "{}", said.text);
    let said = query(at, "include_resource = true\n  limit = 2", "prefix = \"a\"").code(0);
    assert_eq!(said.text.matches("\"display_name\"").count(), 2, "{}", said.text);
    said.says("text of a2");
    query(at, "", "prefix = \"forbidden\"").code(1).says("Forbidden name");
}

pub fn an_identity_names_what_is_imported(at: &Workspace) {
    fs::write(at.path("notes/a"), "from before").unwrap();
    let import = "import {\n  to       = keeper_note.it\n  identity = { name = \"a\" }\n}\n";
    at.write(&format!(
        "{import}resource \"keeper_note\" \"it\" {{\n  name = \"a\"\n  text = \"from before\"\n}}\n"
    ));
    at.applies();
    assert_eq!(at.instance()["identity"], json!({ "name": "a" }));
    // Another name is another identity.
    at.note("name = \"b\"");
    at.applies();
    assert_eq!(at.instance()["identity"], json!({ "name": "b" }));
}

pub fn generated_configuration_plans_empty(at: &Workspace) {
    fs::write(at.path("notes/a"), "from before").unwrap();
    fs::write(at.path("notes/b"), "").unwrap();
    let import =
        |name: &str, to: &str| format!("import {{\n  to = keeper_note.{to}\n  id = \"{name}\"\n}}\n");
    at.write(&(import("a", "it") + &import("b", "empty")));
    let said = at.terraform(&["plan", "-input=false", "-no-color", "-generate-config-out=made.tf"]).code(0);
    said.says("2 to import, 0 to add, 0 to change, 0 to destroy");
    let made = fs::read_to_string(at.path("made.tf")).unwrap();
    assert!(made.contains("\"from before\"") && !made.contains("length"), "{made}");
    at.applies();
}
