//! Terraform's numbers: decimals of any size, kept exactly.

use std::fmt;

/// A number as Terraform has it.
///
/// Equal numbers have one form, so that they compare equal and go back over the wire as they came.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Number(Repr);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Repr {
    Int(i64),
    /// Above `i64::MAX`.
    Big(u64),
    /// No integer of 64 bits: the digits.
    Decimal(String),
    /// A value that only a float of 64 bits gives, as its bits, because its decimal digits would be another value.
    Float(u64),
}

/// How a number goes over the wire.
#[derive(Debug, PartialEq)]
pub(crate) enum Wire<'a> {
    Int(i64),
    Uint(u64),
    Float(f64),
    Text(&'a str),
}

impl Number {
    /// Reads decimal digits, as `-1`, `0.25` or `1e30`.
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(value) = text.parse::<i64>() {
            return Some(Self(Repr::Int(value)));
        }
        if let Ok(value) = text.parse::<u64>() {
            return Some(Self(Repr::Big(value)));
        }
        let plain = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
        let value = text.parse::<f64>().ok().filter(|_| plain)?;
        match exact(value) {
            Some(digits) if digits == normal(text) => Some(Self::from(value)),
            _ => Some(Self(Repr::Decimal(text.to_owned()))),
        }
    }

    /// The integer, where it is one that fits.
    pub fn as_i64(&self) -> Option<i64> {
        match self.0 {
            Repr::Int(value) => Some(value),
            _ => None,
        }
    }

    /// The integer, where it is one that fits and is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match self.0 {
            Repr::Int(value) => u64::try_from(value).ok(),
            Repr::Big(value) => Some(value),
            Repr::Decimal(_) | Repr::Float(_) => None,
        }
    }

    /// The nearest float.
    pub fn as_f64(&self) -> f64 {
        match &self.0 {
            Repr::Int(value) => *value as f64,
            Repr::Big(value) => *value as f64,
            Repr::Decimal(text) => text.parse().unwrap_or(f64::NAN),
            Repr::Float(bits) => f64::from_bits(*bits),
        }
    }

    pub(crate) fn wire(&self) -> Wire<'_> {
        match &self.0 {
            Repr::Int(value) => Wire::Int(*value),
            Repr::Big(value) => Wire::Uint(*value),
            Repr::Decimal(text) => Wire::Text(text),
            Repr::Float(bits) => Wire::Float(f64::from_bits(*bits)),
        }
    }
}

/// All digits of a finite float, as `normal` gives them.
fn exact(value: f64) -> Option<String> {
    // No float of 64 bits has more digits behind the point.
    value.is_finite().then(|| normal(&format!("{value:.1074}")))
}

/// Digits without the zeros that say nothing. An exponent is left as it is: such a number is kept as text.
fn normal(text: &str) -> String {
    let (sign, digits) =
        text.strip_prefix('-').map_or(("", text.trim_start_matches('+')), |rest| ("-", rest));
    let digits = digits.trim_start_matches('0');
    let digits =
        if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits };
    let lead = if digits.is_empty() || digits.starts_with('.') { "0" } else { "" };
    format!("{sign}{lead}{digits}")
}

impl From<i64> for Number {
    fn from(value: i64) -> Self {
        Self(Repr::Int(value))
    }
}

impl From<u64> for Number {
    fn from(value: u64) -> Self {
        Self(i64::try_from(value).map_or(Repr::Big(value), Repr::Int))
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        // Both limits are exact as floats; the upper one is outside.
        if value.fract() == 0.0
            && (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&value)
        {
            return Self(Repr::Int(value as i64));
        }
        Self(Repr::Float(value.to_bits()))
    }
}

impl fmt::Display for Number {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Int(value) => value.fmt(out),
            Repr::Big(value) => value.fmt(out),
            Repr::Decimal(text) => out.write_str(text),
            Repr::Float(bits) => f64::from_bits(*bits).fmt(out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_numbers_have_one_form() {
        assert_eq!(Number::parse("1"), Some(Number::from(1.0)));
        assert_eq!(Number::parse("1.5"), Some(Number::from(1.5)));
        assert_eq!(Number::parse("-0.250"), Some(Number::from(-0.25)));
        assert_eq!(Number::parse("18446744073709551615"), Some(Number::from(u64::MAX)));
    }

    #[test]
    fn a_decimal_that_no_float_holds_stays_text() {
        let number = Number::parse("0.1").unwrap();
        assert_eq!(number.wire(), Wire::Text("0.1"));
        assert_ne!(number, Number::from(0.1));
        assert_eq!(number.as_f64(), 0.1);
        let large = "123456789012345678901234567890";
        assert_eq!(Number::parse(large).unwrap().to_string(), large);
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["", "a", "1x", "inf", "NaN", "0x10"] {
            assert_eq!(Number::parse(text), None, "{text}");
        }
    }
}
