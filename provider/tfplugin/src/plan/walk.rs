//! Goes through nested attributes, with what the configuration, or the state from before, has at the same place.

use std::collections::BTreeMap;

use crate::{
    schema::{Attributes, Nesting},
    value::{Attr, Known, Value},
};

const NULL: &Value = &Value::Null;

/// The element at the same place of another value.
#[derive(Clone, Copy)]
pub(super) enum At<'a> {
    Single,
    Index(usize),
    Key(&'a str),
    /// Elements of a set have no place.
    Nowhere,
}

impl At<'_> {
    pub fn of(self, value: &Value) -> &Value {
        match (self, value) {
            (At::Single, value) => value,
            (At::Index(at), Attr::Known(Known::List(elements))) => elements.get(at).unwrap_or(NULL),
            (At::Key(key), Attr::Known(Known::Map(elements))) => elements.get(key).unwrap_or(NULL),
            _ => NULL,
        }
    }
}

/// Changes each object of a nested attribute's value.
pub(super) fn each_object(
    nesting: Nesting,
    value: Value,
    mut change: impl FnMut(At<'_>, Value) -> Value,
) -> Value {
    match (nesting, value) {
        (Nesting::Single, value) => change(At::Single, value),
        (Nesting::List, Attr::Known(Known::List(elements))) => {
            let changed =
                elements.into_iter().enumerate().map(|(at, element)| change(At::Index(at), element));
            Attr::Known(Known::List(changed.collect()))
        }
        (Nesting::Set, Attr::Known(Known::Set(elements))) => {
            Attr::Known(Known::set(elements.into_iter().map(|element| change(At::Nowhere, element))))
        }
        (Nesting::Map, Attr::Known(Known::Map(elements))) => {
            let changed = elements.into_iter().map(|(key, element)| {
                let element = change(At::Key(&key), element);
                (key, element)
            });
            Attr::Known(Known::Map(changed.collect()))
        }
        (_, value) => value,
    }
}

/// Changes each attribute of a known object; anything else stays.
pub(super) fn each_attribute(
    attributes: &Attributes,
    object: Value,
    mut change: impl FnMut(&'static str, &crate::Attribute, Value) -> Value,
) -> Value {
    let Attr::Known(Known::Object(mut values)) = object else { return object };
    let changed: BTreeMap<String, Value> = attributes
        .iter()
        .map(|(name, attribute)| {
            let value = values.remove(*name).unwrap_or_default();
            ((*name).to_owned(), change(name, attribute, value))
        })
        .collect();
    Attr::Known(Known::Object(changed))
}
