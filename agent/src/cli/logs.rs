//! `berth instance logs`

use std::io::{self, Write};

use berth_proto::agent as wire;
use berth_proto::agent::log_entry::Stream;
use serde_json::json;

use super::args::{Format, Logs};
use super::error::CliError;
use super::instance::{Client, find};
use super::{Cli, output};

/// Prints the log; what went to standard error goes there.
pub(super) async fn run(cli: &Cli, client: &mut Client, logs: Logs) -> Result<(), CliError> {
    let since = logs.since.as_deref().map(since).transpose()?.unwrap_or_default();
    if logs.tail == Some(0) && !logs.follow {
        return Ok(());
    }
    let request = wire::GetLogsRequest {
        instance_id: find(client, &logs.name).await?.id,
        follow: logs.follow,
        tail: logs.tail.unwrap_or(0),
        since,
    };
    let mut entries = client.get_logs(request).await?.into_inner();
    while let Some(entry) = entries.message().await? {
        match cli.format {
            Format::Json => output::json_line(&json!({
                "time": entry.time,
                "stream": if entry.stream() == Stream::Stderr { "stderr" } else { "stdout" },
                "data": String::from_utf8_lossy(&entry.data),
                "partial": entry.partial,
            }))?,
            Format::Table => print(&entry)?,
        }
    }
    Ok(())
}

fn print(entry: &wire::LogEntry) -> Result<(), CliError> {
    let end: &[u8] = if entry.partial { b"" } else { b"\n" };
    match entry.stream() {
        Stream::Stderr => write(&mut io::stderr().lock(), &entry.data, end),
        Stream::Stdout | Stream::Unspecified => write(&mut io::stdout().lock(), &entry.data, end),
    }
}

fn write(out: &mut dyn Write, data: &[u8], end: &[u8]) -> Result<(), CliError> {
    out.write_all(data)?;
    out.write_all(end)?;
    out.flush()?;
    Ok(())
}

/// A moment, or an age before now.
fn since(text: &str) -> Result<String, CliError> {
    if let Ok(moment) = text.parse::<jiff::Timestamp>() {
        return Ok(moment.to_string());
    }
    let bad = || {
        let what = "--since takes a moment such as 2026-01-31T12:00:00Z or an age such as 1h30m";
        CliError::Usage(format!("{what}, not \"{text}\""))
    };
    let age = text.parse::<jiff::SignedDuration>().map_err(|_| bad())?;
    let moment = jiff::Timestamp::now().checked_sub(age).map_err(|_| bad())?;
    Ok(moment.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_before_now() {
        let ago = since("1h30m").unwrap().parse::<jiff::Timestamp>().unwrap();
        let passed = jiff::Timestamp::now().duration_since(ago);
        assert!((5400..5410).contains(&passed.as_secs()), "{passed}");
        assert_eq!(since("2026-01-31T12:00:00+01:00").unwrap(), "2026-01-31T11:00:00Z");
        assert!(since("yesterday").unwrap_err().is_usage());
    }
}
