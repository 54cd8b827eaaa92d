//! Two models as one object: what is asked, and what is found.

use std::collections::BTreeMap;

use tfplugin::value::{Convert, ConvertError, Known, Model, Path, Problem, Type, Value};
use tfplugin::{Attr, Schema};

/// An object of the attributes of both, which have none in common.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Both<A, B>(pub A, pub B);

impl<A: Model, B: Model> Convert for Both<A, B> {
    fn from_value(value: Value) -> Result<Self, ConvertError> {
        match value {
            Attr::Known(Known::Object(attributes)) => {
                let (one, other) = split::<A, _>(attributes);
                let object = |attributes| Attr::Known(Known::Object(attributes));
                Ok(Self(A::from_value(object(one))?, B::from_value(object(other))?))
            }
            Attr::Null => Err(Problem::Null.into()),
            Attr::Unknown => Err(Problem::Unknown.into()),
            Attr::Known(_) => Err(Problem::Type { wanted: "object" }.into()),
        }
    }

    fn into_value(self) -> Value {
        match (self.0.into_value(), self.1.into_value()) {
            (Attr::Known(Known::Object(mut all)), Attr::Known(Known::Object(more))) => {
                all.extend(more);
                Attr::Known(Known::Object(all))
            }
            // Models are objects.
            (one, _) => one,
        }
    }

    fn accepts(ty: &Type) -> Result<(), Path> {
        let Type::Object(attributes) = ty else { return Err(Path::root()) };
        let (one, other) = split::<A, _>(attributes.clone());
        A::accepts(&Type::Object(one))?;
        B::accepts(&Type::Object(other))
    }
}

impl<A: Model, B: Model> Model for Both<A, B> {
    /// Of the first alone: a constant cannot join them.
    const FIELDS: &'static [&'static str] = A::FIELDS;
}

fn split<A: Model, T>(attributes: BTreeMap<String, T>) -> (BTreeMap<String, T>, BTreeMap<String, T>) {
    attributes.into_iter().partition(|(name, _)| A::FIELDS.contains(&name.as_str()))
}

/// A schema with all of these.
pub fn with_all(
    schema: Schema,
    all: impl IntoIterator<Item = (&'static str, tfplugin::Attribute)>,
) -> Schema {
    all.into_iter().fold(schema, |schema, (name, attribute)| schema.attribute(name, attribute))
}
