//! `parse_size`: a size as a number of bytes.

use tfplugin::value::{Number, Type};
use tfplugin::{Function, FunctionError, Parameter, Signature};

use super::wrong;
use crate::text::size;

/// `parse_size`.
pub struct ParseSize;

impl Function for ParseSize {
    type Arguments = (String,);
    type Return = Number;

    const NAME: &'static str = "parse_size";

    fn signature(&self) -> Signature {
        Signature::new("The number of bytes of a size.", Type::Number)
            .docs(
                "Reads a size as the arguments of resources do, and gives its number of bytes: `\"512MiB\"`, `\"1.5GiB\"`, \
                 `\"100MB\"`, or a number of bytes. `\"512M\"`, which could mean two sizes, is an error.",
            )
            .parameter(Parameter::new(
                "size",
                Type::String,
                "The size: a number, and a unit of `B`, `KiB`, `MiB`, `GiB`, `TiB`, `PiB` (powers of 1024), `kB`, `MB`, `GB`, \
                 `TB`, `PB` (powers of 1000).",
            ))
    }

    fn call(&self, (text,): (String,)) -> Result<Number, FunctionError> {
        size::parse(&text).map(Number::from).map_err(|error| wrong(&error, &error.advice()))
    }
}
