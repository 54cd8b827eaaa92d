//! Permissions as octal text: `"0755"`.

/// Text that is no permissions.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("\"{0}\" are no permissions")]
pub struct ModeError(String);

impl ModeError {
    /// What to write instead.
    pub fn advice(&self) -> &'static str {
        "Write an octal number up to 7777 as a text, such as \"0755\"."
    }
}

/// The bits of permissions as a user writes them.
pub fn parse(text: &str) -> Result<u32, ModeError> {
    let octal = !text.is_empty() && text.len() <= 5 && text.bytes().all(|b| matches!(b, b'0'..=b'7'));
    let mode = if octal { u32::from_str_radix(text, 8).ok() } else { None };
    mode.filter(|mode| *mode <= 0o7777).ok_or_else(|| ModeError(text.to_owned()))
}

/// Four digits.
pub fn format(mode: u32) -> String {
    format!("{mode:04o}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_text_is_read_and_anything_else_refused() {
        for (text, mode) in [("0755", 0o755), ("755", 0o755), ("1777", 0o1777), ("0", 0), ("07777", 0o7777)] {
            assert_eq!(parse(text), Ok(mode), "{text}");
        }
        for bad in ["", "0o755", "0788", "-1", "u+x", "17777", "000755", " 755"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert_eq!(format(0o55), "0055");
    }
}
