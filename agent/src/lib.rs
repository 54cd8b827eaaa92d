//! The agent: its API, the engine's ports made from the host crates, and the command line.

use std::io::Write;
use std::process::ExitCode;

pub mod api;
pub mod cli;
pub mod daemon;
pub mod dial;
pub mod host;

/// Wrong usage.
const USAGE: u8 = 2;

/// Prints what clap found, help and version included.
fn usage(error: &clap::Error) -> ExitCode {
    // Nowhere to say that standard error is closed.
    let _closed = error.print();
    if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS }
}

/// Says on standard error what failed, why, and what to do: the chain of reasons once.
fn complain(program: &str, error: &dyn std::error::Error, advice: impl AsRef<str>) {
    let mut text = format!("{program}: {error}");
    let mut source = error.source();
    while let Some(reason) = source {
        text.push_str(&format!("\n  {reason}"));
        source = reason.source();
    }
    if !advice.as_ref().is_empty() {
        text.push_str(&format!("\n  {}", advice.as_ref()));
    }
    // Nowhere to say that standard error is closed.
    let _closed = writeln!(std::io::stderr(), "{text}");
}
