//! Sizes: `"512MiB"`, or a number of bytes.

/// Why a size could not be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SizeError {
    /// `512M` may mean either of two sizes.
    #[error("\"{text}\" could mean {number}{letter}iB or {number}{letter}B")]
    Ambiguous {
        /// What was written.
        text: String,
        /// Its digits.
        number: String,
        /// Its unit's letter, upper case.
        letter: char,
    },
    /// Not a number with a unit.
    #[error("\"{text}\" is no size")]
    Malformed {
        /// What was written.
        text: String,
    },
    /// Not a whole number of bytes, or more than fits.
    #[error("\"{text}\" is no whole number of bytes that fits in 63 bits")]
    OutOfRange {
        /// What was written.
        text: String,
    },
}

impl SizeError {
    /// What to write instead.
    pub fn advice(&self) -> String {
        match self {
            Self::Ambiguous { number, letter, .. } => format!(
                "Write \"{number}{letter}iB\" for powers of 1024, which is what memory is usually given in, \
                 or \"{number}{letter}B\" for powers of 1000."
            ),
            Self::Malformed { .. } | Self::OutOfRange { .. } => {
                "Write a number of bytes, or a number with one of the units B, KiB, MiB, GiB, TiB (powers of \
                 1024), kB, MB, GB, TB (powers of 1000), such as \"512MiB\"."
                    .to_owned()
            }
        }
    }
}

/// Units and their sizes, written as the canonical text writes them.
const UNITS: [(&str, u64); 11] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("PiB", 1 << 50),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("PB", 1_000_000_000_000_000),
];

/// Bytes of a size as a user writes it.
pub fn parse(text: &str) -> Result<u64, SizeError> {
    let malformed = || SizeError::Malformed { text: text.to_owned() };
    let trimmed = text.trim();
    let split = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(split);
    let unit = unit.trim_start();
    let factor = match unit {
        "" => 1,
        "KB" => 1_000,
        _ => match UNITS.iter().find(|(name, _)| *name == unit) {
            Some((_, factor)) => *factor,
            None => return Err(ambiguous(text, number, unit).unwrap_or_else(malformed)),
        },
    };
    let bytes = decimal(number, factor).ok_or_else(malformed)?;
    bytes
        .filter(|bytes| *bytes <= i64::MAX as u64)
        .ok_or_else(|| SizeError::OutOfRange { text: text.to_owned() })
}

fn ambiguous(text: &str, number: &str, unit: &str) -> Option<SizeError> {
    let mut letters = unit.chars();
    let letter = letters.next()?.to_ascii_uppercase();
    let known = "KMGTP".contains(letter) && letters.next().is_none() && !number.is_empty();
    known.then(|| SizeError::Ambiguous { text: text.to_owned(), number: number.to_owned(), letter })
}

/// `number` times `factor`: the outer none is no number, the inner one is none that fits.
fn decimal(number: &str, factor: u64) -> Option<Option<u64>> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.contains('.') || fraction.len() > 9 {
        return None;
    }
    let Ok(whole) = whole.parse::<u128>() else { return Some(None) };
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let fraction = fraction.parse::<u128>().ok()?;
    let scaled = whole
        .checked_mul(scale)
        .and_then(|whole| whole.checked_add(fraction))
        .and_then(|sum| sum.checked_mul(u128::from(factor)));
    Some(scaled.filter(|scaled| scaled % scale == 0).and_then(|scaled| u64::try_from(scaled / scale).ok()))
}

/// The shortest text of a number of bytes that loses nothing.
pub fn format(bytes: u64) -> String {
    let unit = UNITS[1..6].iter().rev().find(|(_, size)| bytes >= *size && bytes.is_multiple_of(*size));
    match unit {
        Some((name, size)) => format!("{}{name}", bytes / size),
        None => bytes.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_spellings_are_one_number() {
        for text in ["512MiB", "536870912", "0.5GiB", "524288KiB", " 512 MiB"] {
            assert_eq!(parse(text), Ok(536_870_912), "{text}");
        }
        assert_eq!(parse("1.5kB"), Ok(1500));
        assert_eq!(parse("1KB"), parse("1kB"));
        assert_eq!(parse("0"), Ok(0));
    }

    #[test]
    fn a_bare_letter_is_an_error_that_says_which_is_meant() {
        let error = parse("512M").unwrap_err();
        assert_eq!(error.to_string(), "\"512M\" could mean 512MiB or 512MB");
        assert!(error.advice().contains("\"512MiB\" for powers of 1024"));
        assert!(matches!(parse("2g").unwrap_err(), SizeError::Ambiguous { letter: 'G', .. }));
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "MiB", "-1", "1.2.3MiB", "1.MiB", "12 apples", "1e3", "0x10"] {
            assert!(matches!(parse(text), Err(SizeError::Malformed { .. })), "{text}: {:?}", parse(text));
        }
        for text in ["0.3B", "9223372036854775808", "99999999999999999999999999999999999999999", "9999999PiB"]
        {
            assert!(matches!(parse(text), Err(SizeError::OutOfRange { .. })), "{text}: {:?}", parse(text));
        }
    }

    #[test]
    fn format_is_read_back() {
        for bytes in [0, 1, 1023, 1024, 1_000_000, 536_870_912, 3 << 40, i64::MAX as u64] {
            assert_eq!(parse(&format(bytes)), Ok(bytes));
        }
        assert_eq!(format(536_870_912), "512MiB");
        assert_eq!(format(1_000_000), "1000000");
    }
}
