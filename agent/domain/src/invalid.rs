//! A user's mistakes: each with the argument it is in and what to do about it.

use std::fmt;

use thiserror::Error;

/// One mistake in what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// Path of the argument, as in the interface: `["ports", "http", "host_port"]`.
    pub attribute: Vec<String>,
    /// One line: what is wrong.
    pub summary: String,
    /// What to do.
    pub advice: String,
}

impl Invalid {
    /// A mistake in the argument at `attribute`.
    pub fn new(attribute: &[&str], summary: impl Into<String>, advice: impl Into<String>) -> Self {
        let attribute = attribute.iter().map(|&part| part.to_owned()).collect();
        Self { attribute, summary: summary.into(), advice: advice.into() }
    }

    /// The same mistake, found deeper: `prefix` is put before its path.
    #[must_use]
    pub fn under(mut self, prefix: &[&str]) -> Self {
        self.attribute.splice(0..0, prefix.iter().map(|&part| part.to_owned()));
        self
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.attribute.is_empty() {
            return write!(f, "{}. {}", self.summary, self.advice);
        }
        write!(f, "{}: {}. {}", self.attribute.join("."), self.summary, self.advice)
    }
}

/// All mistakes of one request; never empty.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Invalids(Vec<Invalid>);

impl Invalids {
    /// The mistakes, the first found first.
    #[must_use]
    pub fn as_slice(&self) -> &[Invalid] {
        &self.0
    }
}

impl From<Invalid> for Invalids {
    fn from(invalid: Invalid) -> Self {
        Self(vec![invalid])
    }
}

/// Gathers mistakes while a draft is read, so that a user sees all of them at once.
#[derive(Debug, Default)]
pub struct Findings(Vec<Invalid>);

impl Findings {
    /// Notes one mistake.
    pub fn add(&mut self, invalid: Invalid) {
        self.0.push(invalid);
    }

    /// Keeps the value, or notes the mistake under `prefix` and returns nothing.
    pub fn keep<T>(&mut self, prefix: &[&str], result: Result<T, Invalid>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(invalid) => {
                self.add(invalid.under(prefix));
                None
            }
        }
    }

    /// The mistakes, if there are any.
    pub fn into_error(self) -> Option<Invalids> {
        if self.0.is_empty() { None } else { Some(Invalids(self.0)) }
    }

    /// `value` if nothing was noted.
    ///
    /// # Errors
    /// All that was noted. A value that is missing is always noted, so `None` without a note is one as well.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Invalids> {
        match (self.into_error(), value) {
            (None, Some(value)) => Ok(value),
            (Some(invalids), _) => Err(invalids),
            (None, None) => {
                Err(Invalid::new(&[], "The request is incomplete", "Give all of its parts").into())
            }
        }
    }
}
