//! `berth instance exec`

use std::io::{self, IsTerminal, Write};
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

use berth_proto::agent as wire;
use berth_proto::agent::exec_request::Message as Out;
use berth_proto::agent::exec_response::Message as In;
use bytes::Bytes;
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::args::Exec;
use super::error::CliError;
use super::instance::{Client, find};
use super::terminal::{self, Raw};

const CHUNK: usize = 32 * 1024;

pub(super) async fn run(client: &mut Client, exec: Exec) -> Result<ExitCode, CliError> {
    if exec.terminal && exec.interactive && !io::stdin().is_terminal() {
        return Err(CliError::Usage("-t needs a terminal on standard input".to_owned()));
    }
    let instance = find(client, &exec.name).await?;
    let (sender, receiver) = mpsc::channel(16);
    let start = wire::ExecStart {
        instance_id: instance.id,
        argv: exec.command.into_iter().map(|text| text.into_vec().into()).collect(),
        environment: exec.terminal.then(term).flatten().into_iter().collect(),
        terminal: exec.terminal,
        size: exec.terminal.then(terminal::size),
        stdin: exec.interactive,
        ..wire::ExecStart::default()
    };
    send(&sender, Out::Start(start)).await;
    let mut answers = client.exec(ReceiverStream::new(receiver)).await?.into_inner();
    let raw = if exec.terminal && exec.interactive { Some(Raw::enter()?) } else { None };
    if exec.interactive {
        tokio::spawn(forward_input(sender.clone()));
    }
    forward_signals(&sender, exec.terminal)?;
    let mut code = None;
    while let Some(answer) = answers.message().await? {
        match answer.message {
            Some(In::Stdout(data)) => write(&mut io::stdout().lock(), &data)?,
            Some(In::Stderr(data)) => write(&mut io::stderr().lock(), &data)?,
            Some(In::ExitCode(ended)) => code = Some(ended),
            None => {}
        }
    }
    drop(raw);
    let code = code.ok_or(CliError::CutOff)?;
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}

fn term() -> Option<(String, Bytes)> {
    std::env::var_os("TERM").map(|value| ("TERM".to_owned(), value.into_vec().into()))
}

/// That nobody takes it any more is told by the end of the answers.
async fn send(sender: &mpsc::Sender<wire::ExecRequest>, message: Out) -> bool {
    sender.send(wire::ExecRequest { message: Some(message) }).await.is_ok()
}

async fn forward_input(sender: mpsc::Sender<wire::ExecRequest>) {
    let mut stdin = tokio::io::stdin();
    let mut buffer = vec![0; CHUNK];
    loop {
        match stdin.read(&mut buffer).await {
            // An input that cannot be read any more has ended.
            Ok(0) | Err(_) => {
                send(&sender, Out::StdinClosed(true)).await;
                return;
            }
            Ok(read) => {
                let data = buffer.get(..read).unwrap_or_default().to_vec();
                if !send(&sender, Out::Stdin(data.into())).await {
                    return;
                }
            }
        }
    }
}

/// On a terminal its size is passed on, elsewhere what is asked of this process.
fn forward_signals(sender: &mpsc::Sender<wire::ExecRequest>, terminal: bool) -> Result<(), CliError> {
    let kinds = if terminal {
        vec![(SignalKind::window_change(), None)]
    } else {
        vec![(SignalKind::interrupt(), Some("SIGINT")), (SignalKind::terminate(), Some("SIGTERM"))]
    };
    for (kind, name) in kinds {
        let mut signals = signal(kind).map_err(CliError::Terminal)?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                let message = match name {
                    Some(name) => Out::Signal(name.to_owned()),
                    None => Out::Resize(terminal::size()),
                };
                if !send(&sender, message).await {
                    return;
                }
            }
        });
    }
    Ok(())
}

fn write(out: &mut dyn Write, data: &[u8]) -> Result<(), CliError> {
    out.write_all(data)?;
    out.flush()?;
    Ok(())
}
