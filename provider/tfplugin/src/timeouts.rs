//! Durations as text, and the `timeouts` attribute.

use std::{fmt::Write as _, future::Future, time::Duration};

use crate::{
    Attribute, Diagnostic, model,
    value::{Attr, Path},
};

model! {
    /// How long the changes of a resource may take.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct Timeouts {
        /// Making it.
        pub create: Attr<String>,
        /// Changing it.
        pub update: Attr<String>,
        /// Removing it.
        pub delete: Attr<String>,
    }
}

model! {
    /// How long the read of a data source may take.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct ReadTimeouts {
        /// Reading it.
        pub read: Attr<String>,
    }
}

model! {
    /// How long an action may take.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct InvokeTimeouts {
        /// Doing it.
        pub invoke: Attr<String>,
    }
}

model! {
    /// How long the opening of an ephemeral resource may take.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct OpenTimeouts {
        /// Opening it.
        pub open: Attr<String>,
    }
}

/// The attribute `timeouts` of a resource, whose model is `Attr<Timeouts>`.
pub fn attribute(default: &str) -> Attribute {
    let one = |what| text(&format!("How long {what} may take, such as `\"10m\"`. Default: `{default}`."));
    Attribute::single(
        "How long changes may take.",
        [("create", one("making it")), ("update", one("changing it")), ("delete", one("removing it"))],
    )
}

/// The attribute `timeouts` of a data source, whose model is `Attr<ReadTimeouts>`.
pub fn read_attribute(default: &str) -> Attribute {
    let docs = format!("How long reading may take, such as `\"30s\"`. Default: `{default}`.");
    Attribute::single("How long the read may take.", [("read", text(&docs))])
}

/// The attribute `timeouts` of an action, whose model is `Attr<InvokeTimeouts>`.
pub fn invoke_attribute(default: &str) -> Attribute {
    let docs = format!("How long it may take, such as `\"10m\"`. Default: `{default}`.");
    Attribute::single("How long the action may take.", [("invoke", text(&docs))])
}

/// The attribute `timeouts` of an ephemeral resource, whose model is `Attr<OpenTimeouts>`.
pub fn open_attribute(default: &str) -> Attribute {
    let docs = format!("How long it may take, such as `\"30s\"`. Default: `{default}`.");
    Attribute::single("How long the opening may take.", [("open", text(&docs))])
}

fn text(docs: &str) -> Attribute {
    Attribute::string(docs).equal_text_if(same).validate_text(|text| match parse(text) {
        Some(_) => Ok(()),
        None => Err(invalid(text)),
    })
}

fn invalid(text: &str) -> Diagnostic {
    Diagnostic::error("Invalid duration").detail(format!(
        "{text:?} is no duration: write numbers with units, such as \"90s\", \"1m30s\" or \"2h\"."
    ))
}

fn same(a: &str, b: &str) -> bool {
    parse(a).is_some_and(|a| parse(b) == Some(a))
}

/// The duration that the attribute says, or the default where it says none.
///
/// # Errors
/// Where it says something that is none.
pub fn duration(
    attribute: &Attr<String>,
    at: impl Into<Path>,
    default: Duration,
) -> Result<Duration, Diagnostic> {
    match attribute.as_str() {
        None => Ok(default),
        Some(text) => parse(text).ok_or_else(|| invalid(text).at(at)),
    }
}

/// Waits for the work, at most so long.
///
/// # Errors
/// An error on the attribute `timeouts` that tells `what` took too long.
pub async fn limit<T>(allowed: Duration, what: &str, work: impl Future<Output = T>) -> Result<T, Diagnostic> {
    tokio::time::timeout(allowed, work).await.map_err(|_| {
        Diagnostic::error(format!("{what} took longer than {}", format(allowed)))
            .detail("What it waits for may still happen. `timeouts` sets how long it may take.")
            .at("timeouts")
    })
}

/// Reads a duration: numbers with units (`ms`, `s`, `m`, `h`, `d`), as `1m30s` or `1.5h`.
pub fn parse(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            _ => return None,
        };
        let part = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        total = total.checked_add(part)?;
        rest = after;
    }
    Some(total)
}

/// Writes a duration as [`parse`] reads it.
pub fn format(duration: Duration) -> String {
    let (seconds, millis) = (duration.as_secs(), duration.subsec_millis());
    let mut text = String::new();
    for (size, unit) in [(3600, "h"), (60, "m"), (1, "s")] {
        let count = if size == 3600 { seconds / 3600 } else { seconds / size % 60 };
        if count > 0 {
            // Writing to text cannot fail.
            let _ = write!(text, "{count}{unit}");
        }
    }
    if millis > 0 {
        let _ = write!(text, "{millis}ms");
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        assert_eq!(parse("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(parse("1.5h"), Some(Duration::from_secs(5400)));
        assert_eq!(parse("250ms"), Some(Duration::from_millis(250)));
        for wrong in ["", "10", "s", "1x", "1m30", "-1s", "1..5s", "99999999999999999999h"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        assert_eq!(format(Duration::from_millis(3_690_250)), "1h1m30s250ms");
        assert_eq!(format(Duration::ZERO), "0s");
    }
}
