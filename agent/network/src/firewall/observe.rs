//! Comparing a listed table with the desired one.

use std::collections::{BTreeMap, BTreeSet};

use nftables::schema::Nftables;
use serde_json::Value;

/// What [`Firewall::observe`](super::Firewall::observe) found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The table is as desired.
    AsDesired,
    /// It is there, and something of it is not as desired.
    Differs,
    /// It is not there.
    Missing,
}

/// The parts of a table that tell it from another, in a form that does not depend on nft's version: handles, counters
/// and the spelling of statements are left out; rules are known by their comments.
#[derive(Debug, Default, PartialEq, Eq)]
struct Content {
    chains: BTreeSet<Vec<String>>,
    /// The comments of each chain's rules, in their order.
    rules: BTreeMap<String, Vec<String>>,
    elements: BTreeMap<String, BTreeSet<Vec<String>>>,
}

pub(super) fn compare(listed: &[Value], desired: &Nftables<'_>) -> State {
    let mut wanted = Content::default();
    // The document is a list of commands; what it adds are the same objects that a listing has.
    let document = serde_json::to_value(desired).unwrap_or_default();
    let commands = document.get("nftables").and_then(Value::as_array);
    commands
        .into_iter()
        .flatten()
        .filter_map(|command| command.get("add"))
        .for_each(|object| wanted.take(object));
    let mut found = Content::default();
    listed.iter().for_each(|object| found.take(object));
    if found == wanted { State::AsDesired } else { State::Differs }
}

impl Content {
    fn take(&mut self, object: &Value) {
        if let Some(chain) = object.get("chain") {
            let fields = ["name", "type", "hook", "prio", "policy"];
            self.chains.insert(fields.iter().map(|field| scalar(&chain[field])).collect());
        } else if let Some(rule) = object.get("rule") {
            self.rules.entry(scalar(&rule["chain"])).or_default().push(scalar(&rule["comment"]));
        } else if let Some(map) =
            object.get("map").or_else(|| object.get("set")).or_else(|| object.get("element"))
        {
            let elements = self.elements.entry(scalar(&map["name"])).or_default();
            elements.extend(map["elem"].as_array().into_iter().flatten().map(flatten));
        }
    }
}

/// The scalars of an element, in their order: `[{"concat": ["tcp", 80]}, "10.0.0.2"]` is tcp, 80, 10.0.0.2.
fn flatten(element: &Value) -> Vec<String> {
    match element {
        Value::Array(parts) => parts.iter().flat_map(flatten).collect(),
        Value::Object(fields) => fields.values().flat_map(flatten).collect(),
        scalar => vec![self::scalar(scalar)],
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
