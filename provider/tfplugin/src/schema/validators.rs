//! Validators that many attributes want.

use crate::{
    diagnostics::Diagnostic,
    value::{Known, Number, Step, Value},
};

/// One of these texts.
pub fn one_of<const N: usize>(allowed: [&'static str; N]) -> impl Fn(&Known) -> Result<(), Diagnostic> {
    move |value| match value.as_str() {
        Some(text) if !allowed.contains(&text) => {
            let allowed = allowed.map(|text| format!("{text:?}")).join(", ");
            Err(invalid(format!("{text:?} is none of {allowed}.")))
        }
        _ => Ok(()),
    }
}

/// Neither empty text, nor an empty list, set or map.
pub fn not_empty() -> impl Fn(&Known) -> Result<(), Diagnostic> {
    |value| {
        let empty = match value {
            Known::String(text) => text.is_empty(),
            Known::List(elements) | Known::Set(elements) => elements.is_empty(),
            Known::Map(elements) => elements.is_empty(),
            Known::Bool(_) | Known::Number(_) | Known::Object(_) => false,
        };
        if empty { Err(invalid("It must not be empty.")) } else { Ok(()) }
    }
}

/// A whole number of at least this.
pub fn at_least(least: i64) -> impl Fn(&Known) -> Result<(), Diagnostic> {
    move |value| number(value, |found| found >= least, || format!("a whole number of at least {least}"))
}

/// A whole number from one to the other, both included.
pub fn between(least: i64, most: i64) -> impl Fn(&Known) -> Result<(), Diagnostic> {
    move |value| {
        number(
            value,
            |found| (least..=most).contains(&found),
            || format!("a whole number from {least} to {most}"),
        )
    }
}

/// Text for which the check holds; `wanted` completes "It must be …".
pub fn matching(
    check: impl Fn(&str) -> bool,
    wanted: &'static str,
) -> impl Fn(&Known) -> Result<(), Diagnostic> {
    move |value| match value.as_str() {
        Some(text) if !check(text) => Err(invalid(format!("{text:?} is not right: it must be {wanted}."))),
        _ => Ok(()),
    }
}

/// Each element of a list, a set or a map; what is found has the element's path.
pub fn each(check: impl Fn(&Known) -> Result<(), Diagnostic>) -> impl Fn(&Known) -> Result<(), Diagnostic> {
    let one = move |step: Option<Step>, value: &Value| match value.known().map(&check) {
        Some(Err(mut diagnostic)) => {
            diagnostic.path =
                step.map_or_else(|| diagnostic.path.clone(), |step| diagnostic.path.clone().under(step));
            Err(diagnostic)
        }
        _ => Ok(()),
    };
    move |value| match value {
        Known::List(elements) => {
            elements.iter().enumerate().try_for_each(|(at, value)| one(Some(Step::index(at)), value))
        }
        Known::Set(elements) => elements.iter().try_for_each(|value| one(None, value)),
        Known::Map(elements) => {
            elements.iter().try_for_each(|(key, value)| one(Some(Step::Key(key.clone())), value))
        }
        Known::Bool(_) | Known::Number(_) | Known::String(_) | Known::Object(_) => Ok(()),
    }
}

fn number(value: &Known, right: impl Fn(i64) -> bool, wanted: impl Fn() -> String) -> Result<(), Diagnostic> {
    match value {
        Known::Number(found) if !found.as_i64().is_some_and(right) => Err(wrong_number(found, &wanted())),
        _ => Ok(()),
    }
}

fn wrong_number(found: &Number, wanted: &str) -> Diagnostic {
    invalid(format!("{found} is not right: it must be {wanted}."))
}

fn invalid(detail: impl Into<String>) -> Diagnostic {
    Diagnostic::error("Invalid value").detail(detail)
}
