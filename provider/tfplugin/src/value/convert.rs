//! Between values of any type and the types of a program.

use std::collections::{BTreeMap, BTreeSet};

use super::{Attr, Known, Number, Path, Step, Type, Value};

/// Why a value is none of a program's type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It is null where a value must be.
    #[error("a value must be set here")]
    Null,
    /// It is unknown where a value must be known.
    #[error("the value is not known yet, and it must be known here")]
    Unknown,
    /// It is of another type.
    #[error("a {wanted} was expected here")]
    Type {
        /// What was expected.
        wanted: &'static str,
    },
    /// A number that the program's type does not hold.
    #[error("{number} does not fit here: {wanted} was expected")]
    Range {
        /// The number.
        number: Number,
        /// What was expected.
        wanted: &'static str,
    },
}

/// A value that is none of a program's type, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct ConvertError {
    /// The place in the value.
    pub path: Path,
    /// What is wrong with it.
    pub problem: Problem,
}

impl ConvertError {
    fn under(mut self, step: Step) -> Self {
        self.path = self.path.under(step);
        self
    }
}

impl From<Problem> for ConvertError {
    fn from(problem: Problem) -> Self {
        Self { path: Path::root(), problem }
    }
}

/// A type of a program that a value can become, and that can become a value.
pub trait Convert: Sized {
    /// Makes it of the value.
    ///
    /// # Errors
    /// Where the value is of another type, or null or unknown and the type has no such thing.
    fn from_value(value: Value) -> Result<Self, ConvertError>;

    /// Makes a value of it.
    fn into_value(self) -> Value;

    /// Whether values of the type can become it: the check that a model is its schema's.
    ///
    /// # Errors
    /// The place at which the two differ.
    fn accepts(ty: &Type) -> Result<(), Path>;
}

/// A type that is an object's, a field an attribute. Made with [`model!`](crate::model).
pub trait Model: Convert + Send + Sync + 'static {
    /// The attributes' names.
    const FIELDS: &'static [&'static str];
}

/// A set of values of a program's type.
pub type Set<T> = BTreeSet<T>;

fn known(value: Value) -> Result<Known, ConvertError> {
    match value {
        Attr::Known(known) => Ok(known),
        Attr::Null => Err(Problem::Null.into()),
        Attr::Unknown => Err(Problem::Unknown.into()),
    }
}

fn fits(is: bool) -> Result<(), Path> {
    if is { Ok(()) } else { Err(Path::root()) }
}

impl Convert for Known {
    fn from_value(value: Value) -> Result<Self, ConvertError> {
        known(value)
    }

    fn into_value(self) -> Value {
        Attr::Known(self)
    }

    fn accepts(_: &Type) -> Result<(), Path> {
        Ok(())
    }
}

impl<T: Convert> Convert for Attr<T> {
    fn from_value(value: Value) -> Result<Self, ConvertError> {
        match value {
            Attr::Null => Ok(Self::Null),
            Attr::Unknown => Ok(Self::Unknown),
            known @ Attr::Known(_) => T::from_value(known).map(Self::Known),
        }
    }

    fn into_value(self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Unknown => Value::Unknown,
            Self::Known(value) => value.into_value(),
        }
    }

    fn accepts(ty: &Type) -> Result<(), Path> {
        T::accepts(ty)
    }
}

impl<T: Convert> Convert for Option<T> {
    fn from_value(value: Value) -> Result<Self, ConvertError> {
        match value {
            Attr::Null => Ok(None),
            value => T::from_value(value).map(Some),
        }
    }

    fn into_value(self) -> Value {
        self.map_or(Value::Null, T::into_value)
    }

    fn accepts(ty: &Type) -> Result<(), Path> {
        T::accepts(ty)
    }
}

impl<T: Convert> Convert for Box<T> {
    fn from_value(value: Value) -> Result<Self, ConvertError> {
        T::from_value(value).map(Self::new)
    }

    fn into_value(self) -> Value {
        T::into_value(*self)
    }

    fn accepts(ty: &Type) -> Result<(), Path> {
        T::accepts(ty)
    }
}

impl Convert for String {
    fn from_value(value: Value) -> Result<Self, ConvertError> {
        match known(value)? {
            Known::String(text) => Ok(text),
            _ => Err(Problem::Type { wanted: "string" }.into()),
        }
    }

    fn into_value(self) -> Value {
        Value::string(self)
    }

    fn accepts(ty: &Type) -> Result<(), Path> {
        fits(*ty == Type::String)
    }
}

impl Convert for bool {
    fn from_value(value: Value) -> Result<Self, ConvertError> {
        match known(value)? {
            Known::Bool(value) => Ok(value),
            _ => Err(Problem::Type { wanted: "bool" }.into()),
        }
    }

    fn into_value(self) -> Value {
        Value::bool(self)
    }

    fn accepts(ty: &Type) -> Result<(), Path> {
        fits(*ty == Type::Bool)
    }
}

impl Convert for Number {
    fn from_value(value: Value) -> Result<Self, ConvertError> {
        match known(value)? {
            Known::Number(number) => Ok(number),
            _ => Err(Problem::Type { wanted: "number" }.into()),
        }
    }

    fn into_value(self) -> Value {
        Value::number(self)
    }

    fn accepts(ty: &Type) -> Result<(), Path> {
        fits(*ty == Type::Number)
    }
}

macro_rules! integers {
    ($($ty:ty, $wide:ty, $get:ident, $wanted:literal;)*) => {$(
        impl Convert for $ty {
            fn from_value(value: Value) -> Result<Self, ConvertError> {
                let number = Number::from_value(value)?;
                let fitting = number.$get().and_then(|wide| <$ty>::try_from(wide).ok());
                fitting.ok_or_else(|| Problem::Range { number, wanted: $wanted }.into())
            }

            fn into_value(self) -> Value {
                Value::number(<$wide>::from(self))
            }

            fn accepts(ty: &Type) -> Result<(), Path> {
                fits(*ty == Type::Number)
            }
        }
    )*};
}

integers! {
    i64, i64, as_i64, "a whole number";
    i32, i64, as_i64, "a whole number of at most 32 bits";
    u64, u64, as_u64, "a whole number that is not negative";
    u32, u64, as_u64, "a whole number of at most 32 bits that is not negative";
    u16, u64, as_u64, "a whole number from 0 to 65535";
}

impl Convert for f64 {
    fn from_value(value: Value) -> Result<Self, ConvertError> {
        Ok(Number::from_value(value)?.as_f64())
    }

    fn into_value(self) -> Value {
        // The digits, and not the float's exact value: a program's 0.1 is HCL's 0.1.
        Value::number(Number::parse(&self.to_string()).unwrap_or_else(|| Number::from(self)))
    }

    fn accepts(ty: &Type) -> Result<(), Path> {
        fits(*ty == Type::Number)
    }
}

impl<T: Convert> Convert for Vec<T> {
    fn from_value(value: Value) -> Result<Self, ConvertError> {
        match known(value)? {
            Known::List(elements) | Known::Set(elements) => elements
                .into_iter()
                .enumerate()
                .map(|(at, value)| T::from_value(value).map_err(|error| error.under(Step::index(at))))
                .collect(),
            _ => Err(Problem::Type { wanted: "list" }.into()),
        }
    }

    fn into_value(self) -> Value {
        Attr::Known(Known::List(self.into_iter().map(T::into_value).collect()))
    }

    fn accepts(ty: &Type) -> Result<(), Path> {
        match ty {
            Type::List(element) => T::accepts(element),
            _ => Err(Path::root()),
        }
    }
}

impl<T: Convert + Ord> Convert for Set<T> {
    fn from_value(value: Value) -> Result<Self, ConvertError> {
        match known(value)? {
            Known::Set(elements) | Known::List(elements) => elements.into_iter().map(T::from_value).collect(),
            _ => Err(Problem::Type { wanted: "set" }.into()),
        }
    }

    fn into_value(self) -> Value {
        Attr::Known(Known::set(self.into_iter().map(T::into_value)))
    }

    fn accepts(ty: &Type) -> Result<(), Path> {
        match ty {
            Type::Set(element) => T::accepts(element),
            _ => Err(Path::root()),
        }
    }
}

impl<T: Convert> Convert for BTreeMap<String, T> {
    fn from_value(value: Value) -> Result<Self, ConvertError> {
        match known(value)? {
            Known::Map(elements) | Known::Object(elements) => elements
                .into_iter()
                .map(|(key, value)| match T::from_value(value) {
                    Ok(value) => Ok((key, value)),
                    Err(error) => Err(error.under(Step::Key(key))),
                })
                .collect(),
            _ => Err(Problem::Type { wanted: "map" }.into()),
        }
    }

    fn into_value(self) -> Value {
        Attr::Known(Known::Map(self.into_iter().map(|(key, value)| (key, value.into_value())).collect()))
    }

    fn accepts(ty: &Type) -> Result<(), Path> {
        match ty {
            Type::Map(element) => T::accepts(element),
            _ => Err(Path::root()),
        }
    }
}

/// Takes an attribute out of an object; for [`model!`](crate::model).
///
/// # Errors
/// Where the attribute is none of the field's type.
pub fn get_field<T: Convert>(
    attributes: &mut BTreeMap<String, Value>,
    name: &str,
) -> Result<T, ConvertError> {
    T::from_value(attributes.remove(name).unwrap_or_default())
        .map_err(|error| error.under(Step::Attribute(name.to_owned())))
}

/// A field's name without Rust's mark of a raw one; for [`model!`](crate::model).
pub const fn strip_raw(name: &'static str) -> &'static str {
    match name.as_bytes() {
        [b'r', b'#', ..] => name.split_at(2).1,
        _ => name,
    }
}

/// Makes a struct the model of an object: each field is the attribute of its name (`r#type` is `type`).
///
/// ```
/// tfplugin::model! {
///     /// A file.
///     #[derive(Clone, Debug)]
///     pub struct File {
///         /// Where it is.
///         pub path: tfplugin::Attr<String>,
///     }
/// }
/// ```
#[macro_export]
macro_rules! model {
    ($(#[$meta:meta])* $vis:vis struct $name:ident { $($(#[$field_meta:meta])* $field_vis:vis $field:ident : $ty:ty),* $(,)? }) => {
        $(#[$meta])*
        $vis struct $name { $($(#[$field_meta])* $field_vis $field: $ty),* }

        impl $crate::value::Convert for $name {
            fn from_value(value: $crate::value::Value) -> Result<Self, $crate::value::ConvertError> {
                use $crate::value::{Attr, Known, Problem, get_field, strip_raw};
                match value {
                    Attr::Known(Known::Object(mut attributes)) => {
                        Ok(Self { $($field: get_field(&mut attributes, const { strip_raw(stringify!($field)) })?),* })
                    }
                    Attr::Null => Err(Problem::Null.into()),
                    Attr::Unknown => Err(Problem::Unknown.into()),
                    Attr::Known(_) => Err(Problem::Type { wanted: "object" }.into()),
                }
            }

            fn into_value(self) -> $crate::value::Value {
                use $crate::value::{Attr, Convert, Known, strip_raw};
                Attr::Known(Known::Object(std::collections::BTreeMap::from([
                    $((strip_raw(stringify!($field)).to_owned(), Convert::into_value(self.$field))),*
                ])))
            }

            fn accepts(ty: &$crate::value::Type) -> Result<(), $crate::value::Path> {
                use $crate::value::{Convert, Path, Type, strip_raw};
                let Type::Object(attributes) = ty else { return Err(Path::root()) };
                $(
                    let name = strip_raw(stringify!($field));
                    let field = attributes.get(name).ok_or_else(|| Path::at(name))?;
                    <$ty as Convert>::accepts(field).map_err(|rest| Path::at(name).join(&rest))?;
                )*
                let fields = <Self as $crate::value::Model>::FIELDS;
                match attributes.keys().find(|name| !fields.contains(&name.as_str())) {
                    Some(name) => Err(Path::at(name)),
                    None => Ok(()),
                }
            }
        }

        impl $crate::value::Model for $name {
            const FIELDS: &'static [&'static str] = &[$($crate::value::strip_raw(stringify!($field))),*];
        }
    };
}
