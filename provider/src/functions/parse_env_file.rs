//! `parse_env_file`: an environment file as a map.

use std::collections::BTreeMap;

use tfplugin::value::Type;
use tfplugin::{Function, FunctionError, Parameter, Signature};

use super::wrong;
use crate::text::env_file;

/// `parse_env_file`.
pub struct ParseEnvFile;

impl Function for ParseEnvFile {
    type Arguments = (String,);
    type Return = BTreeMap<String, String>;

    const NAME: &'static str = "parse_env_file";

    fn signature(&self) -> Signature {
        Signature::new("The variables of an environment file.", Type::map(Type::String))
            .docs(
                "Reads the text of a `.env` file, as Docker Compose has it, and gives a map for `environment`. A line is \
                 `NAME=VALUE`, with `export` before it or not; lines that are empty or begin with `#` do not count, and the last \
                 of two lines for one name does. A value may stand in single quotes, and is then taken as it is, or in double \
                 quotes, in which `\\n`, `\\r`, `\\t`, `\\\"`, `\\$` and `\\\\` stand for a character; both may span lines. A value without \
                 quotes ends at ` #`. Variables in values are not replaced: `$HOME` stays `$HOME`.",
            )
            .parameter(Parameter::new("text", Type::String, "The text, such as `file(\"web.env\")`."))
    }

    fn call(&self, (text,): (String,)) -> Result<BTreeMap<String, String>, FunctionError> {
        env_file::parse(&text).map_err(|error| wrong(&error, error.advice()))
    }
}
