//! Processes inside instances, with their input and output.

use std::time::Duration;

use berth_domain::{InstanceId, StopSignal, UserSpec};
use berth_engine::ports::runtime::{ExecInput, ExecOutput, ExecRequest, ExecSession, TerminalSize};
use berth_proto::agent as wire;
use berth_proto::agent::exec_request::Message as In;
use berth_proto::agent::exec_response::Message as Out;
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Status, Streaming};

use super::Api;
use super::convert::id;
use super::instances::incomplete;
use super::status;
use super::stream::Answers;

/// How long a caller may take to say what it wants to run.
const FIRST_MESSAGE: Duration = Duration::from_secs(30);

pub(super) async fn exec(
    api: &Api,
    mut requests: Streaming<wire::ExecRequest>,
) -> Result<Answers<wire::ExecResponse>, Status> {
    let first = tokio::time::timeout(FIRST_MESSAGE, requests.message()).await;
    let first = first.map_err(|_elapsed| Status::deadline_exceeded("Nothing was asked for"))??;
    let Some(In::Start(start)) = first.and_then(|first| first.message) else {
        return Err(incomplete("start"));
    };
    let instance: InstanceId = id(&start.instance_id)?;
    let request = request(start)?;
    let session = api.engine.exec(instance, &request).await.map_err(|error| status::failed(&error))?;
    let ExecSession { input, output } = session;
    // The process lives no longer than its caller: the answers own the task that feeds it.
    let feeding = AbortOnDropHandle::new(tokio::spawn(feed(requests, input)));
    let answers = ReceiverStream::new(output).map(move |output| {
        let _feeding = &feeding;
        Ok(wire::ExecResponse { message: Some(show(output)) })
    });
    Ok(Box::pin(answers))
}

fn request(start: wire::ExecStart) -> Result<ExecRequest, Status> {
    let user = start.user.as_deref().map(UserSpec::new).transpose();
    Ok(ExecRequest {
        argv: start.argv.into_iter().map(Vec::from).collect(),
        environment: start.environment.into_iter().map(|(name, value)| (name, value.into())).collect(),
        user: user.map_err(|invalid| status::invalid(invalid.under(&["user"])))?,
        working_dir: start.working_dir,
        terminal: start.terminal.then(|| size(start.size.unwrap_or_default())),
        stdin: start.stdin,
    })
}

fn size(size: wire::TerminalSize) -> TerminalSize {
    let cells = |count: u32| u16::try_from(count).unwrap_or(u16::MAX);
    match (cells(size.rows), cells(size.columns)) {
        (0, _) | (_, 0) => TerminalSize { rows: 24, columns: 80 },
        (rows, columns) => TerminalSize { rows, columns },
    }
}

/// Passes on what the caller sends, until it or the process ends.
async fn feed(mut requests: Streaming<wire::ExecRequest>, input: mpsc::Sender<ExecInput>) {
    loop {
        let message = match requests.message().await {
            Ok(Some(request)) => request.message,
            // The caller sends no more, or is gone; if it is gone the answers are dropped too.
            Ok(None) | Err(_) => {
                // Held open: closing it ends the process.
                input.closed().await;
                return;
            }
        };
        let forwarded = match message {
            Some(In::Stdin(data)) => ExecInput::Stdin(data.to_vec()),
            Some(In::StdinClosed(_)) => ExecInput::StdinClosed,
            Some(In::Resize(new)) => ExecInput::Resize(size(new)),
            Some(In::Signal(name)) => match StopSignal::new(&name) {
                Ok(signal) => ExecInput::Signal(signal),
                Err(_) => continue,
            },
            Some(In::Start(_)) | None => continue,
        };
        if input.send(forwarded).await.is_err() {
            return;
        }
    }
}

fn show(output: ExecOutput) -> Out {
    match output {
        ExecOutput::Stdout(data) => Out::Stdout(data.into()),
        ExecOutput::Stderr(data) => Out::Stderr(data.into()),
        ExecOutput::Exit(code) => Out::ExitCode(code),
    }
}
