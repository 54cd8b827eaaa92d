//! Signals by name or number.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::invalid::Invalid;
use crate::name::shown;

/// A signal; keeps the text it was written as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StopSignal {
    text: String,
    number: u8,
}

/// Linux's numbers, the same on every architecture Berth runs on.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
const RT_MIN: u8 = 34;
const RT_MAX: u8 = 64;

impl StopSignal {
    /// Reads `SIGTERM`, `TERM`, `15` or `SIGRTMIN+3`.
    ///
    /// # Errors
    /// There is no such signal.
    pub fn new(text: &str) -> Result<Self, Invalid> {
        let number = number(text).ok_or_else(|| {
            let summary = format!("\"{}\" is not a signal", shown(text));
            Invalid::new(&[], summary, "Use a name such as SIGTERM or SIGRTMIN+3, or a number from 1 to 64")
        })?;
        Ok(Self { text: text.to_owned(), number })
    }

    /// SIGTERM, what an instance is stopped with if nothing else is said.
    #[must_use]
    pub fn term() -> Self {
        Self { text: "SIGTERM".to_owned(), number: 15 }
    }

    /// The signal's number on Linux.
    #[must_use]
    pub fn number(&self) -> u8 {
        self.number
    }

    /// The text, as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The signal's usual name, whatever it was written as.
    #[must_use]
    pub fn name(&self) -> String {
        match self.number {
            n @ RT_MIN..=RT_MAX => format!("SIGRTMIN+{}", n - RT_MIN),
            n => NAMES.get(usize::from(n) - 1).map_or_else(|| n.to_string(), |name| format!("SIG{name}")),
        }
    }
}

fn number(text: &str) -> Option<u8> {
    if let Ok(number) = text.parse::<u8>() {
        // 32 and 33 belong to the C library's threads.
        return (matches!(number, 1..=31 | RT_MIN..=RT_MAX) && !text.starts_with('+')).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return offset(rest, '+').and_then(|n| RT_MIN.checked_add(n)).filter(|n| *n <= RT_MAX);
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        return offset(rest, '-').and_then(|n| RT_MAX.checked_sub(n)).filter(|n| *n >= RT_MIN);
    }
    let index = NAMES.iter().position(|known| *known == name)?;
    u8::try_from(index + 1).ok()
}

fn offset(text: &str, sign: char) -> Option<u8> {
    if text.is_empty() {
        return Some(0);
    }
    let digits = text.strip_prefix(sign)?;
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
}

impl TryFrom<String> for StopSignal {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        Self::new(&text)
    }
}

impl From<StopSignal> for String {
    fn from(signal: StopSignal) -> Self {
        signal.text
    }
}

impl fmt::Display for StopSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_mean_the_same_signal() {
        let cases =
            [("SIGTERM", 15), ("term", 15), ("15", 15), ("SIGKILL", 9), ("SIGSYS", 31), ("SIGRTMIN", 34)];
        for (text, number) in cases.into_iter().chain([("RTMIN+3", 37), ("SIGRTMAX-1", 63), ("64", 64)]) {
            let signal = StopSignal::new(text).unwrap();
            assert_eq!((signal.number(), signal.as_str()), (number, text));
            assert_eq!(StopSignal::new(&signal.name()).unwrap().number(), number);
        }
        for bad in
            ["", "SIG", "0", "-1", "+9", "32", "65", "SIGNOPE", "RTMIN+31", "RTMIN-1", "RTMAX+1", "RTMIN+ 1"]
        {
            assert!(StopSignal::new(bad).is_err(), "{bad}");
        }
    }
}
