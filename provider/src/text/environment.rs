//! Names and values of environment variables.

/// Why a variable cannot be set.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EnvironmentError {
    /// A name of no characters.
    #[error("a variable has no name")]
    EmptyName,
    /// `=` ends a name.
    #[error("the name \"{0}\" holds an equals sign")]
    Equals(String),
    /// A NUL ends what the kernel reads.
    #[error("{0} holds a NUL character")]
    Nul(String),
}

/// Checks a variable's name and, where it is known, its value.
pub fn check(name: &str, value: Option<&str>) -> Result<(), EnvironmentError> {
    if name.is_empty() {
        return Err(EnvironmentError::EmptyName);
    }
    if name.contains('=') {
        return Err(EnvironmentError::Equals(name.to_owned()));
    }
    if name.contains('\0') {
        return Err(EnvironmentError::Nul(format!("the name {name:?}")));
    }
    if value.is_some_and(|value| value.contains('\0')) {
        return Err(EnvironmentError::Nul(format!("the value of {name}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables() {
        assert_eq!(check("PATH", Some("/bin\nand more")), Ok(()));
        assert_eq!(check("", None), Err(EnvironmentError::EmptyName));
        assert_eq!(check("A=B", None), Err(EnvironmentError::Equals("A=B".to_owned())));
        assert_eq!(check("A", Some("x\0y")), Err(EnvironmentError::Nul("the value of A".to_owned())));
    }
}
