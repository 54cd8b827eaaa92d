//! The agent's own log, on standard error: the service manager keeps it.

use std::io;

use tracing_subscriber::EnvFilter;

use super::config::LogFormat;

/// Begins to log, at the level of `BERTH_LOG` or `RUST_LOG`.
pub(super) fn start(format: LogFormat) {
    let wanted = std::env::var("BERTH_LOG").or_else(|_| std::env::var("RUST_LOG"));
    let filter = wanted.ok().and_then(|text| EnvFilter::try_new(text).ok());
    let filter = filter.unwrap_or_else(|| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(false);
    let started = match format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().try_init(),
    };
    if let Err(error) = started {
        // Somebody else in this process logs already.
        tracing::debug!(error, "the log was started before");
    }
}
