//! CPU shares: `"1.5"`, in thousandths of a CPU.

/// Why a share could not be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CpuError {
    /// Not a decimal number.
    #[error("\"{0}\" is no number of CPUs")]
    Malformed(String),
    /// Zero, finer than a thousandth, or more than fits.
    #[error("\"{0}\" is no number of CPUs from 0.001 to 1000000 in steps of 0.001")]
    OutOfRange(String),
}

impl CpuError {
    /// What to write instead.
    pub fn advice(&self) -> &'static str {
        "Write a number of CPUs, such as \"1.5\", or leave the argument out for no limit."
    }
}

/// Thousandths of a CPU.
pub fn parse(text: &str) -> Result<u64, CpuError> {
    let malformed = || CpuError::Malformed(text.to_owned());
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return Err(malformed());
    }
    let fraction = fraction.trim_end_matches('0');
    let whole = whole.trim_start_matches('0');
    if fraction.len() > 3 || whole.len() > 7 {
        return Err(CpuError::OutOfRange(text.to_owned()));
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| malformed())? };
    let millis: u64 = format!("{fraction:0<3}").parse().map_err(|_| malformed())?;
    let total = whole * 1_000 + millis;
    if (1..=1_000_000_000).contains(&total) { Ok(total) } else { Err(CpuError::OutOfRange(text.to_owned())) }
}

/// The canonical text: `1500` is `1.5`.
pub fn format(millis: u64) -> String {
    match millis % 1_000 {
        0 => (millis / 1_000).to_string(),
        rest => format!("{}.{:03}", millis / 1_000, rest).trim_end_matches('0').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_spellings_are_one_number() {
        for text in ["1.5", "1.50", "01.500"] {
            assert_eq!(parse(text), Ok(1_500), "{text}");
        }
        assert_eq!(parse("2"), Ok(2_000));
        assert_eq!(parse("0.001"), Ok(1));
    }

    #[test]
    fn what_is_no_share_is_refused() {
        for text in ["", "half", "-1", "1.", ".5", "1e3", "1,5"] {
            assert!(matches!(parse(text), Err(CpuError::Malformed(_))), "{text}");
        }
        for text in ["0", "0.0001", "10000000000"] {
            assert!(matches!(parse(text), Err(CpuError::OutOfRange(_))), "{text}");
        }
    }

    #[test]
    fn format_is_read_back() {
        for millis in [1, 10, 100, 1_000, 1_500, 12_345] {
            assert_eq!(parse(&format(millis)), Ok(millis));
        }
        assert_eq!(format(1_500), "1.5");
    }
}
