//! Logs of instances.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use berth_domain::{InstanceId, Invalid};
use berth_engine::EngineError;
use berth_engine::ports::runtime::{LogLine, LogRequest, LogStream};
use berth_proto::agent as wire;
use futures::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::Api;
use super::convert::id;
use super::status;
use super::stream::Answers;

pub(super) async fn get(api: &Api, request: wire::GetLogsRequest) -> Result<Answers<wire::LogEntry>, Status> {
    let instance: InstanceId = id(&request.instance_id)?;
    let since = since(&request.since)?;
    let tail = (request.tail != 0).then_some(request.tail);
    let lines = api.engine.logs(instance, &LogRequest { follow: request.follow, tail, since }).await;
    let lines = lines.map_err(|error| status::failed(&error))?;
    let name = request.instance_id;
    let entries = ReceiverStream::new(lines).map(move |line| {
        line.map(show).map_err(|source| {
            status::failed(&EngineError::Runtime { name: name.clone(), operation: "read its log", source })
        })
    });
    Ok(Box::pin(entries.take_until(api.closing.clone().cancelled_owned())))
}

fn since(text: &str) -> Result<Option<SystemTime>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    let time = text.parse::<jiff::Timestamp>().map_err(|_| {
        let summary = format!("\"{}\" is not a moment", berth_domain::name::shown(text));
        let advice = "Write it as in RFC 3339, such as 2026-01-31T12:00:00Z";
        status::invalid(Invalid::new(&["since"], summary, advice))
    })?;
    // Before 1970 means from the first line on.
    let since_1970 = Duration::try_from(time.as_duration()).unwrap_or_default();
    Ok(Some(UNIX_EPOCH + since_1970))
}

pub(super) fn show(line: LogLine) -> wire::LogEntry {
    let stream = match line.stream {
        LogStream::Stdout => wire::log_entry::Stream::Stdout,
        LogStream::Stderr => wire::log_entry::Stream::Stderr,
    };
    wire::LogEntry { time: line.time, stream: stream.into(), data: line.data.into(), partial: line.partial }
}
