//! What a provider's author writes: functions (Terraform 1.8).

use crate::{
    schema::SchemaError,
    value::{Convert, ConvertError, Path, Type, Value},
};

/// A function. It is pure: Terraform calls it before the provider is configured, and may call it twice with the same.
pub trait Function: Send + Sync + 'static {
    /// A tuple of what its parameters are; one that may be null or unknown is an [`Attr`](crate::Attr), the last may be a [`Rest`].
    type Arguments: Arguments;
    /// What it gives.
    type Return: Convert;

    /// Its name, without the provider's.
    const NAME: &'static str;

    /// Its parameters and its text for the documentation.
    fn signature(&self) -> Signature;

    /// Calls it.
    ///
    /// # Errors
    /// What is wrong with which argument.
    fn call(&self, arguments: Self::Arguments) -> Result<Self::Return, FunctionError>;
}

/// Why a function gives nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct FunctionError {
    /// What is wrong, and what to do.
    pub text: String,
    /// The argument's position, where it is one argument's fault.
    pub argument: Option<usize>,
}

impl FunctionError {
    /// About no single argument.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), argument: None }
    }

    /// About the argument at this position, from 0 on.
    #[must_use]
    pub fn at(mut self, argument: usize) -> Self {
        self.argument = Some(argument);
        self
    }
}

/// What a function takes and gives.
#[derive(Clone, Debug)]
pub struct Signature {
    pub(crate) summary: String,
    pub(crate) docs: String,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) rest: Option<Parameter>,
    pub(crate) returns: Type,
}

/// One parameter of a function.
#[derive(Clone, Debug)]
pub struct Parameter {
    pub(crate) name: &'static str,
    pub(crate) ty: Type,
    pub(crate) docs: String,
    pub(crate) null: bool,
    pub(crate) unknown: bool,
}

impl Parameter {
    /// One that is neither null nor unknown: Terraform sees to that.
    pub fn new(name: &'static str, ty: Type, docs: impl Into<String>) -> Self {
        Self { name, ty, docs: docs.into(), null: false, unknown: false }
    }

    /// It may be null.
    #[must_use]
    pub fn or_null(mut self) -> Self {
        self.null = true;
        self
    }

    /// It may be unknown: the function is called all the same.
    #[must_use]
    pub fn or_unknown(mut self) -> Self {
        self.unknown = true;
        self
    }
}

impl Signature {
    /// A function that gives this, with one line about it.
    pub fn new(summary: impl Into<String>, returns: Type) -> Self {
        Self { summary: summary.into(), docs: String::new(), parameters: Vec::new(), rest: None, returns }
    }

    /// With its text for the documentation, in Markdown.
    #[must_use]
    pub fn docs(mut self, docs: impl Into<String>) -> Self {
        self.docs = docs.into();
        self
    }

    /// With a parameter.
    #[must_use]
    pub fn parameter(mut self, parameter: Parameter) -> Self {
        self.parameters.push(parameter);
        self
    }

    /// With any number of these at the end.
    #[must_use]
    pub fn rest(mut self, parameter: Parameter) -> Self {
        self.rest = Some(parameter);
        self
    }

    /// The parameter that an argument at this position is of.
    pub(crate) fn at(&self, position: usize) -> Option<&Parameter> {
        self.parameters.get(position).or(self.rest.as_ref())
    }

    fn check<F: Function>(&self) -> Result<(), SchemaError> {
        let of = F::NAME;
        let all = || self.parameters.iter().chain(&self.rest);
        if self.summary.is_empty() || self.docs.is_empty() {
            return Err(SchemaError::NoDocs { of, path: Path::root() });
        }
        if let Some(bare) = all().find(|parameter| parameter.docs.is_empty()) {
            return Err(SchemaError::NoDocs { of, path: Path::at(bare.name) });
        }
        let differs = |at: Option<usize>| {
            let name = at.and_then(|at| self.at(at)).map(|parameter| Path::at(parameter.name));
            SchemaError::Model { of, path: name.unwrap_or_default() }
        };
        F::Arguments::accept(self).map_err(differs)?;
        <F::Return as Convert>::accepts(&self.returns).map_err(|_| differs(None))
    }
}

/// All the arguments that follow the named ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rest<T>(pub Vec<T>);

/// One element of [`Arguments`].
pub trait Argument: Sized {
    /// Takes its own from the arguments that are left; the error has how many it took before.
    ///
    /// # Errors
    /// Where one is of another type.
    fn take(left: &mut impl Iterator<Item = Value>) -> Result<Self, (usize, ConvertError)>;

    /// Whether the parameter at this position is it.
    fn accepts(signature: &Signature, position: usize) -> bool;

    /// How many parameters it is.
    const WIDTH: usize;
}

impl<T: Convert> Argument for T {
    fn take(left: &mut impl Iterator<Item = Value>) -> Result<Self, (usize, ConvertError)> {
        T::from_value(left.next().unwrap_or_default()).map_err(|error| (0, error))
    }

    fn accepts(signature: &Signature, position: usize) -> bool {
        signature.parameters.get(position).is_some_and(|it| <T as Convert>::accepts(&it.ty).is_ok())
    }

    const WIDTH: usize = 1;
}

impl<T: Convert> Argument for Rest<T> {
    fn take(left: &mut impl Iterator<Item = Value>) -> Result<Self, (usize, ConvertError)> {
        let all = left.enumerate().map(|(at, value)| T::from_value(value).map_err(|error| (at, error)));
        all.collect::<Result<_, _>>().map(Self)
    }

    fn accepts(signature: &Signature, position: usize) -> bool {
        let right = signature.rest.as_ref().is_some_and(|it| <T as Convert>::accepts(&it.ty).is_ok());
        right && signature.parameters.len() == position
    }

    const WIDTH: usize = 0;
}

/// A tuple that is a function's arguments.
pub trait Arguments: Sized + Send {
    /// Makes it of the values; the error has the position of the argument.
    ///
    /// # Errors
    /// Where one is of another type.
    fn from_values(values: Vec<Value>) -> Result<Self, (usize, ConvertError)>;

    /// Whether these are the parameters.
    ///
    /// # Errors
    /// The position of the first that is not, or `None` where there are more.
    fn accept(signature: &Signature) -> Result<(), Option<usize>>;
}

macro_rules! tuples {
    ($(($($name:ident $at:literal),+);)*) => {$(
        impl<$($name: Argument + Send),+> Arguments for ($($name,)+) {
            fn from_values(values: Vec<Value>) -> Result<Self, (usize, ConvertError)> {
                let mut left = values.into_iter();
                Ok(($($name::take(&mut left).map_err(|(more, error)| ($at + more, error))?,)+))
            }

            fn accept(signature: &Signature) -> Result<(), Option<usize>> {
                $(if !$name::accepts(signature, $at) { return Err(Some($at)); })+
                let width = 0 $(+ $name::WIDTH)+;
                if signature.parameters.len() == width { Ok(()) } else { Err(None) }
            }
        }
    )*};
}

tuples! {
    (A 0);
    (A 0, B 1);
    (A 0, B 1, C 2);
    (A 0, B 1, C 2, D 3);
}

/// A function without its types.
pub(crate) trait ErasedFunction: Send + Sync {
    fn signature(&self) -> &Signature;
    fn check(&self) -> Result<(), SchemaError>;
    fn call(&self, arguments: Vec<Value>) -> Result<Value, FunctionError>;
}

pub(crate) struct TypedFunction<F> {
    inner: F,
    signature: Signature,
}

impl<F: Function> TypedFunction<F> {
    pub fn new(inner: F) -> Self {
        let signature = inner.signature();
        Self { inner, signature }
    }
}

impl<F: Function> ErasedFunction for TypedFunction<F> {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn check(&self) -> Result<(), SchemaError> {
        self.signature.check::<F>()
    }

    fn call(&self, arguments: Vec<Value>) -> Result<Value, FunctionError> {
        let arguments = F::Arguments::from_values(arguments)
            .map_err(|(at, error)| FunctionError::new(format!("{error}.")).at(at))?;
        self.inner.call(arguments).map(Convert::into_value)
    }
}
