//! Spawning, adopting and asking supervisors. For the agent, on tokio.

mod connection;
mod exec;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use berth_sys::socket::receive_with_descriptors;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};

pub use connection::Events;
pub use exec::{ExecError, ExecSession, ExecStdio, Terminal};

use crate::control::{Request, Response, Status, Update, Usage};
use crate::file::FileWrite;
use crate::launch::{LaunchError, Report};
use crate::spec::LaunchSpec;
use connection::Connection;

/// One that hangs up so often before it answers is not about to end.
const HANG_UPS: u32 = 100;

/// Why a supervisor could not be spawned or asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The workload could not be started; nothing is left of the attempt.
    #[error("cannot start the instance")]
    Launch(#[source] LaunchError),
    /// The supervisor's program could not be run.
    #[error("cannot run the supervisor {}", path.display())]
    Spawn {
        /// The program.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The supervisor ended without a report.
    #[error("the supervisor {} ended without a word", path.display())]
    Silent {
        /// The program.
        path: PathBuf,
    },
    /// The launch spec could not be written.
    #[error("cannot write {}", path.display())]
    WriteSpec {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The control socket does not answer as it should.
    #[error("cannot talk to the supervisor at {}", path.display())]
    Control {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A change could not be made; nothing of it was.
    #[error("cannot change the instance")]
    Update(#[source] LaunchError),
    /// A file could not be written, or read.
    #[error(transparent)]
    File(LaunchError),
    /// The kernel would not have a limit.
    #[error("the limit of {limit} was refused")]
    LimitRefused {
        /// As the API names it: "memory".
        limit: String,
        /// What it said; EBUSY where what runs is beyond it already.
        #[source]
        source: io::Error,
    },
    /// The supervisor would not do it.
    #[error("the supervisor refused: {reason}")]
    Refused {
        /// Its words.
        reason: String,
    },
}

/// A supervisor that can be asked.
#[derive(Debug, Clone)]
pub struct Supervisor {
    run_dir: PathBuf,
}

/// What a spawn gives.
#[derive(Debug)]
pub struct Spawned {
    /// To ask it.
    pub supervisor: Supervisor,
    /// The process, to be waited for so that it leaves no zombie; it is not killed when this is dropped.
    pub process: Child,
    /// On the host, of the workload's first process.
    pub pid: i32,
    /// Milliseconds since the epoch; 0 where it is not told.
    pub started_at_ms: u64,
}

/// Starts a supervisor and waits until its workload's program has been executed, or could not be.
///
/// # Errors
/// [`ClientError::Launch`] says where the start failed; nothing is left of it then.
pub async fn spawn(program: &Path, spec: &LaunchSpec) -> Result<Spawned, ClientError> {
    let text = write_spec(spec)?;
    let at = |source| ClientError::Spawn { path: program.to_owned(), source };
    let (spec_reader, spec_writer) = io::pipe().map_err(at)?;
    let (report_reader, report_writer) = io::pipe().map_err(at)?;
    let (spec_fd, report_fd) =
        (inheritable(spec_reader).map_err(at)?, inheritable(report_writer).map_err(at)?);
    let mut process = Command::new(program)
        .arg(spec_fd.as_raw_fd().to_string())
        .arg(report_fd.as_raw_fd().to_string())
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(false)
        .spawn()
        .map_err(at)?;
    drop((spec_fd, report_fd));
    let feed = feed(spec_writer.into(), text);
    let report = read_report(report_reader.into());
    let (fed, report) = tokio::join!(feed, report);
    match (report.map_err(at)?, fed) {
        (Some(Report::Started { pid, started_at_ms }), _) => {
            let supervisor = Supervisor { run_dir: spec.run_dir.clone() };
            Ok(Spawned { supervisor, process, pid, started_at_ms })
        }
        (Some(Report::Failed(error)), _) => {
            process.wait().await.map_err(at)?;
            Err(ClientError::Launch(error))
        }
        (None, fed) => {
            process.wait().await.map_err(at)?;
            fed.map_err(at)?;
            Err(ClientError::Silent { path: program.to_owned() })
        }
    }
}

fn write_spec(spec: &LaunchSpec) -> Result<Vec<u8>, ClientError> {
    let path = spec.run_dir.join("spec.json");
    let at = |source| ClientError::WriteSpec { path: path.clone(), source };
    std::fs::create_dir_all(&spec.run_dir).map_err(at)?;
    let text = serde_json::to_vec(spec).map_err(|error| at(error.into()))?;
    // It tells of a supervisor, which no power loss leaves.
    berth_sys::fs::write_whole(&path, &text, 0o600).map_err(|error| at(io::Error::other(error)))?;
    Ok(text)
}

/// A descriptor that the next program keeps. Another program that is spawned at the same moment may get it too; it would
/// only hold a pipe open for as long as it starts.
fn inheritable(fd: impl Into<OwnedFd>) -> io::Result<OwnedFd> {
    let fd = fd.into();
    nix::fcntl::fcntl(&fd, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()))?;
    Ok(fd)
}

async fn feed(writer: OwnedFd, text: Vec<u8>) -> io::Result<()> {
    let mut writer = pipe::Sender::from_owned_fd(writer)?;
    tokio::io::AsyncWriteExt::write_all(&mut writer, &text).await
}

async fn read_report(reader: OwnedFd) -> io::Result<Option<Report>> {
    let mut reader = pipe::Receiver::from_owned_fd(reader)?;
    let mut text = Vec::new();
    // Only the first line counts: the end of the pipe may be held open by the workload's cousins.
    while !text.contains(&b'\n') {
        if reader.read_buf(&mut text).await? == 0 {
            break;
        }
    }
    if text.is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(&text).map(Some).map_err(io::Error::other)
}

/// Finds the supervisor of an instance's run directory, if one answers there.
///
/// # Errors
/// Where one is there and does not answer as it should.
pub async fn adopt(run_dir: &Path) -> Result<Option<(Supervisor, Status)>, ClientError> {
    use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotFound, UnexpectedEof};

    let supervisor = Supervisor { run_dir: run_dir.to_owned() };
    let mut left = HANG_UPS;
    loop {
        match supervisor.status().await {
            Ok(status) => return Ok(Some((supervisor, status))),
            Err(ClientError::Control { source, .. })
                if matches!(source.kind(), NotFound | ConnectionRefused) =>
            {
                return Ok(None);
            }
            // It ends in this moment: its socket goes right after the connection.
            Err(ClientError::Control { source, .. })
                if left > 0 && matches!(source.kind(), UnexpectedEof | ConnectionReset | BrokenPipe) =>
            {
                left -= 1;
                tokio::task::yield_now().await;
            }
            Err(error) => return Err(error),
        }
    }
}

impl Supervisor {
    /// The supervisor that is known to serve this run directory.
    #[must_use]
    pub fn at(run_dir: &Path) -> Self {
        Self { run_dir: run_dir.to_owned() }
    }

    /// How things are.
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn status(&self) -> Result<Status, ClientError> {
        let mut connection = Connection::open(&self.run_dir).await?;
        match connection.ask(&Request::Status, &[]).await? {
            Response::Status(status) => Ok(status),
            other => Err(connection.unexpected(&other)),
        }
    }

    /// Asks the workload to end; wait for [`Events`] to say that it has.
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn stop(&self, force: bool) -> Result<(), ClientError> {
        self.done(&Request::Stop { force }).await
    }

    /// Changes settings of the running instance, all or none.
    ///
    /// # Errors
    /// [`ClientError::LimitRefused`] where the kernel would not have a limit, [`ClientError::Update`] where something could not be
    /// mounted.
    pub async fn update(&self, update: Update) -> Result<(), ClientError> {
        self.done(&Request::Update(update)).await
    }

    /// What the instance uses.
    ///
    /// # Errors
    /// Where it does not answer, or the kernel does not tell.
    pub async fn usage(&self) -> Result<Usage, ClientError> {
        let mut connection = Connection::open(&self.run_dir).await?;
        match connection.ask(&Request::Usage, &[]).await? {
            Response::Usage(usage) => Ok(usage),
            other => Err(connection.unexpected(&other)),
        }
    }

    /// Connects, inside a virtual machine, to a port at the addresses of its interfaces.
    ///
    /// # Errors
    /// [`ClientError::Refused`] where nobody listens there; a supervisor of an older agent refuses all of it.
    pub async fn reach(&self, port: u16) -> Result<(), ClientError> {
        self.done(&Request::Reach { port }).await
    }

    /// Writes a file into the running instance: what `content` holds from its start on.
    ///
    /// # Errors
    /// [`ClientError::File`] where it cannot be written; nothing of it is.
    pub async fn put_file(&self, write: FileWrite, content: BorrowedFd<'_>) -> Result<(), ClientError> {
        let mut connection = Connection::open(&self.run_dir).await?;
        match connection.ask(&Request::PutFile(write), &[content]).await? {
            Response::Done => Ok(()),
            other => Err(connection.unexpected(&other)),
        }
    }

    /// Opens a file of the running instance. It may change while it is read.
    ///
    /// # Errors
    /// [`ClientError::File`] where there is none that can be read.
    pub async fn get_file(&self, path: PathBuf) -> Result<std::fs::File, ClientError> {
        let mut connection = Connection::open(&self.run_dir).await?;
        let (ours, theirs) = StdStream::pair().map_err(|error| connection.failed(error))?;
        match connection.ask(&Request::GetFile { path }, &[theirs.as_fd()]).await? {
            Response::Done => {}
            other => return Err(connection.unexpected(&other)),
        }
        // It was sent before the answer was.
        let received = receive_with_descriptors(ours.as_fd(), &mut [0]);
        let (_, descriptors) = received.map_err(|error| connection.failed(error))?;
        let file = descriptors.into_iter().next();
        file.map(Into::into).ok_or_else(|| connection.failed(io::ErrorKind::UnexpectedEof.into()))
    }

    async fn done(&self, request: &Request) -> Result<(), ClientError> {
        let mut connection = Connection::open(&self.run_dir).await?;
        match connection.ask(request, &[]).await? {
            Response::Done => Ok(()),
            other => Err(connection.unexpected(&other)),
        }
    }

    /// Follows what happens; the first event says how things are.
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn watch(&self) -> Result<Events, ClientError> {
        let mut connection = Connection::open(&self.run_dir).await?;
        match connection.ask(&Request::Watch, &[]).await? {
            Response::Done => Ok(Events::new(connection)),
            other => Err(connection.unexpected(&other)),
        }
    }
}
