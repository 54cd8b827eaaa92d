//! One attribute.

use std::{fmt, sync::Arc};

use super::{Attributes, object_type};
use crate::{
    diagnostics::Diagnostic,
    value::{Known, Type, Value},
};

/// Says whether two spellings mean the same.
pub type Equal = Arc<dyn Fn(&Known, &Known) -> bool + Send + Sync>;

/// Looks at a known value; what it finds has its path put before it.
pub type Validator = Arc<dyn Fn(&Known) -> Result<(), Diagnostic> + Send + Sync>;

/// What an attribute holds.
#[derive(Clone, Debug)]
pub enum Shape {
    /// A value of this type.
    Plain(Type),
    /// Objects of attributes.
    Nested(Nesting, Attributes),
}

/// How many objects a nested attribute holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nesting {
    /// One.
    Single,
    /// A list of them.
    List,
    /// A set of them.
    Set,
    /// A map of them.
    Map,
}

/// How a computed attribute that the configuration does not set is planned for an object that exists. Where there is
/// none yet it is always unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Computed {
    /// Unknown as soon as anything changes.
    OnAnyChange,
    /// What it was.
    Keep,
    /// Unknown when one of these attributes of the resource changes, and else what it was.
    OnChangeOf(Vec<&'static str>),
}

/// An attribute: made from its type and its text for the documentation, and then told how it behaves.
///
/// It is optional if nothing else is said. A default makes it computed for Terraform, as it must be.
#[derive(Clone)]
pub struct Attribute {
    pub(crate) shape: Shape,
    pub(crate) docs: String,
    pub(crate) required: bool,
    pub(crate) optional: bool,
    pub(crate) computed: Option<Computed>,
    pub(crate) sensitive: bool,
    pub(crate) write_only: bool,
    pub(crate) deprecated: Option<String>,
    pub(crate) default: Option<Value>,
    pub(crate) replace: bool,
    pub(crate) equal: Option<Equal>,
    pub(crate) validators: Vec<Validator>,
}

impl Attribute {
    fn new(shape: Shape, docs: impl Into<String>) -> Self {
        Self {
            shape,
            docs: docs.into(),
            required: false,
            optional: true,
            computed: None,
            sensitive: false,
            write_only: false,
            deprecated: None,
            default: None,
            replace: false,
            equal: None,
            validators: Vec::new(),
        }
    }

    /// Of any type without attributes of its own.
    pub fn of(ty: Type, docs: impl Into<String>) -> Self {
        Self::new(Shape::Plain(ty), docs)
    }

    /// Text.
    pub fn string(docs: impl Into<String>) -> Self {
        Self::of(Type::String, docs)
    }

    /// A number.
    pub fn number(docs: impl Into<String>) -> Self {
        Self::of(Type::Number, docs)
    }

    /// `true` or `false`.
    pub fn bool(docs: impl Into<String>) -> Self {
        Self::of(Type::Bool, docs)
    }

    /// A list of values.
    pub fn list(element: Type, docs: impl Into<String>) -> Self {
        Self::of(Type::list(element), docs)
    }

    /// A set of values.
    pub fn set(element: Type, docs: impl Into<String>) -> Self {
        Self::of(Type::set(element), docs)
    }

    /// A map of values.
    pub fn map(element: Type, docs: impl Into<String>) -> Self {
        Self::of(Type::map(element), docs)
    }

    /// One object of these attributes.
    pub fn single(
        docs: impl Into<String>,
        attributes: impl IntoIterator<Item = (&'static str, Attribute)>,
    ) -> Self {
        Self::new(Shape::Nested(Nesting::Single, attributes.into_iter().collect()), docs)
    }

    /// A list of objects of these attributes.
    pub fn nested_list(
        docs: impl Into<String>,
        attributes: impl IntoIterator<Item = (&'static str, Attribute)>,
    ) -> Self {
        Self::new(Shape::Nested(Nesting::List, attributes.into_iter().collect()), docs)
    }

    /// A set of objects of these attributes.
    pub fn nested_set(
        docs: impl Into<String>,
        attributes: impl IntoIterator<Item = (&'static str, Attribute)>,
    ) -> Self {
        Self::new(Shape::Nested(Nesting::Set, attributes.into_iter().collect()), docs)
    }

    /// A map of objects of these attributes.
    pub fn nested_map(
        docs: impl Into<String>,
        attributes: impl IntoIterator<Item = (&'static str, Attribute)>,
    ) -> Self {
        Self::new(Shape::Nested(Nesting::Map, attributes.into_iter().collect()), docs)
    }

    /// The configuration must set it.
    #[must_use]
    pub fn required(mut self) -> Self {
        (self.required, self.optional) = (true, false);
        self
    }

    /// The provider sets it, and the configuration may not. Unknown when anything changes; see [`Self::keep`].
    #[must_use]
    pub fn computed(mut self) -> Self {
        (self.required, self.optional) = (false, false);
        self.computed = Some(Computed::OnAnyChange);
        self
    }

    /// The configuration may set it, and else the provider does.
    #[must_use]
    pub fn optional_computed(mut self) -> Self {
        self = self.computed();
        self.optional = true;
        self
    }

    /// Computed once: a plan keeps what it was.
    #[must_use]
    pub fn keep(mut self) -> Self {
        self.computed = Some(Computed::Keep);
        self
    }

    /// Computed anew when one of these attributes of the resource changes, and else kept.
    #[must_use]
    pub fn on_change_of<const N: usize>(mut self, names: [&'static str; N]) -> Self {
        self.computed = Some(Computed::OnChangeOf(names.to_vec()));
        self
    }

    /// Not to be shown.
    #[must_use]
    pub fn sensitive(mut self) -> Self {
        self.sensitive = true;
        self
    }

    /// In the configuration only: null in every plan and state.
    #[must_use]
    pub fn write_only(mut self) -> Self {
        self.write_only = true;
        self
    }

    /// Not to be used any more, and why.
    #[must_use]
    pub fn deprecated(mut self, why: impl Into<String>) -> Self {
        self.deprecated = Some(why.into());
        self
    }

    /// What it is if the configuration does not set it. Terraform then has it as computed.
    #[must_use]
    pub fn default(mut self, value: Value) -> Self {
        self.default = Some(value);
        self
    }

    /// A change of it makes the resource a new one.
    #[must_use]
    pub fn requires_replace(mut self) -> Self {
        self.replace = true;
        self
    }

    /// Different spellings mean the same where this says so: then what the user wrote first stays, and nothing is to change.
    #[must_use]
    pub fn equal_if(mut self, equal: impl Fn(&Known, &Known) -> bool + Send + Sync + 'static) -> Self {
        self.equal = Some(Arc::new(equal));
        self
    }

    /// As [`Self::equal_if`], for text.
    #[must_use]
    pub fn equal_text_if(self, equal: impl Fn(&str, &str) -> bool + Send + Sync + 'static) -> Self {
        self.equal_if(move |a, b| matches!((a, b), (Known::String(a), Known::String(b)) if equal(a, b)))
    }

    /// Looked at where its value is known.
    #[must_use]
    pub fn validate(
        mut self,
        validator: impl Fn(&Known) -> Result<(), Diagnostic> + Send + Sync + 'static,
    ) -> Self {
        self.validators.push(Arc::new(validator));
        self
    }

    /// As [`Self::validate`], for text.
    #[must_use]
    pub fn validate_text(
        self,
        validator: impl Fn(&str) -> Result<(), Diagnostic> + Send + Sync + 'static,
    ) -> Self {
        self.validate(move |value| value.as_str().map_or(Ok(()), &validator))
    }

    /// What it holds.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Its text for the documentation.
    pub fn docs(&self) -> &str {
        &self.docs
    }

    /// Its default.
    pub fn default_value(&self) -> Option<&Value> {
        self.default.as_ref()
    }

    /// Whether a change of it makes the resource a new one.
    pub fn is_replacing(&self) -> bool {
        self.replace
    }

    /// The type of its values.
    pub fn ty(&self) -> Type {
        match &self.shape {
            Shape::Plain(ty) => ty.clone(),
            Shape::Nested(Nesting::Single, attributes) => object_type(attributes),
            Shape::Nested(Nesting::List, attributes) => Type::list(object_type(attributes)),
            Shape::Nested(Nesting::Set, attributes) => Type::set(object_type(attributes)),
            Shape::Nested(Nesting::Map, attributes) => Type::map(object_type(attributes)),
        }
    }

    /// Whether the provider may give it a value that the configuration does not set.
    pub(crate) fn is_computed(&self) -> bool {
        self.computed.is_some() || self.default.is_some()
    }
}

impl fmt::Debug for Attribute {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Attribute")
            .field("shape", &self.shape)
            .field("required", &self.required)
            .field("optional", &self.optional)
            .field("computed", &self.computed)
            .finish_non_exhaustive()
    }
}
