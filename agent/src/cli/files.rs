//! `berth instance push` and `berth instance pull`.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use berth_proto::agent as wire;
use berth_proto::agent::{pull_file_response, push_file_request};
use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::args::{Pull, Push};
use super::error::CliError;
use super::instance::{Client, find};
use super::saved::Saved;

const PIECE: usize = 256 * 1024;
/// Pieces that wait for the agent.
const WAITING: usize = 8;
/// Of what comes from standard input.
const MODE: u32 = 0o644;

pub(super) async fn push(client: &mut Client, push: Push) -> Result<(), CliError> {
    let shown = push.source.display().to_string();
    let unreadable = |source| CliError::Unreadable(shown.clone(), source);
    let (instance, path) = place(&push.target)?;
    let (reader, own_mode): (Box<dyn Read + Send>, _) = if push.source == Path::new("-") {
        (Box::new(io::stdin()), MODE)
    } else {
        let file = File::open(&push.source).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(unreadable(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")));
        }
        let mode = metadata.permissions().mode() & 0o777;
        (Box::new(file), mode)
    };
    let header = wire::PushFileHeader {
        instance_id: find(client, instance).await?.id,
        path: named(path, &push.source)?,
        uid: push.uid,
        gid: push.gid,
        mode: push.mode.unwrap_or(own_mode),
    };
    let (sender, receiver) = mpsc::channel(WAITING);
    let first = wire::PushFileRequest { part: Some(push_file_request::Part::Header(header)) };
    // There is room: it is the first.
    let _first = sender.try_send(first);
    let mut sending = tokio::task::spawn_blocking(move || send(reader, &sender));
    let answer = client.push_file(ReceiverStream::new(receiver));
    tokio::pin!(answer);
    // A file that cannot be read ends the stream, and the agent would take what came for all of it.
    tokio::select! {
        sent = &mut sending => {
            sent.map_err(io::Error::other).and_then(|sent| sent).map_err(unreadable)?;
            answer.await?;
        }
        answered = &mut answer => drop(answered?),
    }
    Ok(())
}

/// That nobody takes it any more is no failure here: the agent says why.
fn send(mut reader: impl Read, sender: &mpsc::Sender<wire::PushFileRequest>) -> io::Result<()> {
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        if reader.by_ref().take(PIECE as u64).read_to_end(&mut piece)? == 0 {
            return Ok(());
        }
        let part = push_file_request::Part::Data(Bytes::from(piece));
        if sender.blocking_send(wire::PushFileRequest { part: Some(part) }).is_err() {
            return Ok(());
        }
    }
}

pub(super) async fn pull(client: &mut Client, pull: Pull) -> Result<(), CliError> {
    use pull_file_response::Part;

    let (instance, path) = place(&pull.source)?;
    let request =
        wire::PullFileRequest { instance_id: find(client, instance).await?.id, path: path.to_owned() };
    let mut pieces = client.pull_file(request).await?.into_inner();
    let Some(Part::Header(header)) = pieces.message().await?.and_then(|answer| answer.part) else {
        return Err(CliError::CutOff);
    };
    if pull.target == Path::new("-") {
        let mut stdout = tokio::io::stdout();
        while let Some(data) = next(&mut pieces).await? {
            stdout.write_all(&data).await?;
        }
        return Ok(stdout.flush().await?);
    }
    let target = match pull.target.is_dir() {
        true => pull.target.join(Path::new(path).file_name().unwrap_or_default()),
        false => pull.target,
    };
    // Nobody else's before it is known whose it may be.
    let mut saved = Saved::begin(&target, 0o600).await?;
    while let Some(data) = next(&mut pieces).await? {
        saved.write(&data).await?;
    }
    // Nobody's set-id program comes out of an instance.
    saved.finish(Some(header.mode & 0o777)).await
}

async fn next(pieces: &mut Streaming<wire::PullFileResponse>) -> Result<Option<Bytes>, CliError> {
    while let Some(answer) = pieces.message().await? {
        if let Some(pull_file_response::Part::Data(data)) = answer.part {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// `NAME:PATH`.
fn place(text: &str) -> Result<(&str, &str), CliError> {
    text.split_once(':')
        .filter(|(name, path)| !name.is_empty() && path.starts_with('/'))
        .ok_or_else(|| CliError::Usage(format!("\"{text}\" is not NAME:PATH with a path that begins with /")))
}

/// In a directory, which is one by its last slash, the file has the name that it has here.
fn named(path: &str, source: &Path) -> Result<String, CliError> {
    let Some(directory) = path.strip_suffix('/') else { return Ok(path.to_owned()) };
    match source.file_name().and_then(|name| name.to_str()).filter(|name| *name != "-") {
        Some(name) => Ok(format!("{directory}/{name}")),
        None => Err(CliError::Usage(format!("\"{path}\" needs the file's name"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_an_instance_and_an_absolute_path() {
        assert_eq!(place("web:/etc/app.conf").unwrap(), ("web", "/etc/app.conf"));
        assert_eq!(place("web:/a:b").unwrap(), ("web", "/a:b"));
        for wrong in ["web", "web:", ":/etc", "web:etc", "/etc/app.conf"] {
            assert!(matches!(place(wrong), Err(CliError::Usage(_))), "{wrong}");
        }
    }

    #[test]
    fn in_a_directory_it_has_its_own_name() {
        assert_eq!(named("/etc/", Path::new("here/app.conf")).unwrap(), "/etc/app.conf");
        assert_eq!(named("/etc/x", Path::new("app.conf")).unwrap(), "/etc/x");
        assert!(named("/etc/", Path::new("-")).is_err());
    }
}
