//! `berth_instance_logs`: what an instance wrote.

use std::sync::Arc;

use berth_proto::agent as wire;
use tfplugin::timeouts::{self, ReadTimeouts};
use tfplugin::{Attribute, Context, DataSource, Schema};
use wire::log_entry::Stream;

use super::look::{DEFAULT_LIMIT, DEFAULT_TIMEOUT};
use crate::attr::{Attr, List, list, model};
use crate::client::AgentError;
use crate::client::hosts::Patience;
use crate::config::Berth;
use crate::report::{self, Diagnostics, Kind, Path};

/// Lines, where nothing is said.
const DEFAULT_TAIL: u32 = 100;
/// More would only fill the state.
const MAX_TAIL: i64 = 10_000;

model! {
    /// Lines of a log.
    pub struct LogsModel {
        /// A key or an address; null is the default host.
        host: Attr<String>,
        /// The instance's id.
        instance: Attr<String>,
        /// The last so many.
        tail: Attr<i64>,
        /// Not before this.
        since: Attr<String>,
        /// How long the read may take.
        timeouts: Attr<ReadTimeouts>,
        /// The oldest first.
        lines: List<LineModel>,
    }
}

model! {
    /// A line.
    pub struct LineModel {
        /// RFC 3339.
        time: Attr<String>,
        /// `stdout` or `stderr`.
        stream: Attr<String>,
        /// Without its newline.
        text: Attr<String>,
    }
}

/// `berth_instance_logs`.
pub struct InstanceLogs;

impl DataSource for InstanceLogs {
    type Model = LogsModel;
    type Client = Berth;

    const NAME: &'static str = "berth_instance_logs";

    fn schema(&self) -> Schema {
        let lines = Attribute::nested_list(
            "The lines, the oldest first.",
            [
                ("time", Attribute::string("When it was written, as in RFC 3339.").computed()),
                ("stream", Attribute::string("`stdout` or `stderr`.").computed()),
                ("text", Attribute::string("What was written, or a part of a very long line.").computed()),
            ],
        );
        Schema::new("What an instance wrote to standard output and standard error. It is kept in the state.")
            .attribute(
                "host",
                Attribute::string(
                    "The host: a key of the provider's `hosts`, or an address. Default: the provider's `host`.",
                ),
            )
            .attribute("instance", Attribute::string("The instance's `id`.").required())
            .attribute("tail", Attribute::number("The last so many lines, up to 10000. Default: 100."))
            .attribute("since", Attribute::string("None before this moment, as in RFC 3339."))
            .attribute("timeouts", timeouts::read_attribute(DEFAULT_TIMEOUT))
            .attribute("lines", lines.computed())
    }

    async fn read(&self, cx: &mut Context<Berth>, config: LogsModel) -> Result<LogsModel, Diagnostics> {
        let tail = config.tail.known().copied().unwrap_or(DEFAULT_TAIL.into());
        if !(1..=MAX_TAIL).contains(&tail) {
            let detail = "Write a number from 1 to 10000.";
            return Err(report::error(Path::at("tail"), "tail is out of range", detail).into());
        }
        let berth = Arc::clone(cx.client());
        let set = config.timeouts.known().map(|timeouts| &timeouts.read).and_then(Attr::as_str);
        let after = set.and_then(timeouts::parse).unwrap_or(DEFAULT_LIMIT);
        let request = wire::GetLogsRequest {
            instance_id: config.instance.as_str().unwrap_or_default().to_owned(),
            follow: false,
            tail: u32::try_from(tail).unwrap_or(DEFAULT_TAIL),
            since: config.since.as_str().unwrap_or_default().to_owned(),
        };
        let failed = |error: &AgentError| report::from_agent(error, 0, |_| Kind::Plain);
        let read = async {
            let connection = berth.hosts.connect(config.host.as_str(), Patience::OneAttempt).await;
            let connection = connection.map_err(|error| report::from_host(&error))?;
            connection.agent.logs(request).await.map_err(|error| failed(&error))
        };
        let late = |_| failed(&AgentError::TimedOut { call: "Reading the log", after });
        let entries = tokio::time::timeout(after, read).await.map_err(late)??;
        Ok(LogsModel { lines: list(entries.into_iter().map(line)), ..config })
    }
}

fn line(entry: wire::LogEntry) -> LineModel {
    let stream = if entry.stream() == Stream::Stderr { "stderr" } else { "stdout" };
    LineModel {
        time: Attr::Known(entry.time),
        stream: Attr::Known(stream.to_owned()),
        text: Attr::Known(String::from_utf8_lossy(&entry.data).into_owned()),
    }
}
