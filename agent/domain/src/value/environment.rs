//! Environment variables.
//!
//! A variable reaches the process as one entry of a list, never through a shell or a file, so a newline in a
//! value is only a newline. A NUL would cut the entry short and is refused; a name with `=` would be another.

use std::collections::BTreeMap;

use crate::invalid::{Findings, Invalid};
use crate::name::shown;
use crate::value::text;

/// Variables by name; `None` unsets what the image sets.
pub type Environment = BTreeMap<String, Option<String>>;

/// Checks all variables, noting each mistake under `environment`.
pub fn check(environment: &Environment, findings: &mut Findings) {
    for (name, value) in environment {
        findings.keep(&["environment"], variable(name, value.as_deref()));
    }
}

/// Checks one variable.
///
/// # Errors
/// The name is no name of a variable, or the value cannot be one.
pub fn variable<T: AsRef<[u8]> + ?Sized>(name: &str, value: Option<&T>) -> Result<(), Invalid> {
    if name.is_empty() || name.contains('=') || name.chars().any(char::is_control) {
        let summary = format!("\"{}\" cannot name a variable", shown(name));
        return Err(Invalid::new(&[name], summary, "Use a name without \"=\" and control characters"));
    }
    match value {
        Some(value) => text::argument(value).map_err(|invalid| invalid.under(&[name])),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newline_stays_in_its_value_and_a_nul_is_refused() {
        assert!(variable("TEXT", Some("a\nLD_PRELOAD=/x")).is_ok());
        let invalid = variable("TEXT", Some("a\0b")).unwrap_err();
        assert_eq!(invalid.attribute, ["TEXT"]);
        assert!(variable("GONE", None::<&str>).is_ok());
        for bad in ["", "A=B", "A\nB", "A\0"] {
            assert!(variable(bad, Some("x")).is_err(), "{bad:?}");
        }
    }
}
