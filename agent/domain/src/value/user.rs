//! Whom a workload runs as: `user[:group]`, names or numbers.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::invalid::Invalid;
use crate::name::shown;

/// `user[:group]`; names are looked up in the image's own passwd and group files when it starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserSpec(String);

/// Ids an instance has: those of its own range.
const IDS: u64 = 65_536;

impl UserSpec {
    /// Checks `user[:group]`.
    ///
    /// # Errors
    /// A part is empty, cannot stand in a passwd file, or is a number beyond the instance's own ids.
    pub fn new(text: &str) -> Result<Self, Invalid> {
        let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
        part(user, "user")?;
        group.map_or(Ok(()), |group| part(group, "group"))?;
        Ok(Self(text.to_owned()))
    }

    /// The text, as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn part(text: &str, what: &str) -> Result<(), Invalid> {
    let bad = |c: char| c.is_control() || c.is_whitespace() || matches!(c, ':' | '/' | ',');
    if text.is_empty() || text.starts_with(['-', '+']) || text.contains(bad) || text.len() > 256 {
        let summary = format!("\"{}\" is not a {what}", shown(text));
        return Err(Invalid::new(&[], summary, "Write user, user:group, or numbers such as 1000:1000"));
    }
    if text.bytes().all(|b| b.is_ascii_digit()) && !text.parse::<u64>().is_ok_and(|id| id < IDS) {
        let summary = format!("The {what} id {} is beyond the ids of an instance", shown(text));
        return Err(Invalid::new(&[], summary, format!("Use an id below {IDS}")));
    }
    Ok(())
}

impl TryFrom<String> for UserSpec {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        Self::new(&text)
    }
}

impl From<UserSpec> for String {
    fn from(user: UserSpec) -> Self {
        user.0
    }
}

impl fmt::Display for UserSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_names_or_small_numbers() {
        for good in ["root", "0", "1000:1000", "www-data:www-data", "nobody:0", "65535", "_apt", "1a"] {
            assert!(UserSpec::new(good).is_ok(), "{good}");
        }
        let huge = "9".repeat(40);
        for bad in ["", ":", "a:", ":a", "a:b:c", "65536", "2147483649", "-1", "a b", "a\nb", "a\0", &huge] {
            assert!(UserSpec::new(bad).is_err(), "{bad:?}");
        }
    }
}
