//! The plan before anything is computed: write-only values out, defaults in, equal spellings as they were.

use super::{
    spelling::same_spelling,
    walk::{At, each_attribute, each_object},
};
use crate::{
    schema::{Attributes, Shape},
    value::Value,
};

pub(super) fn base(attributes: &Attributes, config: &Value, prior: &Value, proposed: Value) -> Value {
    each_attribute(attributes, proposed, |name, attribute, value| {
        let (config, prior) = (config.attribute(name), prior.attribute(name));
        if attribute.write_only {
            return Value::Null;
        }
        match (&attribute.default, &attribute.shape) {
            (Some(default), _) if config.is_null() => same_spelling(attribute, prior, default.clone()),
            (_, Shape::Plain(_)) => same_spelling(attribute, prior, value),
            // What was computed has no configuration, and none of its defaults.
            (_, Shape::Nested(..)) if config.is_null() => value,
            (_, Shape::Nested(nesting, nested)) => each_object(*nesting, value, |at, element| match at {
                // What is proposed for an element of a set is what is configured, but for what is computed.
                At::Nowhere => base(nested, &element.clone(), &Value::Null, element),
                at => base(nested, at.of(config), at.of(prior), element),
            }),
        }
    })
}

/// A configuration with its defaults.
pub(crate) fn fill_defaults(attributes: &Attributes, config: Value) -> Value {
    each_attribute(attributes, config, |_, attribute, value| match (&attribute.default, &attribute.shape) {
        (Some(default), _) if value.is_null() => default.clone(),
        (_, Shape::Plain(_)) => value,
        (_, Shape::Nested(nesting, nested)) => {
            each_object(*nesting, value, |_, element| fill_defaults(nested, element))
        }
    })
}

pub(super) fn without_write_only(attributes: &Attributes, value: Value) -> Value {
    each_attribute(attributes, value, |_, attribute, value| match &attribute.shape {
        _ if attribute.write_only => Value::Null,
        Shape::Plain(_) => value,
        Shape::Nested(nesting, nested) => {
            each_object(*nesting, value, |_, element| without_write_only(nested, element))
        }
    })
}
