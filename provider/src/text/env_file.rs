//! Environment files, as Docker Compose has them.

use std::collections::BTreeMap;

/// Why an environment file could not be read. Lines count from 1.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EnvFileError {
    /// A line with a name and no value.
    #[error("line {line} holds no equals sign")]
    NoValue {
        /// Where.
        line: usize,
    },
    /// What stands before the equals sign.
    #[error("line {line}: \"{name}\" is no variable's name")]
    Name {
        /// Where.
        line: usize,
        /// What was written.
        name: String,
    },
    /// Quotes that nothing closes.
    #[error("line {line}: the quote is never closed")]
    Unclosed {
        /// Where it is opened.
        line: usize,
    },
    /// Something behind a closing quote.
    #[error("line {line}: \"{rest}\" stands behind the closing quote")]
    Trailing {
        /// Where.
        line: usize,
        /// What was written.
        rest: String,
    },
    /// A NUL ends what the kernel reads.
    #[error("line {line} holds a NUL character")]
    Nul {
        /// Where.
        line: usize,
    },
}

impl EnvFileError {
    /// What to write instead.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::NoValue { .. } => {
                "Write NAME=VALUE, or NAME= for an empty value. A value is not taken from the environment of Terraform."
            }
            Self::Name { .. } => {
                "A name is letters, digits and underscores, dots and hyphens, and does not begin with a digit."
            }
            Self::Unclosed { .. } => "Close it, or leave both quotes out.",
            Self::Trailing { .. } => "Put all of the value in quotes, or a space and a # before a comment.",
            Self::Nul { .. } => "The kernel ends a variable at a NUL; it cannot hold one.",
        }
    }
}

/// The variables of a file; of two with one name the last counts.
pub fn parse(text: &str) -> Result<BTreeMap<String, String>, EnvFileError> {
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (mut line, mut found) = (1, BTreeMap::new());
    while !rest.is_empty() {
        let (current, after) = rest.split_once('\n').unwrap_or((rest, ""));
        let bare = current.trim();
        if bare.is_empty() || bare.starts_with('#') {
            (rest, line) = (after, line + 1);
            continue;
        }
        if current.contains('\0') {
            return Err(EnvFileError::Nul { line });
        }
        let (name, _) = current.split_once('=').ok_or(EnvFileError::NoValue { line })?;
        let value = rest.get(name.len() + 1..).unwrap_or_default();
        let (value, left) = read_value(value, line)?;
        found.insert(read_name(name, line)?, value);
        // A value in quotes may have gone on over lines.
        line += rest[..rest.len() - left.len()].matches('\n').count();
        rest = left;
    }
    Ok(found)
}

fn read_name(text: &str, line: usize) -> Result<String, EnvFileError> {
    let bare = text.trim();
    let name =
        bare.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t'])).unwrap_or(bare).trim();
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    let right =
        name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit() || ".-".contains(c));
    if right { Ok(name.to_owned()) } else { Err(EnvFileError::Name { line, name: name.to_owned() }) }
}

/// The value, and what follows its line.
fn read_value(text: &str, line: usize) -> Result<(String, &str), EnvFileError> {
    let start = text.trim_start_matches([' ', '\t']);
    match start.chars().next() {
        Some('\'') => {
            let (value, rest) = start[1..].split_once('\'').ok_or(EnvFileError::Unclosed { line })?;
            Ok((value.to_owned(), end_of_line(rest, line)?))
        }
        Some('"') => {
            let (value, rest) = unescape(&start[1..]).ok_or(EnvFileError::Unclosed { line })?;
            Ok((value, end_of_line(rest, line)?))
        }
        _ => {
            let (value, after) = start.split_once('\n').unwrap_or((start, ""));
            let comment = value.match_indices('#').find(|(at, _)| {
                value.get(..*at).is_some_and(|before| before.is_empty() || before.ends_with([' ', '\t']))
            });
            let value = comment.and_then(|(at, _)| value.get(..at)).unwrap_or(value);
            Ok((value.trim_end().to_owned(), after))
        }
    }
}

/// Nothing but a comment may follow a closing quote.
fn end_of_line(text: &str, line: usize) -> Result<&str, EnvFileError> {
    let (rest, after) = text.split_once('\n').unwrap_or((text, ""));
    let bare = rest.trim();
    if bare.is_empty() || (bare.starts_with('#') && rest.starts_with([' ', '\t'])) {
        Ok(after)
    } else {
        Err(EnvFileError::Trailing { line, rest: bare.to_owned() })
    }
}

/// Reads up to the closing quote; none is no closing quote.
fn unescape(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                't' => value.push('\t'),
                plain @ ('"' | '\\' | '$') => value.push(plain),
                other => value.extend(['\\', other]),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        parse(text).unwrap().into_iter().collect()
    }

    fn one(text: &str) -> String {
        let all = read(text);
        assert_eq!(all.len(), 1, "{all:?}");
        all.into_iter().next().unwrap().1
    }

    #[test]
    fn a_file_is_read() {
        let text = "\u{feff}# comment\r\n\r\nexport A=1\r\nB = two words # comment\nexported=x\nA=2\nE=\n";
        let expected = [("A", "2"), ("B", "two words"), ("E", ""), ("exported", "x")];
        assert_eq!(read(text), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(read(""), []);
    }

    #[test]
    fn values_may_be_quoted() {
        assert_eq!(one("A='it #is $HOME \\n'  # comment"), "it #is $HOME \\n");
        assert_eq!(one("A=\"a\\tb\\\"c\\\\d\\x\""), "a\tb\"c\\d\\x");
        assert_eq!(one("A=\"one\ntwo\"\n"), "one\ntwo");
        assert_eq!(one("A=a#b'c\"d=e"), "a#b'c\"d=e");
        assert_eq!(one("A=# comment"), "");
        assert_eq!(read("A='1\n2'\nB=3").len(), 2);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        assert_eq!(parse("A=1\nHOME\n"), Err(EnvFileError::NoValue { line: 2 }));
        assert_eq!(parse("\n1A=1"), Err(EnvFileError::Name { line: 2, name: "1A".to_owned() }));
        assert_eq!(parse("A='1\n2'\n=x"), Err(EnvFileError::Name { line: 3, name: String::new() }));
        assert_eq!(parse("A=1\nB=\"x\nC=2\n"), Err(EnvFileError::Unclosed { line: 2 }));
        assert_eq!(parse("A='x'y"), Err(EnvFileError::Trailing { line: 1, rest: "y".to_owned() }));
        assert_eq!(parse("A=\0"), Err(EnvFileError::Nul { line: 1 }));
    }
}
