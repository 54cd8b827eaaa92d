//! The agent's instances over gRPC: lists, logs, and commands inside.

use berth_proto::agent as wire;
use wire::exec_request::Message as Out;
use wire::exec_response::Message as In;

use super::Answer;
use super::grpc::GrpcAgent;

/// As much of each output is kept, from its end.
const KEPT: usize = 64 * 1024;

/// A command that was run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ran {
    /// Its exit code.
    pub code: i32,
    /// The end of what it wrote.
    pub stdout: Vec<u8>,
    /// The end of what it wrote.
    pub stderr: Vec<u8>,
    /// When it was asked for, in milliseconds since 1970.
    pub moment: u128,
}

fn keep(kept: &mut Vec<u8>, more: &[u8]) {
    kept.extend_from_slice(more);
    let over = kept.len().saturating_sub(KEPT);
    kept.drain(..over);
}

impl GrpcAgent {
    pub(super) async fn log(&self, request: wire::GetLogsRequest) -> Answer<Vec<wire::LogEntry>> {
        let call = "Reading the log";
        let mut entries = self.answer(call, self.instances().get_logs(request).await)?;
        let mut all = Vec::new();
        while let Some(entry) = entries.message().await.map_err(|status| self.failed(call, status))? {
            all.push(entry);
        }
        Ok(all)
    }

    pub(super) async fn run(&self, start: wire::ExecStart) -> Answer<Ran> {
        let call = "Running the command";
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let mut ran = Ran { moment: since.as_millis(), ..Ran::default() };
        let first = wire::ExecRequest { message: Some(Out::Start(start)) };
        let answer = self.instances().exec(tokio_stream::iter([first])).await;
        let mut answers = self.answer(call, answer)?;
        let mut code = None;
        while let Some(answer) = answers.message().await.map_err(|status| self.failed(call, status))? {
            match answer.message {
                Some(In::Stdout(data)) => keep(&mut ran.stdout, &data),
                Some(In::Stderr(data)) => keep(&mut ran.stderr, &data),
                Some(In::ExitCode(ended)) => code = Some(ended),
                None => {}
            }
        }
        ran.code = code.ok_or_else(|| self.cut(call))?;
        Ok(ran)
    }
}
