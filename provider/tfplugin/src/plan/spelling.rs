//! Values that mean the same: what was there first stays.

use super::walk::{each_attribute, each_object};
use crate::{
    schema::{Attribute, Attributes, Shape},
    value::{Attr, Value},
};

/// The value, or what was before where that means the same.
pub(super) fn same_spelling(attribute: &Attribute, before: &Value, value: Value) -> Value {
    match (&attribute.equal, before, &value) {
        (Some(equal), Attr::Known(old), Attr::Known(new)) if old != new && equal(old, new) => before.clone(),
        _ => value,
    }
}

/// A state spelled as the one before, or as it was planned, wherever both mean the same.
pub(crate) fn keep_spelling(attributes: &Attributes, before: &Value, state: Value) -> Value {
    each_attribute(attributes, state, |name, attribute, value| {
        let before = before.attribute(name);
        match &attribute.shape {
            Shape::Nested(nesting, nested) if attribute.equal.is_none() => {
                each_object(*nesting, value, |at, element| keep_spelling(nested, at.of(before), element))
            }
            _ => same_spelling(attribute, before, value),
        }
    })
}
