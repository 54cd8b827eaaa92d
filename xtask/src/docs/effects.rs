//! The page that says of each argument of an instance what a change of it does, and which acceptance case shows it.

use std::fmt::Write as _;
use std::fs;

use serde_json::Value;

use crate::step::{StepError, file, root};

/// The case that changes one argument after the other.
const ALL: (&str, &str) = ("effects", "each_argument_does_what_its_page_says");

/// Arguments that a case of their own shows.
const OWN: [(&str, &str, &str); 7] = [
    ("host", "hosts", "a_host_that_is_down_stops_only_its_own"),
    ("running", "lifecycle", "drift_shows_in_the_plan"),
    ("secret_environment_wo", "process", "a_secret_reaches_the_process_and_nothing_else"),
    ("secret_environment_wo_version", "process", "a_secret_reaches_the_process_and_nothing_else"),
    ("timeouts", "process", "a_wait_that_fails_shows_the_last_words"),
    ("type", "machines", "one_word_makes_it_a_machine"),
    ("wait_for", "process", "a_wait_that_fails_shows_the_last_words"),
];

const HEAD: &str = "---\npage_title: \"What a change of an instance does\"\n---\n\n\
# What a change of an instance does\n\n\
From the schema. *In place*: the process goes on, its pid and start time are the same. *Restart*: a new process on the same root \
file system, with the same volumes and addresses. *Rebuild*: a new root file system; the instance, its volumes and addresses stay. \
*Replace*: Terraform's destroy and create. A plan warns of what restarts and what rebuilds. Each row is shown by the acceptance \
case beside it, under an older and a newer Terraform, with an empty plan after each change.\n\n\
| argument | a change | acceptance case |\n|---|---|---|\n";

/// The page.
pub fn page(attributes: &Value) -> Result<String, StepError> {
    let mut text = HEAD.to_owned();
    for (name, attribute) in attributes.as_object().into_iter().flatten() {
        if attribute["required"] != true && attribute["optional"] != true {
            continue;
        }
        let own = OWN.iter().find(|(argument, _, _)| argument == name);
        let (suite, case) = own.map_or(ALL, |(_, suite, case)| (*suite, *case));
        exists(suite, case)?;
        let effect = effect(name, attribute["description"].as_str().unwrap_or_default())?;
        let _ = writeln!(text, "| `{name}` | {effect} | {suite}: `{case}` |");
    }
    Ok(text)
}

fn exists(suite: &str, case: &str) -> Result<(), StepError> {
    let path = root().join(format!("acceptance-tests/tests/{suite}.rs"));
    let suite = fs::read_to_string(&path).map_err(file("read", &path))?;
    if suite.contains(&format!("pub fn {case}(")) {
        return Ok(());
    }
    Err(StepError::Rule(format!("{} has no case {case}, which shows what a change does", path.display())))
}

/// What the description says; descriptions say it in these words.
fn effect(name: &str, description: &str) -> Result<&'static str, StepError> {
    let says = |words: &str| description.contains(words);
    Ok(match name {
        "image" => "as `on_image_change` says: rebuild (the default), replace, or nothing",
        "name" => "restart; in place if `hostname` is set",
        "on_image_change" => "in place",
        "timeouts" | "wait_for" => "of the state alone",
        "secret_environment_wo" => "nothing: with `secret_environment_wo_version`, restart",
        _ if says("In place") => "in place",
        _ if says("Restart.") || says("Any change of these restarts it.") => "restart",
        _ if says("replaces") => "replace",
        _ => {
            let text = format!("the description of `{name}` does not say what a change does");
            return Err(StepError::Rule(text));
        }
    })
}
