//! Finds the attributes whose change makes a resource a new one.

use std::collections::BTreeSet;

use crate::{
    schema::{Attribute, Attributes, Nesting, Shape},
    value::{Attr, Known, Path, Value},
};

pub(super) fn find(
    attributes: &Attributes,
    prior: &Value,
    planned: &Value,
    at: &Path,
    found: &mut Vec<Path>,
) {
    for (name, attribute) in attributes {
        let (prior, planned) = (prior.attribute(name), planned.attribute(name));
        if prior == planned {
            continue;
        }
        let path = at.clone().attribute(*name);
        match &attribute.shape {
            _ if attribute.replace => found.push(path),
            Shape::Plain(_) => {}
            Shape::Nested(nesting, nested) => find_nested(*nesting, nested, (prior, planned), &path, found),
        }
    }
}

fn find_nested(
    nesting: Nesting,
    nested: &Attributes,
    (prior, planned): (&Value, &Value),
    at: &Path,
    found: &mut Vec<Path>,
) {
    const NULL: &Value = &Value::Null;
    match nesting {
        Nesting::Single => find(nested, prior, planned, at, found),
        Nesting::List => {
            let (prior, planned) = (list(prior), list(planned));
            for index in 0..prior.len().max(planned.len()) {
                let get = |of: &'_ [Value]| of.get(index).cloned().unwrap_or_default();
                find(nested, &get(prior), &get(planned), &at.clone().index(index), found);
            }
        }
        Nesting::Map => {
            let keys: BTreeSet<&str> = keys(prior).chain(keys(planned)).collect();
            for key in keys {
                let get = |of| element(of, key).unwrap_or(NULL);
                find(nested, get(prior), get(planned), &at.clone().key(key), found);
            }
        }
        // The path of an element of a set ends at the set.
        Nesting::Set if nested.values().any(is_replacing) => found.push(at.clone()),
        Nesting::Set => {}
    }
}

fn is_replacing(attribute: &Attribute) -> bool {
    attribute.replace
        || matches!(&attribute.shape, Shape::Nested(_, nested) if nested.values().any(is_replacing))
}

fn list(value: &Value) -> &[Value] {
    match value {
        Attr::Known(Known::List(elements)) => elements,
        _ => &[],
    }
}

fn keys(value: &Value) -> impl Iterator<Item = &str> {
    let map = match value {
        Attr::Known(Known::Map(elements)) => Some(elements),
        _ => None,
    };
    map.into_iter().flat_map(|elements| elements.keys().map(String::as_str))
}

fn element<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    match value {
        Attr::Known(Known::Map(elements)) => elements.get(key),
        _ => None,
    }
}
