//! What a resource, a data source or the provider has for attributes, and how each behaves in a plan.

mod attribute;
mod check;
mod validators;
mod wire;

use std::collections::BTreeMap;

pub use attribute::{Attribute, Computed, Equal, Nesting, Shape, Validator};
pub use check::SchemaError;
pub use validators::{at_least, between, each, matching, not_empty, one_of};

use crate::value::Type;

/// The attributes of a resource, a data source, or the provider.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    /// Of the state's form; raised when a state has to be upgraded.
    pub version: i64,
    /// What it is, in Markdown.
    pub docs: String,
    /// Why it should no longer be used, where it should not.
    pub deprecated: Option<String>,
    pub(crate) attributes: Attributes,
}

/// Attributes by name.
pub(crate) type Attributes = BTreeMap<&'static str, Attribute>;

impl Schema {
    /// A schema, with its text for the documentation.
    pub fn new(docs: impl Into<String>) -> Self {
        Self { docs: docs.into(), ..Self::default() }
    }

    /// The version of the state's form; 0 if not said.
    #[must_use]
    pub fn version(mut self, version: i64) -> Self {
        self.version = version;
        self
    }

    /// Not to be used any more, and why.
    #[must_use]
    pub fn deprecated(mut self, why: impl Into<String>) -> Self {
        self.deprecated = Some(why.into());
        self
    }

    /// With an attribute.
    #[must_use]
    pub fn attribute(mut self, name: &'static str, attribute: Attribute) -> Self {
        self.attributes.insert(name, attribute);
        self
    }

    /// The attribute of that name.
    pub fn get(&self, name: &str) -> Option<&Attribute> {
        self.attributes.get(name)
    }

    /// The attributes in the order of their names.
    pub fn attributes(&self) -> impl Iterator<Item = (&'static str, &Attribute)> {
        self.attributes.iter().map(|(name, attribute)| (*name, attribute))
    }

    /// The type of its values.
    pub fn ty(&self) -> Type {
        object_type(&self.attributes)
    }
}

pub(crate) fn object_type(attributes: &Attributes) -> Type {
    Type::object(attributes.iter().map(|(name, attribute)| (*name, attribute.ty())))
}
