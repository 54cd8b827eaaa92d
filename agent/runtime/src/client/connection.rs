//! One connection to a control socket.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use berth_sys::socket::send_with_descriptors;
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::UnixStream;

use super::ClientError;
use crate::control::{Event, MAX_LINE, Request, Response, SOCKET};

#[derive(Debug)]
pub(super) struct Connection {
    path: PathBuf,
    stream: UnixStream,
    input: Vec<u8>,
}

impl Connection {
    pub(super) async fn open(run_dir: &Path) -> Result<Self, ClientError> {
        let path = run_dir.join(SOCKET);
        match connect(run_dir).await {
            Ok(stream) => Ok(Self { path, stream, input: Vec::new() }),
            Err(source) => Err(ClientError::Control { path, source }),
        }
    }

    pub(super) async fn ask(
        &mut self,
        request: &Request,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<Response, ClientError> {
        self.send(request, descriptors).await.map_err(|source| self.failed(source))?;
        match self.next().await? {
            Some(response) => Ok(response),
            None => Err(self.failed(io::ErrorKind::UnexpectedEof.into())),
        }
    }

    async fn send(&mut self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut line = serde_json::to_vec(request).map_err(io::Error::other)?;
        line.push(b'\n');
        let mut rest = line.as_slice();
        let mut descriptors = descriptors;
        while !rest.is_empty() {
            self.stream.writable().await?;
            let sent = self
                .stream
                .try_io(Interest::WRITABLE, || send_with_descriptors(self.stream.as_fd(), rest, descriptors));
            match sent {
                Ok(length) => {
                    rest = rest.get(length..).unwrap_or_default();
                    descriptors = &[];
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends a request whose answer comes among the others.
    pub(super) async fn tell(&mut self, request: &Request) -> Result<(), ClientError> {
        self.send(request, &[]).await.map_err(|source| self.failed(source))
    }

    /// The next line; `None` at the end. Safe to be cancelled: what was read is kept.
    pub(super) async fn next(&mut self) -> Result<Option<Response>, ClientError> {
        loop {
            if let Some(end) = self.input.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.input.drain(..=end).collect();
                let response = serde_json::from_slice(&line);
                return response.map(Some).map_err(|error| self.failed(error.into()));
            }
            if self.input.len() > MAX_LINE {
                return Err(self.failed(io::ErrorKind::InvalidData.into()));
            }
            match self.stream.read_buf(&mut self.input).await {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                // It went while something was still unsent to us: that is its end all the same.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(self.failed(error)),
            }
        }
    }

    pub(super) fn failed(&self, source: io::Error) -> ClientError {
        ClientError::Control { path: self.path.clone(), source }
    }

    pub(super) fn unexpected(&self, response: &Response) -> ClientError {
        match response {
            Response::UpdateFailed(error) => ClientError::Update(error.clone()),
            Response::FileFailed(error) => ClientError::File(error.clone()),
            Response::Refused { reason } => ClientError::Refused { reason: reason.clone() },
            Response::LimitRefused { limit, errno } => ClientError::LimitRefused {
                limit: limit.clone(),
                source: io::Error::from_raw_os_error(*errno),
            },
            _ => self.failed(io::Error::new(io::ErrorKind::InvalidData, "an answer to another question")),
        }
    }
}

/// A socket's address holds 108 bytes; a directory may be deeper, so it is named by a descriptor where it is.
async fn connect(run_dir: &Path) -> io::Result<UnixStream> {
    let path = run_dir.join(SOCKET);
    if path.as_os_str().len() < 108 {
        return UnixStream::connect(path).await;
    }
    let directory = std::fs::File::open(run_dir)?;
    let number = std::os::fd::AsRawFd::as_raw_fd(&directory);
    UnixStream::connect(format!("/proc/self/fd/{number}/{SOCKET}")).await
}

/// What happens to a workload, as it happens.
#[derive(Debug)]
pub struct Events {
    connection: Connection,
}

impl Events {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection }
    }

    /// The next event; `None` when the supervisor has gone, after [`Event::Gone`] or, if it was killed, without it.
    /// Safe to be cancelled.
    ///
    /// # Errors
    /// Where the connection breaks in another way.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        match self.connection.next().await? {
            Some(Response::Event(event)) => Ok(Some(event)),
            Some(other) => Err(self.connection.unexpected(&other)),
            None => Ok(None),
        }
    }
}
