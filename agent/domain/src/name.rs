//! Names that users give.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::invalid::Invalid;

macro_rules! text_type {
    ($name:ident) => {
        impl $name {
            /// The text, as it was given.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = Invalid;

            fn try_from(text: String) -> Result<Self, Invalid> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

/// An instance's or a network's name: one label of a host name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);
text_type!(Name);

/// A host name, of one label or more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hostname(String);
text_type!(Hostname);

/// A remote's name: what stands before the `:` in `hub:nginx`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RemoteName(String);
text_type!(RemoteName);

/// A volume's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VolumeName(String);
text_type!(VolumeName);

const NAME_ADVICE: &str =
    "Use 1 to 63 lower-case letters, digits and hyphens, with a letter or digit at both ends";

impl Name {
    /// Checks a name.
    ///
    /// # Errors
    /// The name breaks the rules of a host name's label. The path is empty: the caller knows the argument.
    pub fn new(text: &str) -> Result<Self, Invalid> {
        if is_label(text) && !text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Ok(Self(text.to_owned()));
        }
        Err(Invalid::new(&[], format!("\"{}\" is not a name", shown(text)), NAME_ADVICE))
    }
}

impl Hostname {
    /// Linux keeps at most this many bytes.
    const MAX: usize = 64;

    /// Checks a host name.
    ///
    /// # Errors
    /// The text breaks the rules of a host name.
    pub fn new(text: &str) -> Result<Self, Invalid> {
        if text.len() <= Self::MAX && text.split('.').all(is_label) {
            return Ok(Self(text.to_owned()));
        }
        let advice = "Use labels of letters, digits and hyphens joined by dots, 64 characters at most";
        Err(Invalid::new(&[], format!("\"{}\" is not a host name", shown(text)), advice))
    }
}

impl From<&Name> for Hostname {
    fn from(name: &Name) -> Self {
        Self(name.0.clone())
    }
}

impl RemoteName {
    /// Checks a remote's name.
    ///
    /// # Errors
    /// The name could not be told from a registry's host or from a digest in an image reference.
    pub fn new(text: &str) -> Result<Self, Invalid> {
        let good = matches!(text.len(), 1..=63)
            && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
            && text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !good {
            let advice =
                "Use 1 to 63 lower-case letters, digits, hyphens and underscores; a letter or digit first";
            return Err(Invalid::new(&[], format!("\"{}\" is not a remote's name", shown(text)), advice));
        }
        if matches!(text, "sha256" | "sha512" | "localhost") {
            let advice = "It already means something else in an image reference: use another";
            return Err(Invalid::new(&[], format!("A remote cannot be named \"{text}\""), advice));
        }
        Ok(Self(text.to_owned()))
    }
}

impl VolumeName {
    /// Checks a volume's name.
    ///
    /// # Errors
    /// The name could be taken for a path, or for something of a command line.
    pub fn new(text: &str) -> Result<Self, Invalid> {
        let good = matches!(text.len(), 1..=63)
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
            && text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if good {
            return Ok(Self(text.to_owned()));
        }
        let advice = "Use 1 to 63 letters, digits, hyphens, underscores and dots; a letter or digit first";
        Err(Invalid::new(&[], format!("\"{}\" is not a volume's name", shown(text)), advice))
    }
}

fn is_label(text: &str) -> bool {
    matches!(text.len(), 1..=63)
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// A user's text as it may stand in a message: short, and on one line.
#[must_use]
pub fn shown(text: &str) -> String {
    const MAX: usize = 80;
    let mut out: String = text.chars().take(MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(MAX).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules_of_host_names() {
        for good in ["a", "web", "web-1", "0a", &"a".repeat(63)] {
            assert!(Name::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "Web", "a.b", "a b", "a/b", "..", "a\0", "ä", &"a".repeat(64)] {
            let invalid = Name::new(bad).unwrap_err();
            assert!(!invalid.advice.is_empty() && !invalid.summary.contains('\0'), "{bad}");
        }
    }

    #[test]
    fn a_volume_s_name_is_no_path() {
        for good in ["data", "pg_data", "Data.1", "0-a"] {
            assert!(VolumeName::new(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "../x", "a/b", "/a", "-a", "a:b", "a b", "a\n", &"a".repeat(64)] {
            assert!(VolumeName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn host_names_may_have_dots() {
        assert!(Hostname::new("db.Example.org").is_ok());
        for bad in ["", ".", "a..b", "-a.b", &["a"; 33].join(".")] {
            assert!(Hostname::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_remote_is_never_taken_for_a_host_or_a_digest() {
        assert!(RemoteName::new("hub_2").is_ok());
        for bad in ["", "docker.io", "sha256", "localhost", "a:b", "a/b", "-x", "[::1]"] {
            assert!(RemoteName::new(bad).is_err(), "{bad}");
        }
    }
}
