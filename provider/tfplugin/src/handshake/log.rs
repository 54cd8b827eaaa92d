//! The log on standard error, in the form of hclog's JSON lines, which Terraform shows as it shows its own.

use std::{env, fmt, io::Write as _};

use serde_json::{Map, Value};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{
    Layer,
    fmt::{
        format::Writer,
        time::{FormatTime as _, SystemTime},
    },
    layer::{Context, SubscriberExt as _},
    util::SubscriberInitExt as _,
};

/// Sends this process's log to Terraform from here on.
pub(super) fn install() {
    let layer = Hclog.with_filter(level(|name| env::var(name).ok()));
    // It fails only where a log has been installed already, as in a test: then that one is used.
    let _ = tracing_subscriber::registry().with(layer).try_init();
}

/// `TF_LOG_PROVIDER`, else `TF_LOG`; nothing is logged unless it is asked for.
fn level(variable: impl Fn(&str) -> Option<String>) -> LevelFilter {
    let asked = variable("TF_LOG_PROVIDER").or_else(|| variable("TF_LOG")).unwrap_or_default();
    match asked.to_ascii_uppercase().as_str() {
        "" | "OFF" => LevelFilter::OFF,
        "ERROR" => LevelFilter::ERROR,
        "WARN" => LevelFilter::WARN,
        "INFO" => LevelFilter::INFO,
        "DEBUG" => LevelFilter::DEBUG,
        // Terraform takes any other word, JSON among them, for TRACE.
        _ => LevelFilter::TRACE,
    }
}

struct Hclog;

impl<S: Subscriber> Layer<S> for Hclog {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line(Map::new());
        let metadata = event.metadata();
        let mut time = String::new();
        // Writing to a string does not fail.
        let _ = SystemTime.format_time(&mut Writer::new(&mut time));
        line.0.insert("@level".into(), word(*metadata.level()).into());
        line.0.insert("@module".into(), metadata.target().into());
        line.0.insert("@timestamp".into(), time.into());
        event.record(&mut line);
        let mut text = Value::Object(line.0).to_string();
        text.push('\n');
        // Nobody reads it any more: then nobody misses it.
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }
}

fn word(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

struct Line(Map<String, Value>);

impl Line {
    fn put(&mut self, field: &Field, value: Value) {
        let name = if field.name() == "message" { "@message" } else { field.name() };
        self.0.insert(name.to_owned(), value);
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_providers_own_level_comes_first() {
        let asked = |own: Option<&str>, all: Option<&str>| {
            level(|name| if name == "TF_LOG" { all } else { own }.map(str::to_owned))
        };
        assert_eq!(asked(None, None), LevelFilter::OFF);
        assert_eq!(asked(Some("warn"), Some("TRACE")), LevelFilter::WARN);
        assert_eq!(asked(None, Some("JSON")), LevelFilter::TRACE);
    }
}
