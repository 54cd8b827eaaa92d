//! A table as a value: how it is written for nft, what turns one into another, and its comparison with a listing.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde_json::{Value, json};

use super::State;
use crate::names::hash;

/// What a table holds.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Table {
    family: &'static str,
    name: String,
    sets: BTreeMap<String, Set>,
    chains: BTreeMap<String, Chain>,
}

#[derive(Debug, Clone, PartialEq)]
struct Set {
    kind: &'static str,
    declaration: Value,
    elements: Vec<Value>,
    /// Its elements come from packets.
    dynamic: bool,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Chain {
    base: Option<Value>,
    rules: Vec<Value>,
}

impl Table {
    pub(super) fn new(family: &'static str, name: &str) -> Self {
        Self { family, name: name.to_owned(), sets: BTreeMap::new(), chains: BTreeMap::new() }
    }

    /// A chain that is called from a hook of the kernel's. Its policy is always to accept.
    pub(super) fn base(&mut self, name: &str, kind: &str, hook: &str, priority: i32) {
        let base = json!({ "type": kind, "hook": hook, "prio": priority, "policy": "accept" });
        self.chains.insert(name.to_owned(), Chain { base: Some(base), rules: Vec::new() });
    }

    pub(super) fn chain(&mut self, name: &str) {
        self.chains.entry(name.to_owned()).or_default();
    }

    /// Adds a rule, with a comment of what it is for and a hash of what it does: by its comment alone a listed rule is
    /// known to be this one, however the installed nft prints its statements.
    pub(super) fn rule(&mut self, chain: &str, what: &str, statements: Vec<Value>) {
        let statements = Value::Array(statements);
        let comment = format!("{what} {:016x}", hash(statements.to_string().as_bytes()));
        let chain = self.chains.entry(chain.to_owned()).or_default();
        chain.rules.push(json!({ "expr": statements, "comment": comment }));
    }

    pub(super) fn set(&mut self, name: &str, of: Value, more: Value, elements: Vec<Value>) {
        self.declare("set", name, json!({ "type": of }), more, elements);
    }

    pub(super) fn map(&mut self, name: &str, from: Value, to: &str, elements: Vec<Value>) {
        self.declare("map", name, json!({ "type": from, "map": to }), json!({}), elements);
    }

    fn declare(
        &mut self,
        kind: &'static str,
        name: &str,
        mut declaration: Value,
        more: Value,
        elements: Vec<Value>,
    ) {
        let dynamic =
            more["flags"].as_array().is_some_and(|flags| flags.iter().any(|flag| flag == "timeout"));
        for (key, value) in more.as_object().into_iter().flatten() {
            declaration[key] = value.clone();
        }
        self.sets.insert(name.to_owned(), Set { kind, declaration, elements, dynamic });
    }

    /// How a set or map is declared.
    pub(super) fn declaration(&self, name: &str) -> Option<&Value> {
        self.sets.get(name).map(|set| &set.declaration)
    }

    fn object(&self, mut fields: Value) -> Value {
        fields["family"] = json!(self.family);
        fields["table"] = json!(self.name);
        fields
    }

    fn itself(&self) -> Value {
        json!({ "table": { "family": self.family, "name": self.name } })
    }

    /// The commands that remove the table. Adding it first lets the deletion succeed where there is none.
    pub(super) fn remove(&self) -> Vec<Value> {
        vec![json!({ "add": self.itself() }), json!({ "delete": self.itself() })]
    }

    /// The commands that make the table this, whatever it was.
    pub(super) fn replace(&self) -> Vec<Value> {
        let mut commands = self.remove();
        commands.push(json!({ "add": self.itself() }));
        commands.extend(self.sets.iter().map(|(name, set)| self.add_set(name, set)));
        commands.extend(self.chains.iter().map(|(name, chain)| self.add_chain(name, chain)));
        commands.extend(self.chains.iter().flat_map(|(name, chain)| self.add_rules(name, chain)));
        commands.extend(self.sets.iter().filter_map(|(name, set)| self.elements("add", name, &set.elements)));
        commands
    }

    /// The commands that turn `from`, which is what the kernel has, into this, and touch nothing that stays.
    pub(super) fn change(&self, from: &Self) -> Vec<Value> {
        let alike =
            |ours: &Set, theirs: &Set| (ours.kind, &ours.declaration) == (theirs.kind, &theirs.declaration);
        let redeclared =
            self.sets.iter().any(|(name, set)| from.sets.get(name).is_some_and(|old| !alike(set, old)))
                || self
                    .chains
                    .iter()
                    .any(|(name, chain)| from.chains.get(name).is_some_and(|old| old.base != chain.base));
        if redeclared {
            return self.replace();
        }
        let (mut before, mut after) = (Vec::new(), Vec::new());
        let nothing = Vec::new();
        let new_sets = self.sets.iter().filter(|(name, _)| !from.sets.contains_key(*name));
        before.extend(new_sets.map(|(name, set)| self.add_set(name, set)));
        let new_chains = self.chains.iter().filter(|(name, _)| !from.chains.contains_key(*name));
        before.extend(new_chains.map(|(name, chain)| self.add_chain(name, chain)));
        // What is no more is taken out first: an element may be all that holds a chain.
        let object = |kind: &str, name: &str| json!({ kind: self.object(json!({ "name": name })) });
        for (name, old) in &from.sets {
            match self.sets.get(name) {
                Some(set) => {
                    before.extend(self.elements("delete", name, &missing_from(&set.elements, &old.elements)));
                }
                None if old.elements.is_empty() => {}
                None => before.push(json!({ "flush": object(old.kind, name) })),
            }
        }
        for (name, set) in &self.sets {
            let old = from.sets.get(name).map_or(&nothing, |set| &set.elements);
            after.extend(self.elements("add", name, &missing_from(old, &set.elements)));
        }
        for (name, old) in &from.chains {
            if self.chains.get(name).is_none_or(|chain| chain.rules != old.rules) {
                before.push(json!({ "flush": object("chain", name) }));
            }
        }
        let gone = from.chains.keys().filter(|name| !self.chains.contains_key(*name));
        before.extend(gone.map(|name| json!({ "delete": object("chain", name) })));
        let gone = from.sets.iter().filter(|(name, _)| !self.sets.contains_key(*name));
        before.extend(gone.map(|(name, set)| json!({ "delete": object(set.kind, name) })));
        for (name, chain) in &self.chains {
            if from.chains.get(name).is_none_or(|old| old.rules != chain.rules) {
                before.extend(self.add_rules(name, chain));
            }
        }
        before.extend(after);
        before
    }

    fn add_set(&self, name: &str, set: &Set) -> Value {
        let mut declaration = self.object(set.declaration.clone());
        declaration["name"] = json!(name);
        json!({ "add": { set.kind: declaration } })
    }

    fn add_chain(&self, name: &str, chain: &Chain) -> Value {
        let mut declaration = self.object(chain.base.clone().unwrap_or_else(|| json!({})));
        declaration["name"] = json!(name);
        json!({ "add": { "chain": declaration } })
    }

    fn add_rules(&self, name: &str, chain: &Chain) -> impl Iterator<Item = Value> {
        chain.rules.iter().map(move |rule| {
            let mut rule = self.object(rule.clone());
            rule["chain"] = json!(name);
            json!({ "add": { "rule": rule } })
        })
    }

    /// One object for all elements of a set, since nft takes its time over each object.
    fn elements(&self, verb: &str, name: &str, elements: &[Value]) -> Option<Value> {
        let object = self.object(json!({ "name": name, "elem": elements }));
        (!elements.is_empty()).then(|| json!({ verb: { "element": object } }))
    }

    /// Whether what `nft -j list table` printed is this.
    pub(super) fn compare(&self, listed: &[Value]) -> State {
        let mut wanted = Content::default();
        for (name, chain) in &self.chains {
            let base = chain.base.clone().unwrap_or_default();
            wanted.chain(name, &base);
            for rule in &chain.rules {
                wanted.rule(name, rule);
            }
        }
        let dynamic = |name: &str| self.sets.get(name).is_some_and(|set| set.dynamic);
        for (name, set) in &self.sets {
            wanted.elements(name, if set.dynamic { &[] } else { &set.elements });
        }
        let mut found = Content::default();
        for object in listed {
            if let Some(chain) = object.get("chain") {
                found.chain(&scalar(&chain["name"]), chain);
            } else if let Some(rule) = object.get("rule") {
                found.rule(&scalar(&rule["chain"]), rule);
            } else if let Some(set) = object.get("map").or_else(|| object.get("set")) {
                let name = scalar(&set["name"]);
                let elements = set["elem"].as_array().map(Vec::as_slice).unwrap_or_default();
                found.elements(&name, if dynamic(&name) { &[] } else { elements });
            }
        }
        if found == wanted { State::AsDesired } else { State::Differs }
    }
}

fn missing_from(there: &[Value], wanted: &[Value]) -> Vec<Value> {
    let there: HashSet<&Value> = there.iter().collect();
    wanted.iter().filter(|element| !there.contains(element)).cloned().collect()
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

impl Content {
    fn chain(&mut self, name: &str, chain: &Value) {
        let fields = ["type", "hook", "prio", "policy"].map(|field| scalar(&chain[field]));
        self.chains.insert(std::iter::once(name.to_owned()).chain(fields).collect());
    }

    fn rule(&mut self, chain: &str, rule: &Value) {
        self.rules.entry(chain.to_owned()).or_default().push(scalar(&rule["comment"]));
    }

    fn elements(&mut self, set: &str, elements: &[Value]) {
        self.elements.entry(set.to_owned()).or_default().extend(elements.iter().map(flatten));
    }
}

/// The scalars of an element, in their order: `[{"concat": ["tcp", 80]}, "10.0.0.2"]` is tcp, 80, 10.0.0.2. What an
/// element counted is left out.
fn flatten(element: &Value) -> Vec<String> {
    match element {
        Value::Array(parts) => parts.iter().flat_map(flatten).collect(),
        Value::Object(fields) if fields.contains_key("val") => flatten(&fields["val"]),
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
