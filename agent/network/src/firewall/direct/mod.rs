//! Changes for the kernel itself. Running `nft` takes longer than what it does, and the longer the more there is: it reads
//! all tables first.
//!
//! The JSON that nft would be given is what is translated, so that the tables are told in one language: that of nft's manual,
//! in which nft lists them as well.
//!
//! | module | translates |
//! |---|---|
//! | `rule` | a rule's statements, and what a packet must be for them to make sense |
//! | `field` | what a statement looks at |
//! | `value` | values and elements of sets, by nft's types |

mod field;
mod rule;
#[cfg(test)]
mod tests;
mod value;

use berth_sys::netlink::nftables::{Base, Batch, DataKind, Family, Hook, Kind, Set, TableName};
use serde_json::Value;

use super::table::Table;

/// What the tables say that has no translation: a name with no room for it in the kernel, or a fault of ours.
#[derive(Debug, thiserror::Error)]
pub enum Untranslated {
    /// A value.
    #[error("{value} is no {kind}")]
    Value {
        /// What it is not, as nft calls it.
        kind: String,
        /// The value.
        value: String,
    },
    /// A part of the JSON.
    #[error("it is not known what this is for the kernel: {0}")]
    Part(String),
}

impl Untranslated {
    fn part(value: &Value) -> Self {
        Self::Part(value.to_string())
    }
}

/// Adds a table's commands to a batch.
pub(super) fn translate(table: &Table, commands: &[Value], batch: &mut Batch) -> Result<(), Untranslated> {
    for command in commands {
        let (verb, object) = only(command)?;
        let (kind, object) = only(object)?;
        let family = match text(object, "family")? {
            "inet" => Family::Inet,
            "bridge" => Family::Bridge,
            _ => return Err(Untranslated::part(object)),
        };
        if kind == "table" {
            of_table(verb, TableName { family, name: text(object, "name")? }, batch);
            continue;
        }
        let of = TableName { family, name: text(object, "table")? };
        match (verb, kind) {
            ("add", "rule") => {
                let statements = rule::statements(family, list(object, "expr")?)?;
                batch.add_rule(of, text(object, "chain")?, &statements, text(object, "comment")?);
            }
            (_, "chain") => of_chain(verb, of, object, batch)?,
            (_, "set" | "map") => of_set(verb, of, object, batch)?,
            (_, "element") => of_elements(verb, of, table, object, batch)?,
            _ => return Err(Untranslated::part(command)),
        }
    }
    Ok(())
}

fn of_table(verb: &str, table: TableName<'_>, batch: &mut Batch) {
    match verb {
        "delete" => batch.delete_table(table),
        _ => batch.add_table(table),
    }
}

fn of_chain(verb: &str, of: TableName<'_>, chain: &Value, batch: &mut Batch) -> Result<(), Untranslated> {
    let name = text(chain, "name")?;
    match verb {
        "flush" => batch.flush_chain(of, name),
        "delete" => batch.delete_chain(of, name),
        _ => batch.add_chain(of, name, base(chain)?),
    }
    Ok(())
}

/// Where the kernel calls a chain, if it does.
fn base(chain: &Value) -> Result<Option<Base<'_>>, Untranslated> {
    let Some(hook) = chain.get("hook") else { return Ok(None) };
    let hook = match hook.as_str() {
        Some("prerouting") => Hook::Prerouting,
        Some("input") => Hook::Input,
        Some("forward") => Hook::Forward,
        Some("output") => Hook::Output,
        Some("postrouting") => Hook::Postrouting,
        _ => return Err(Untranslated::part(chain)),
    };
    let priority = chain.get("prio").and_then(Value::as_i64).and_then(|number| i32::try_from(number).ok());
    match (text(chain, "policy")?, priority) {
        ("accept", Some(priority)) => Ok(Some(Base { kind: text(chain, "type")?, hook, priority })),
        _ => Err(Untranslated::part(chain)),
    }
}

fn of_set(verb: &str, of: TableName<'_>, set: &Value, batch: &mut Batch) -> Result<(), Untranslated> {
    let name = text(set, "name")?;
    match verb {
        "flush" => batch.flush_set(of, name),
        "delete" => batch.delete_set(of, name),
        _ => batch.add_set(of, name, &declared(set)?),
    }
    Ok(())
}

fn declared(set: &Value) -> Result<Set, Untranslated> {
    let data = match set.get("map").and_then(Value::as_str) {
        None => None,
        Some("verdict") => Some(DataKind::Verdict),
        Some(kind) => Some(DataKind::Value(value::kind(kind)?)),
    };
    let size = set.get("size").and_then(Value::as_u64).and_then(|size| u32::try_from(size).ok());
    Ok(Set { key: key(set)?, data, remembers: size, counts: set.get("stmt").is_some() })
}

/// The type of a set's keys.
fn key(set: &Value) -> Result<Kind, Untranslated> {
    match value::types(set)?.as_slice() {
        [one] => value::kind(one),
        parts => {
            let parts = parts.iter().map(|part| value::kind(part)).collect::<Result<Vec<_>, _>>()?;
            Ok(Kind::of_parts(&parts))
        }
    }
}

fn of_elements(
    verb: &str,
    of: TableName<'_>,
    table: &Table,
    object: &Value,
    batch: &mut Batch,
) -> Result<(), Untranslated> {
    let name = text(object, "name")?;
    let declaration = table.declaration(name).ok_or_else(|| Untranslated::part(object))?;
    let elements = list(object, "elem")?.iter().map(|one| value::element(declaration, one));
    let elements = elements.collect::<Result<Vec<_>, _>>()?;
    match verb {
        "delete" => batch.delete_elements(of, name, &elements),
        _ => batch.add_elements(of, name, &elements),
    }
    Ok(())
}

/// The one field of an object.
fn only(object: &Value) -> Result<(&str, &Value), Untranslated> {
    let mut fields = object.as_object().into_iter().flatten();
    match (fields.next(), fields.next()) {
        (Some((name, value)), None) => Ok((name, value)),
        _ => Err(Untranslated::part(object)),
    }
}

fn text<'a>(object: &'a Value, field: &str) -> Result<&'a str, Untranslated> {
    object.get(field).and_then(Value::as_str).ok_or_else(|| Untranslated::part(object))
}

fn list<'a>(object: &'a Value, field: &str) -> Result<&'a [Value], Untranslated> {
    let list = object.get(field).and_then(Value::as_array).ok_or_else(|| Untranslated::part(object));
    list.map(Vec::as_slice)
}
