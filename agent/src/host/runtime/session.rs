//! A program beside the workload, between the supervisor's descriptors and the engine's channels.

use std::io;
use std::path::Path;
use std::time::Duration;

use berth_engine::ports::runtime::{ExecError, ExecInput, ExecOutput, ExecRequest, ExecSession};
use berth_runtime::client::{self, ExecError as Refused, ExecSession as Program, ExecStdio, Supervisor, Terminal};
use berth_runtime::spec::ProcessSpec;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

use super::files::Files;
use super::launch;

/// Messages that wait to be taken, either way.
const WAITING: usize = 16;

/// Bytes that are read at a time.
const CHUNK: usize = 32 * 1024;

/// How long output may still come once the program has ended.
const LAST_OUTPUT: Duration = Duration::from_millis(500);

const SIGKILL: i32 = 9;

pub(super) async fn start(files: &Files, request: &ExecRequest) -> Result<ExecSession, ExecError> {
    let supervisor = find(&files.run).await?;
    let process = process(files, request)?;
    let user = process.user.clone();
    let started = supervisor.exec(process, request.terminal.is_some()).await;
    let (program, stdio) = started.map_err(|error| match error {
        Refused::Launch(error) => launch::exec_failed(error, &user),
        other => host(other),
    })?;
    let (input, inputs) = mpsc::channel(WAITING);
    let (outputs, output) = mpsc::channel(WAITING);
    match stdio {
        ExecStdio::Pipes { stdin, stdout, stderr } => {
            let stdin = request.stdin.then_some(stdin);
            tokio::spawn(with_pipes(program, stdin, stdout, stderr, inputs, outputs));
        }
        ExecStdio::Terminal(terminal) => {
            if let Some(size) = request.terminal {
                terminal.resize(size.rows, size.columns).map_err(host)?;
            }
            tokio::spawn(with_terminal(program, terminal, inputs, outputs));
        }
    }
    Ok(ExecSession { input, output })
}

fn host(source: impl Into<berth_engine::ports::Cause>) -> ExecError {
    ExecError::Host { operation: "run a program in the instance".to_owned(), source: source.into() }
}

async fn find(run: &Path) -> Result<Supervisor, ExecError> {
    let found = client::adopt(run).await.map_err(host)?;
    found.map(|(supervisor, _)| supervisor).ok_or(ExecError::NotRunning)
}

/// What is not said is the workload's own.
fn process(files: &Files, request: &ExecRequest) -> Result<ProcessSpec, ExecError> {
    let own = files.spec().ok_or(ExecError::NotRunning)?.process;
    let mut environment = own.environment;
    environment.retain(|(name, _)| !request.environment.contains_key(name));
    environment.extend(request.environment.clone());
    Ok(ProcessSpec {
        argv: request.argv.clone(),
        environment,
        working_dir: request.working_dir.clone().unwrap_or(own.working_dir),
        user: request.user.as_ref().map_or(own.user, |user| user.as_str().to_owned()),
        no_new_privileges: own.no_new_privileges,
    })
}

async fn with_pipes(
    mut program: Program,
    stdin: Option<pipe::Sender>,
    stdout: pipe::Receiver,
    stderr: pipe::Receiver,
    mut inputs: mpsc::Receiver<ExecInput>,
    outputs: mpsc::Sender<ExecOutput>,
) {
    // Each stream is a task of its own: a program that writes before it reads must not wait for itself.
    let mut copies = tokio::task::JoinSet::new();
    copies.spawn(copy(stdout, outputs.clone(), ExecOutput::Stdout));
    copies.spawn(copy(stderr, outputs.clone(), ExecOutput::Stderr));
    let mut feed = stdin.map(feed);
    let mut listening = true;
    let code = loop {
        tokio::select! {
            code = program.wait() => break code.ok().flatten(),
            () = outputs.closed() => {
                let _ = program.signal(SIGKILL).await;
                return;
            }
            input = inputs.recv(), if listening => match input {
                Some(ExecInput::Stdin(bytes)) => {
                    // A program that reads no more is told so by its closed input, not by an error here.
                    if let Some(to) = &feed && to.send(bytes).await.is_err() {
                        feed = None;
                    }
                }
                Some(ExecInput::StdinClosed) => feed = None,
                Some(ExecInput::Signal(signal)) => drop(program.signal(signal.number().into()).await),
                Some(ExecInput::Resize(_)) => {}
                None => {
                    feed = None;
                    listening = false;
                }
            },
        }
    };
    // What was written before the end. A child that the program left behind may hold its output open for ever.
    let _ = tokio::time::timeout(LAST_OUTPUT, copies.join_all()).await;
    // Where the supervisor went, so did the program.
    let _ = outputs.send(ExecOutput::Exit(code.unwrap_or(128 + SIGKILL))).await;
}

fn feed(mut stdin: pipe::Sender) -> mpsc::Sender<Vec<u8>> {
    let (to, mut from) = mpsc::channel::<Vec<u8>>(WAITING);
    tokio::spawn(async move {
        while let Some(bytes) = from.recv().await {
            if stdin.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    to
}

async fn copy(mut from: pipe::Receiver, to: mpsc::Sender<ExecOutput>, wrap: fn(Vec<u8>) -> ExecOutput) {
    let mut buffer = vec![0; CHUNK];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if to.send(wrap(buffer.get(..length).unwrap_or_default().to_vec())).await.is_err() {
            return;
        }
    }
}

async fn with_terminal(
    mut program: Program,
    terminal: Terminal,
    mut inputs: mpsc::Receiver<ExecInput>,
    outputs: mpsc::Sender<ExecOutput>,
) {
    let mut buffer = vec![0; CHUNK];
    let mut open = true;
    let mut listening = true;
    let code = loop {
        tokio::select! {
            biased;
            read = terminal.read(&mut buffer), if open => match read {
                Ok(length @ 1..) => {
                    let bytes = buffer.get(..length).unwrap_or_default().to_vec();
                    if outputs.send(ExecOutput::Stdout(bytes)).await.is_err() {
                        let _ = program.signal(SIGKILL).await;
                        return;
                    }
                }
                _ => open = false,
            },
            code = program.wait() => break code.ok().flatten(),
            () = outputs.closed() => {
                let _ = program.signal(SIGKILL).await;
                return;
            }
            input = inputs.recv(), if listening => match input {
                Some(ExecInput::Stdin(bytes)) => drop(write_all(&terminal, &bytes).await),
                Some(ExecInput::StdinClosed) => drop(write_all(&terminal, b"\x04").await),
                Some(ExecInput::Resize(size)) => drop(terminal.resize(size.rows, size.columns)),
                Some(ExecInput::Signal(signal)) => drop(program.signal(signal.number().into()).await),
                None => listening = false,
            },
        }
    };
    let _ = outputs.send(ExecOutput::Exit(code.unwrap_or(128 + SIGKILL))).await;
}

async fn write_all(terminal: &Terminal, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let length = terminal.write(bytes).await?;
        bytes = bytes.get(length..).unwrap_or_default();
    }
    Ok(())
}
