//! A resource's identity: what names one of it beside its state (Terraform 1.12).

use std::collections::BTreeMap;

use crate::value::{Attr, Known, Type, Value};

/// The attributes of an identity.
#[derive(Clone, Debug, Default)]
pub struct IdentitySchema {
    /// Of the identity's form.
    pub version: i64,
    pub(crate) attributes: BTreeMap<&'static str, IdentityAttribute>,
}

#[derive(Clone, Debug)]
pub(crate) struct IdentityAttribute {
    pub ty: Type,
    pub required: bool,
    pub docs: String,
}

impl IdentitySchema {
    /// An identity without attributes.
    pub fn new() -> Self {
        Self::default()
    }

    /// With an attribute that an import must name.
    #[must_use]
    pub fn required(self, name: &'static str, ty: Type, docs: impl Into<String>) -> Self {
        self.with(name, IdentityAttribute { ty, required: true, docs: docs.into() })
    }

    /// With an attribute that an import may leave out.
    #[must_use]
    pub fn optional(self, name: &'static str, ty: Type, docs: impl Into<String>) -> Self {
        self.with(name, IdentityAttribute { ty, required: false, docs: docs.into() })
    }

    fn with(mut self, name: &'static str, attribute: IdentityAttribute) -> Self {
        self.attributes.insert(name, attribute);
        self
    }

    pub(crate) fn ty(&self) -> Type {
        Type::object(self.attributes.iter().map(|(name, attribute)| (*name, attribute.ty.clone())))
    }

    /// The identity of the one with this state.
    pub(crate) fn of(&self, state: &Value) -> Value {
        let value = |name: &&'static str| ((*name).to_owned(), state.attribute(name).clone());
        Attr::Known(Known::Object(self.attributes.keys().map(value).collect()))
    }
}
