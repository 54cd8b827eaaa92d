//! Processes beside a workload: their streams go through channels.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use berth_engine::ports::Cause;
use berth_engine::ports::runtime::{
    ExecError, ExecInput, ExecOutput, ExecRequest, ExecSession, TerminalSize,
};
use berth_runtime::client::{self, ExecStdio, Supervisor, Terminal};
use berth_runtime::launch::{LaunchError, Stage};
use berth_runtime::spec::ProcessSpec;
use berth_runtime::text::Text;
use nix::errno::Errno;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

const CHUNK: usize = 32 * 1024;
const WAITING: usize = 16;
/// A process that ended may have left another that holds its output open: nobody waits for that one.
const LAST_WORDS: Duration = Duration::from_secs(1);
const KILL: i32 = 9;

/// Runs a process with the workload's settings where the request has none of its own.
pub(super) async fn run(
    supervisor: &Supervisor,
    workload: &ProcessSpec,
    request: &ExecRequest,
) -> Result<ExecSession, ExecError> {
    let mut environment = workload.environment.clone();
    environment.retain(|(name, _)| !request.environment.contains_key(name));
    environment.extend(request.environment.clone().into_iter().map(|(name, value)| (name, value.into())));
    let process = ProcessSpec {
        argv: request.argv.iter().cloned().map(Text::from).collect(),
        environment,
        working_dir: request.working_dir.clone().unwrap_or_else(|| workload.working_dir.clone()),
        user: request.user.as_ref().map_or_else(|| workload.user.clone(), ToString::to_string),
        ..workload.clone()
    };
    let started = supervisor.exec(process.clone(), request.terminal.is_some()).await;
    let (mut session, stdio) = started.map_err(|error| failed(&process, error))?;
    let (input, from_caller) = mpsc::channel(WAITING);
    let (to_caller, output) = mpsc::channel(WAITING);
    let streams = Streams::new(stdio, request, &to_caller);
    if let (Some(terminal), Some(size)) = (&streams.terminal, request.terminal) {
        resize(terminal, &mut session, size).await;
    }
    tokio::spawn(carry(session, streams, from_caller, to_caller));
    Ok(ExecSession { input, output })
}

/// The process's ends of its streams.
struct Streams {
    /// What is written goes to its input; `None`: closed.
    stdin: Option<mpsc::Sender<Vec<u8>>>,
    terminal: Option<Arc<Terminal>>,
    readers: Vec<JoinHandle<()>>,
}

impl Streams {
    fn new(stdio: ExecStdio, request: &ExecRequest, to_caller: &mpsc::Sender<ExecOutput>) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        let stdin = request.stdin.then_some(sender);
        match stdio {
            ExecStdio::Pipes { stdin: pipe, stdout, stderr } => {
                tokio::spawn(write_pipe(pipe, receiver));
                let out = tokio::spawn(read(stdout, ExecOutput::Stdout, to_caller.clone()));
                let err = tokio::spawn(read(stderr, ExecOutput::Stderr, to_caller.clone()));
                Self { stdin, terminal: None, readers: vec![out, err] }
            }
            ExecStdio::Terminal(terminal) => {
                let terminal = Arc::new(terminal);
                tokio::spawn(write_terminal(Arc::clone(&terminal), receiver));
                let out = tokio::spawn(read_terminal(Arc::clone(&terminal), to_caller.clone()));
                Self { stdin, terminal: Some(terminal), readers: vec![out] }
            }
        }
    }
}

/// Carries what the caller sends until the process ends; a caller that goes away ends it.
async fn carry(
    mut session: client::ExecSession,
    mut streams: Streams,
    mut from_caller: mpsc::Receiver<ExecInput>,
    to_caller: mpsc::Sender<ExecOutput>,
) {
    let mut present = true;
    // Input that the process has not taken yet; until it has, the caller waits with more.
    let mut waiting: Option<Vec<u8>> = None;
    let code = loop {
        let input = tokio::select! {
            ended = session.wait() => break ended,
            () = to_caller.closed(), if present => None,
            () = pass(&streams, &mut waiting), if waiting.is_some() => continue,
            input = from_caller.recv(), if present && waiting.is_none() => input,
        };
        let signalled = match input {
            Some(ExecInput::Stdin(data)) => {
                waiting = Some(data);
                Ok(())
            }
            Some(ExecInput::StdinClosed) => {
                streams.stdin = None;
                Ok(())
            }
            Some(ExecInput::Resize(size)) => {
                if let Some(terminal) = &streams.terminal {
                    resize(terminal, &mut session, size).await;
                }
                Ok(())
            }
            Some(ExecInput::Signal(signal)) => session.signal(signal.number().into()).await,
            None => {
                present = false;
                session.signal(KILL).await
            }
        };
        if let Err(error) = signalled {
            tracing::debug!(%error, "a process could not be signalled");
        }
    };
    let last_words = futures::future::join_all(streams.readers);
    if tokio::time::timeout(LAST_WORDS, last_words).await.is_err() {
        tracing::debug!("a process has left its output open");
    }
    if let Ok(Some(code)) = code {
        // Nobody waits for it any more: nobody to tell.
        let _gone = to_caller.send(ExecOutput::Exit(code)).await;
    }
}

/// Passes input on when there is room. An input that was closed takes no more.
async fn pass(streams: &Streams, waiting: &mut Option<Vec<u8>>) {
    let permit = match &streams.stdin {
        Some(stdin) => stdin.reserve().await.ok(),
        None => None,
    };
    if let (Some(data), Some(permit)) = (waiting.take(), permit) {
        permit.send(data);
    }
}

async fn resize(terminal: &Terminal, session: &mut client::ExecSession, size: TerminalSize) {
    let TerminalSize { rows, columns } = size;
    let resized: Result<(), Cause> = match terminal.resize(rows, columns) {
        // Its terminal is a machine's own.
        Err(error) if error.raw_os_error() == Some(Errno::ENOTTY as i32) => {
            session.resize(rows, columns).await.map_err(Into::into)
        }
        resized => resized.map_err(Into::into),
    };
    if let Err(error) = resized {
        tracing::debug!(error = &*error as &dyn std::error::Error, "a terminal keeps its size");
    }
}

async fn read(
    mut stream: impl AsyncRead + Unpin,
    wrap: fn(Vec<u8>) -> ExecOutput,
    to_caller: mpsc::Sender<ExecOutput>,
) {
    let mut buffer = vec![0; CHUNK];
    // An output that cannot be read any more has ended.
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        let data = buffer.get(..length).unwrap_or_default().to_vec();
        if to_caller.send(wrap(data)).await.is_err() {
            return;
        }
    }
}

async fn read_terminal(terminal: Arc<Terminal>, to_caller: mpsc::Sender<ExecOutput>) {
    let mut buffer = vec![0; CHUNK];
    while let Ok(length @ 1..) = terminal.read(&mut buffer).await {
        let data = buffer.get(..length).unwrap_or_default().to_vec();
        if to_caller.send(ExecOutput::Stdout(data)).await.is_err() {
            return;
        }
    }
}

async fn write_pipe(mut pipe: pipe::Sender, mut data: mpsc::Receiver<Vec<u8>>) {
    while let Some(data) = data.recv().await {
        // A process that reads no more is no error of its caller.
        if pipe.write_all(&data).await.is_err() {
            return;
        }
    }
}

async fn write_terminal(terminal: Arc<Terminal>, mut data: mpsc::Receiver<Vec<u8>>) {
    while let Some(data) = data.recv().await {
        let mut rest = data.as_slice();
        while !rest.is_empty() {
            match terminal.write(rest).await {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(_gone) => return,
            }
        }
    }
}

fn failed(process: &ProcessSpec, error: client::ExecError) -> ExecError {
    let operation = "run a process in the instance".to_owned();
    let client::ExecError::Launch(error) = error else {
        return ExecError::Host { operation, source: error.into() };
    };
    let LaunchError { stage, errno, .. } = &error;
    let program = process.argv.first().map(Text::shown).unwrap_or_default();
    let source = io::Error::from_raw_os_error(*errno).into();
    match stage {
        Stage::User | Stage::Group => ExecError::UserNotFound { user: process.user.clone() },
        Stage::WorkingDir => ExecError::WorkingDir { path: process.working_dir.clone(), source },
        Stage::Exec if *errno == Errno::ENOENT as i32 => ExecError::ProgramNotFound { program },
        Stage::Exec => ExecError::NotExecutable { program, source },
        _ => ExecError::Host { operation, source: error.into() },
    }
}
