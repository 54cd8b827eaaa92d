//! Configurations made of states, and states of what is not looked up yet.

use super::walk::{each_attribute, each_object};
use crate::{
    schema::{Attributes, Shape},
    value::{Attr, Value},
};

/// A state without what a configuration cannot set, and without what is a default.
pub(crate) fn settable(attributes: &Attributes, state: Value) -> Value {
    each_attribute(attributes, state, |_, attribute, value| {
        if !(attribute.required || attribute.optional)
            || attribute.write_only
            || attribute.deprecated.is_some()
        {
            return Value::Null;
        }
        match &attribute.shape {
            _ if !attribute.required && attribute.default.as_ref() == Some(&value) => Value::Null,
            Shape::Plain(_) => value,
            Shape::Nested(nesting, nested) => {
                each_object(*nesting, value, |_, element| settable(nested, element))
            }
        }
    })
}

/// A configuration with unknown in the place of each value that the provider gives.
pub(crate) fn to_be_computed(attributes: &Attributes, config: Value) -> Value {
    each_attribute(attributes, config, |_, attribute, value| match &attribute.shape {
        _ if attribute.is_computed() && value.is_null() => Attr::Unknown,
        Shape::Plain(_) => value,
        Shape::Nested(nesting, nested) => {
            each_object(*nesting, value, |_, element| to_be_computed(nested, element))
        }
    })
}
