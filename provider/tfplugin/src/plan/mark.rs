//! Makes computed attributes unknown.

use std::collections::BTreeSet;

use super::walk::{At, each_attribute, each_object};
use crate::{
    schema::{Attribute, Attributes, Computed, Shape},
    value::Value,
};

/// Which attributes of the resource change.
struct Changes(BTreeSet<&'static str>);

impl Changes {
    fn concern(&self, computed: &Computed) -> bool {
        match computed {
            Computed::OnAnyChange => !self.0.is_empty(),
            Computed::Keep => false,
            Computed::OnChangeOf(names) => names.iter().any(|name| self.0.contains(name)),
        }
    }
}

/// The plan with unknown in the place of each attribute that is to be computed.
pub(super) fn mark(attributes: &Attributes, config: &Value, prior: &Value, base: Value) -> Value {
    let changed = |name: &&&'static str| base.attribute(name) != prior.attribute(name);
    let mut changes = Changes(attributes.keys().filter(changed).copied().collect());
    // What depends on a computed attribute that is to become unknown changes with it.
    loop {
        let follows = |(name, attribute): (&&'static str, &Attribute)| {
            let computed =
                attribute.computed.as_ref().filter(|_| is_computed(attribute, config.attribute(name)))?;
            (!changes.0.contains(name) && changes.concern(computed)).then_some(*name)
        };
        let more: Vec<&'static str> = attributes.iter().filter_map(follows).collect();
        if more.is_empty() {
            break;
        }
        changes.0.extend(more);
    }
    mark_object(attributes, config, prior, base, &changes)
}

fn mark_object(
    attributes: &Attributes,
    config: &Value,
    prior: &Value,
    base: Value,
    changes: &Changes,
) -> Value {
    let is_new = prior.is_null();
    each_attribute(attributes, base, |name, attribute, value| {
        let (config, prior) = (config.attribute(name), prior.attribute(name));
        match (&attribute.computed, &attribute.shape) {
            (Some(computed), _) if is_computed(attribute, config) => {
                if is_new || changes.concern(computed) {
                    Value::Unknown
                } else {
                    value
                }
            }
            (_, Shape::Nested(nesting, nested)) if !config.is_null() => {
                each_object(*nesting, value, |at, element| match at {
                    At::Nowhere => mark_in_set(nested, element),
                    at => mark_object(nested, at.of(config), at.of(prior), element, changes),
                })
            }
            _ => value,
        }
    })
}

/// In an element of a set, what is computed and has no value yet.
fn mark_in_set(attributes: &Attributes, element: Value) -> Value {
    each_attribute(attributes, element, |_, attribute, value| {
        if value.is_null() && is_computed(attribute, &Value::Null) { Value::Unknown } else { value }
    })
}

fn is_computed(attribute: &Attribute, config: &Value) -> bool {
    attribute.computed.is_some() && attribute.default.is_none() && config.is_null()
}
