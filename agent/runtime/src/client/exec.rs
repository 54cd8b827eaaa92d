//! A program beside the workload.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;

use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;

use super::connection::Connection;
use super::{ClientError, Supervisor};
use crate::control::{Request, Response};
use crate::launch::LaunchError;
use crate::spec::ProcessSpec;

/// Why a program could not be run.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// It could not be started.
    #[error("cannot run the program")]
    Launch(#[source] LaunchError),
    /// The supervisor could not be asked.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A pipe or terminal could not be made.
    #[error("cannot make the program's standard streams")]
    Streams(#[source] io::Error),
}

/// The caller's ends of a program's standard streams.
#[derive(Debug)]
pub enum ExecStdio {
    /// Three pipes.
    Pipes {
        /// To write to; drop it to end the program's input.
        stdin: pipe::Sender,
        /// To read from.
        stdout: pipe::Receiver,
        /// To read from.
        stderr: pipe::Receiver,
    },
    /// One terminal.
    Terminal(Terminal),
}

/// The master of a program's terminal.
#[derive(Debug)]
pub struct Terminal {
    master: AsyncFd<OwnedFd>,
}

/// A program that runs, and its streams.
#[derive(Debug)]
pub struct ExecSession {
    connection: Connection,
    /// On the host.
    pub pid: i32,
}

impl Supervisor {
    /// Runs a program inside, in all of the container's namespaces, with the workload's privileges.
    ///
    /// # Errors
    /// [`ExecError::Launch`] says where the start failed.
    pub async fn exec(
        &self,
        process: ProcessSpec,
        terminal: bool,
    ) -> Result<(ExecSession, ExecStdio), ExecError> {
        let mut connection = Connection::open(&self.run_dir).await?;
        let request = Request::Exec { process, terminal };
        if terminal {
            let (ours, theirs) = StdStream::pair().map_err(ExecError::Streams)?;
            let session = start(&mut connection, &request, &[theirs.as_fd()]).await?;
            let terminal = Terminal::receive(&ours).map_err(ExecError::Streams)?;
            return Ok((ExecSession { connection, pid: session }, ExecStdio::Terminal(terminal)));
        }
        let pipes = || -> io::Result<_> { Ok((io::pipe()?, io::pipe()?, io::pipe()?)) };
        let ((stdin, stdin_ours), (stdout_ours, stdout), (stderr_ours, stderr)) =
            pipes().map_err(ExecError::Streams)?;
        let pid = start(&mut connection, &request, &[stdin.as_fd(), stdout.as_fd(), stderr.as_fd()]).await?;
        let wrap = || -> io::Result<ExecStdio> {
            Ok(ExecStdio::Pipes {
                stdin: pipe::Sender::from_owned_fd(stdin_ours.into())?,
                stdout: pipe::Receiver::from_owned_fd(stdout_ours.into())?,
                stderr: pipe::Receiver::from_owned_fd(stderr_ours.into())?,
            })
        };
        Ok((ExecSession { connection, pid }, wrap().map_err(ExecError::Streams)?))
    }
}

async fn start(
    connection: &mut Connection,
    request: &Request,
    descriptors: &[std::os::fd::BorrowedFd<'_>],
) -> Result<i32, ExecError> {
    match connection.ask(request, descriptors).await? {
        Response::ExecStarted { pid } => Ok(pid),
        Response::ExecFailed(error) => Err(ExecError::Launch(error)),
        other => Err(connection.unexpected(&other).into()),
    }
}

impl ExecSession {
    /// Waits for the program's end: its exit code, 128 + n where signal n ended it; `None` where the supervisor went before.
    /// Safe to be cancelled.
    ///
    /// # Errors
    /// Where the connection breaks.
    pub async fn wait(&mut self) -> Result<Option<i32>, ClientError> {
        loop {
            match self.connection.next().await? {
                Some(Response::ExecExited { code }) => return Ok(Some(code)),
                // The answer to a signal: it may have come too late for a program that ended by itself.
                Some(Response::Done | Response::Refused { .. }) => {}
                Some(other) => return Err(self.connection.unexpected(&other)),
                None => return Ok(None),
            }
        }
    }

    /// Signals the program.
    ///
    /// # Errors
    /// Where the connection breaks.
    pub async fn signal(&mut self, signal: i32) -> Result<(), ClientError> {
        self.connection.tell(&Request::Signal { signal }).await
    }

    /// Tells the program how large its terminal is, where that is not of this host: see [`Terminal::resize`].
    ///
    /// # Errors
    /// Where the connection breaks.
    pub async fn resize(&mut self, rows: u16, columns: u16) -> Result<(), ClientError> {
        self.connection.tell(&Request::Resize { rows, columns }).await
    }
}

impl Terminal {
    fn receive(from: &StdStream) -> io::Result<Self> {
        let mut byte = [0];
        let (_, descriptors) = berth_sys::socket::receive_with_descriptors(from.as_fd(), &mut byte)?;
        let master = descriptors.into_iter().next().ok_or(io::ErrorKind::UnexpectedEof)?;
        nix::fcntl::fcntl(&master, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK))?;
        // Deprecated for types that may close their descriptor under it; an `OwnedFd` does not.
        #[allow(deprecated)]
        let master = AsyncFd::new(master)?;
        Ok(Self { master })
    }

    /// Reads what the program wrote; 0 when nobody has the terminal open any more.
    ///
    /// # Errors
    /// What `read` says.
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.master.readable().await?;
            match ready.try_io(|master| Ok(nix::unistd::read(master, buffer)?)) {
                // So a terminal says that its last user is gone.
                Ok(Err(error)) if error.raw_os_error() == Some(nix::errno::Errno::EIO as i32) => {
                    return Ok(0);
                }
                Ok(result) => return result,
                Err(_would_block) => {}
            }
        }
    }

    /// Types to the program; returns how many bytes went.
    ///
    /// # Errors
    /// What `write` says.
    pub async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.master.writable().await?;
            if let Ok(result) = ready.try_io(|master| Ok(nix::unistd::write(master, bytes)?)) {
                return result;
            }
        }
    }

    /// Tells the program how large its terminal is.
    ///
    /// # Errors
    /// What the ioctl says; ENOTTY in a virtual machine, whose terminal is the guest's: ask by [`ExecSession::resize`].
    pub fn resize(&self, rows: u16, columns: u16) -> io::Result<()> {
        berth_sys::process::resize_terminal(self.master.get_ref().as_fd(), rows, columns)
    }
}
