//! Values as Terraform has them: known, null, or not known yet, told apart in the types.

mod convert;
mod json;
mod msgpack;
mod number;
mod path;
mod ty;

use std::collections::BTreeMap;

pub use convert::{Convert, ConvertError, Model, Problem, Set, get_field, strip_raw};
pub use json::{JsonError, from_json};
pub use msgpack::{MsgpackError, from_msgpack, to_msgpack};
pub use number::Number;
pub use path::{Path, Step};
pub use ty::Type;

/// One attribute's value: what a configuration, a plan or a state holds at a place.
///
/// In a configuration and in a plan all three happen. A state has no `Unknown`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Attr<T> {
    /// Not set.
    #[default]
    Null,
    /// To be known after the apply.
    Unknown,
    /// Set.
    Known(T),
}

/// A value of any type.
pub type Value = Attr<Known>;

/// A known value of any type; what it holds may again be null or unknown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Known {
    /// `true` or `false`.
    Bool(bool),
    /// A number of any size.
    Number(Number),
    /// Text.
    String(String),
    /// A list or a tuple.
    List(Vec<Value>),
    /// A set: sorted, and without repetition of known values. Make it with [`Known::set`].
    Set(Vec<Value>),
    /// A map of one element type.
    Map(BTreeMap<String, Value>),
    /// An object: each of its attributes is present, if null.
    Object(BTreeMap<String, Value>),
}

impl Known {
    /// A set of these elements.
    pub fn set(elements: impl IntoIterator<Item = Value>) -> Self {
        let mut elements: Vec<Value> = elements.into_iter().collect();
        elements.sort();
        elements.dedup_by(|a, b| a == b && a.is_wholly_known());
        Self::Set(elements)
    }

    /// The text, where it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }
}

impl<T> Attr<T> {
    /// The value, where it is known.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Null | Self::Unknown => None,
        }
    }

    /// The value to change, where it is known.
    pub fn known_mut(&mut self) -> Option<&mut T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Null | Self::Unknown => None,
        }
    }

    /// The value itself, where it is known.
    pub fn into_known(self) -> Option<T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Null | Self::Unknown => None,
        }
    }

    /// The value, or the default where it is null or unknown.
    pub fn known_or(self, default: T) -> T {
        self.into_known().unwrap_or(default)
    }

    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Whether it is to be known after the apply.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown)
    }

    /// Whether it is known.
    pub fn is_known(&self) -> bool {
        matches!(self, Self::Known(_))
    }

    /// Looks at it without taking it.
    pub fn as_ref(&self) -> Attr<&T> {
        match self {
            Self::Null => Attr::Null,
            Self::Unknown => Attr::Unknown,
            Self::Known(value) => Attr::Known(value),
        }
    }

    /// Changes the known value's type; null and unknown stay.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Attr<U> {
        match self {
            Self::Null => Attr::Null,
            Self::Unknown => Attr::Unknown,
            Self::Known(value) => Attr::Known(change(value)),
        }
    }
}

impl Attr<String> {
    /// The text, where it is known.
    pub fn as_str(&self) -> Option<&str> {
        self.known().map(String::as_str)
    }
}

impl<T> From<T> for Attr<T> {
    fn from(value: T) -> Self {
        Self::Known(value)
    }
}

impl<T> From<Option<T>> for Attr<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Self::Known)
    }
}

impl From<&str> for Attr<String> {
    fn from(value: &str) -> Self {
        Self::Known(value.to_owned())
    }
}

impl Value {
    /// Text.
    pub fn string(text: impl Into<String>) -> Self {
        Self::Known(Known::String(text.into()))
    }

    /// `true` or `false`.
    pub fn bool(value: bool) -> Self {
        Self::Known(Known::Bool(value))
    }

    /// A number.
    pub fn number(value: impl Into<Number>) -> Self {
        Self::Known(Known::Number(value.into()))
    }

    /// Whether nothing in it is unknown.
    pub fn is_wholly_known(&self) -> bool {
        self.find_unknown().is_none()
    }

    /// Where something in it is unknown: the first such place.
    pub fn find_unknown(&self) -> Option<Path> {
        let within = |step: Step, value: &Value| value.find_unknown().map(|rest| rest.under(step));
        match self {
            Self::Unknown => Some(Path::root()),
            Self::Null => None,
            Self::Known(Known::List(elements)) => {
                elements.iter().enumerate().find_map(|(at, value)| within(Step::index(at), value))
            }
            Self::Known(Known::Set(elements)) => {
                elements.iter().any(|value| !value.is_wholly_known()).then(Path::root)
            }
            Self::Known(Known::Map(elements)) => {
                elements.iter().find_map(|(key, value)| within(Step::Key(key.clone()), value))
            }
            Self::Known(Known::Object(attributes)) => {
                attributes.iter().find_map(|(name, value)| within(Step::Attribute(name.clone()), value))
            }
            Self::Known(Known::Bool(_) | Known::Number(_) | Known::String(_)) => None,
        }
    }

    /// The attribute of an object; null where this is no known object or has none of that name.
    pub fn attribute(&self, name: &str) -> &Value {
        const NULL: &Value = &Value::Null;
        match self {
            Self::Known(Known::Object(attributes)) => attributes.get(name).unwrap_or(NULL),
            _ => NULL,
        }
    }

    /// The same value with null in the place of each unknown one.
    pub fn without_unknown(self) -> Self {
        match self {
            Self::Unknown | Self::Null => Self::Null,
            Self::Known(known) => Self::Known(match known {
                Known::List(elements) => {
                    Known::List(elements.into_iter().map(Self::without_unknown).collect())
                }
                Known::Set(elements) => Known::set(elements.into_iter().map(Self::without_unknown)),
                Known::Map(elements) => Known::Map(without_unknowns(elements)),
                Known::Object(attributes) => Known::Object(without_unknowns(attributes)),
                Known::Bool(_) | Known::Number(_) | Known::String(_) => known,
            }),
        }
    }
}

fn without_unknowns(values: BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    values.into_iter().map(|(name, value)| (name, value.without_unknown())).collect()
}
