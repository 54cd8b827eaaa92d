//! Names of instances and remotes.

/// Why a name is none.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NameError {
    /// Nothing is there.
    #[error("the name is empty")]
    Empty,
    /// Longer than a host name's label may be.
    #[error("\"{0}\" is longer than 63 characters")]
    TooLong(String),
    /// A character that no name of this kind has.
    #[error("\"{name}\" holds {character:?}")]
    Character {
        /// What was written.
        name: String,
        /// What it may not hold.
        character: char,
    },
    /// A hyphen where none may be.
    #[error("\"{0}\" begins or ends with a hyphen")]
    Hyphen(String),
    /// Names that mean something else.
    #[error("\"{0}\" is no remote's name: it marks a digest")]
    Reserved(String),
}

/// Checks an instance's name or a host name's label: letters, digits and hyphens.
pub fn check_label(name: &str) -> Result<(), NameError> {
    check(name, |character| character.is_ascii_alphanumeric() || character == '-')
}

/// Checks a host name: labels with dots between them.
pub fn check_hostname(name: &str) -> Result<(), NameError> {
    if name.len() > 64 {
        return Err(NameError::TooLong(name.to_owned()));
    }
    name.split('.').try_for_each(check_label)
}

/// Checks a remote's name: what may stand before the `:` of a reference.
pub fn check_remote(name: &str) -> Result<(), NameError> {
    if name == "sha256" || name == "localhost" {
        return Err(NameError::Reserved(name.to_owned()));
    }
    check(name, |character| character.is_ascii_alphanumeric() || "-_".contains(character))
}

/// Checks a volume's name: what cannot be taken for a path.
pub fn check_volume(name: &str) -> Result<(), NameError> {
    if let Some(first) = name.chars().next().filter(|first| !first.is_ascii_alphanumeric()) {
        return Err(NameError::Character { name: name.to_owned(), character: first });
    }
    // Only the first character matters: a hyphen may be the last.
    check(name.trim_end_matches('-'), |character| {
        character.is_ascii_alphanumeric() || "-_.".contains(character)
    })?;
    if name.len() > 63 { Err(NameError::TooLong(name.to_owned())) } else { Ok(()) }
}

fn check(name: &str, allowed: impl Fn(char) -> bool) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if let Some(character) = name.chars().find(|character| !allowed(*character)) {
        return Err(NameError::Character { name: name.to_owned(), character });
    }
    if name.len() > 63 {
        return Err(NameError::TooLong(name.to_owned()));
    }
    if name.starts_with('-') || name.ends_with('-') {
        return Err(NameError::Hyphen(name.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels() {
        for name in ["web", "web-1", "a", "0", &"x".repeat(63)] {
            assert_eq!(check_label(name), Ok(()), "{name}");
        }
        assert_eq!(check_label(""), Err(NameError::Empty));
        assert!(matches!(check_label("my_web"), Err(NameError::Character { character: '_', .. })));
        assert!(matches!(check_label("../x"), Err(NameError::Character { character: '.', .. })));
        assert!(matches!(check_label("-web"), Err(NameError::Hyphen(_))));
        assert!(matches!(check_label(&"x".repeat(64)), Err(NameError::TooLong(_))));
    }

    #[test]
    fn hostnames_and_remotes() {
        assert_eq!(check_hostname("db.example.internal"), Ok(()));
        assert_eq!(check_hostname("db..internal"), Err(NameError::Empty));
        assert_eq!(check_remote("hub"), Ok(()));
        assert!(matches!(check_remote("sha256"), Err(NameError::Reserved(_))));
        assert!(check_remote("a.b").is_err());
    }
}
