//! Asks the validators of each attribute.

use crate::{
    diagnostics::{Diagnostic, Diagnostics},
    schema::{Attribute, Attributes, Nesting, Shape},
    value::{Attr, Known, Path, Value},
};

/// What the validators say of a configuration.
pub(crate) fn validate(attributes: &Attributes, config: &Value) -> Diagnostics {
    let mut told = Diagnostics::new();
    visit(attributes, config, &Path::root(), &mut |attribute, value, path| {
        if let Attr::Known(known) = value {
            let found = attribute.validators.iter().filter_map(|validator| validator(known).err());
            found.for_each(|diagnostic| told.push(diagnostic.within(path.clone())));
        }
    });
    told
}

/// Errors for each write-only attribute that is set, for a Terraform that knows no such attributes.
pub(crate) fn write_only_used(attributes: &Attributes, config: &Value) -> Diagnostics {
    let mut told = Diagnostics::new();
    visit(attributes, config, &Path::root(), &mut |attribute, value, path| {
        if attribute.write_only && !value.is_null() {
            let error = Diagnostic::error("Write-only attributes are not supported")
                .detail("This attribute is kept in no state, and needs Terraform 1.11 or OpenTofu 1.11, or a later one.");
            told.push(error.at(path.clone()));
        }
    });
    told
}

fn visit(
    attributes: &Attributes,
    object: &Value,
    at: &Path,
    each: &mut impl FnMut(&Attribute, &Value, &Path),
) {
    if !object.is_known() {
        return;
    }
    for (name, attribute) in attributes {
        let (value, path) = (object.attribute(name), at.clone().attribute(*name));
        each(attribute, value, &path);
        let Shape::Nested(nesting, nested) = &attribute.shape else { continue };
        match (nesting, value) {
            (Nesting::Single, value) => visit(nested, value, &path, each),
            (_, Attr::Known(Known::List(elements))) => {
                for (index, element) in elements.iter().enumerate() {
                    visit(nested, element, &path.clone().index(index), each);
                }
            }
            (_, Attr::Known(Known::Map(elements))) => {
                elements
                    .iter()
                    .for_each(|(key, element)| visit(nested, element, &path.clone().key(key), each));
            }
            (_, Attr::Known(Known::Set(elements))) => {
                // The path of an element of a set ends at the set.
                let mut ends = |attribute: &Attribute, value: &Value, _: &Path| each(attribute, value, &path);
                elements.iter().for_each(|element| visit_set_element(nested, element, &mut ends));
            }
            _ => {}
        }
    }
}

/// As [`visit`], behind a type that does not grow with the nesting.
fn visit_set_element(nested: &Attributes, element: &Value, each: &mut dyn FnMut(&Attribute, &Value, &Path)) {
    visit(nested, element, &Path::root(), &mut |attribute, value, path| each(attribute, value, path));
}
