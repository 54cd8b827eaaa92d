//! Durations: `"1m30s"`, in milliseconds.

/// Why a duration could not be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DurationError {
    /// A number without a unit.
    #[error("\"{0}\" has no unit")]
    NoUnit(String),
    /// Not numbers with units.
    #[error("\"{0}\" is no duration")]
    Malformed(String),
    /// Finer than a millisecond, or too long to hold.
    #[error("\"{0}\" is no whole number of milliseconds that fits")]
    OutOfRange(String),
}

impl DurationError {
    /// What to write instead.
    pub fn advice(&self) -> String {
        match self {
            Self::NoUnit(text) => format!("Write \"{text}s\" if seconds are meant."),
            Self::Malformed(_) | Self::OutOfRange(_) => {
                "Write numbers with the units h, m, s and ms, such as \"1m30s\" or \"500ms\".".to_owned()
            }
        }
    }
}

/// Milliseconds of a duration as a user writes it.
pub fn parse(text: &str) -> Result<u64, DurationError> {
    let malformed = || DurationError::Malformed(text.to_owned());
    let out_of_range = || DurationError::OutOfRange(text.to_owned());
    if text.is_empty() {
        return Err(malformed());
    }
    let mut rest = text;
    let mut total = 0_u128;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        if number.is_empty() {
            return Err(malformed());
        }
        let micros: u128 = match unit {
            "h" => 3_600_000_000,
            "m" => 60_000_000,
            "s" => 1_000_000,
            "ms" => 1_000,
            "us" => 1,
            "" if number == text && number == "0" => 0,
            "" if number == text && number.parse::<f64>().is_ok() => {
                return Err(DurationError::NoUnit(text.to_owned()));
            }
            _ => return Err(malformed()),
        };
        let part = scaled(number, micros).ok_or_else(malformed)?.ok_or_else(out_of_range)?;
        total = total.checked_add(part).ok_or_else(out_of_range)?;
        rest = after;
    }
    if !total.is_multiple_of(1_000) {
        return Err(out_of_range());
    }
    u64::try_from(total / 1_000).ok().filter(|ms| *ms <= i64::MAX as u64).ok_or_else(out_of_range)
}

fn scaled(number: &str, factor: u128) -> Option<Option<u128>> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.contains('.') || fraction.len() > 9 {
        return None;
    }
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let fraction = fraction.parse::<u128>().ok()?;
    let Ok(whole) = whole.parse::<u64>() else { return Some(None) };
    let sum = u128::from(whole).checked_mul(scale)?.checked_add(fraction)?.checked_mul(factor);
    Some(sum.filter(|sum| sum % scale == 0).map(|sum| sum / scale))
}

/// The canonical text: `90000` is `1m30s`.
pub fn format(milliseconds: u64) -> String {
    if milliseconds == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    let mut rest = milliseconds;
    for (unit, size) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        if rest >= size {
            text.push_str(&format!("{}{unit}", rest / size));
            rest %= size;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_spellings_are_one_number() {
        for text in ["1m30s", "90s", "1.5m", "90000ms", "0h1m30s"] {
            assert_eq!(parse(text), Ok(90_000), "{text}");
        }
        assert_eq!(parse("0"), Ok(0));
        assert_eq!(parse("1h"), Ok(3_600_000));
    }

    #[test]
    fn a_bare_number_is_an_error_that_shows_the_unit() {
        let error = parse("10").unwrap_err();
        assert_eq!(error.advice(), "Write \"10s\" if seconds are meant.");
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "s", "1 m", "-1s", "1d", "1m30", "1..5s", "soon", "1s "] {
            assert!(matches!(parse(text), Err(DurationError::Malformed(_))), "{text}: {:?}", parse(text));
        }
        for text in ["1us", "0.0001s", "99999999999999999h"] {
            assert!(matches!(parse(text), Err(DurationError::OutOfRange(_))), "{text}: {:?}", parse(text));
        }
    }

    #[test]
    fn format_is_read_back() {
        for ms in [0, 1, 999, 1_000, 90_000, 3_600_000, 3_661_001] {
            assert_eq!(parse(&format(ms)), Ok(ms));
        }
        assert_eq!(format(90_000), "1m30s");
    }
}
