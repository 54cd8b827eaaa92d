//! The agent's side: starting, adopting and telling a helper.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use berth_sys::socket::send_with_descriptors;
use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, sockopt};

use super::{Config, LeasesError, Request, Response, Socket, VERSION};
use crate::firewall::Protocol;

/// It answers from memory: one that takes longer does not work.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a helper cannot do what it is to.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// Its program could not be run.
    #[error("cannot run {}", path.display())]
    Spawn {
        /// The program.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It does not answer as it should.
    #[error("cannot talk to the helper at {}", path.display())]
    Control {
        /// Its socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nothing can be bound there.
    #[error("cannot listen at {}/{}", socket.address, socket.protocol)]
    Bind {
        /// Where.
        socket: Socket,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What it gives cannot be kept.
    #[error(transparent)]
    Leases(#[from] LeasesError),
    /// It would not.
    #[error("the helper refused: {reason}")]
    Refused {
        /// Its words.
        reason: String,
    },
}

/// A helper that can be told what to do.
#[derive(Debug)]
pub struct Helper {
    path: PathBuf,
    stream: BufReader<UnixStream>,
    version: u32,
    sockets: BTreeSet<Socket>,
}

/// A helper that was started now.
#[derive(Debug)]
pub struct Started {
    /// To tell it.
    pub helper: Helper,
    /// The process, to be waited for so that it leaves no zombie. It is not killed when this is dropped.
    pub process: Child,
}

impl Helper {
    /// The helper whose control socket this is, if one lives.
    ///
    /// # Errors
    /// Where one is there and does not answer as it should.
    pub fn adopt(path: &Path) -> Result<Option<Self>, HelperError> {
        match connect(path) {
            Ok(stream) => Self::greet(path, stream).map(Some),
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
            {
                Ok(None)
            }
            Err(source) => Err(HelperError::Control { path: path.to_owned(), source }),
        }
    }

    /// Starts one, and does not wait for it: what it is told before it listens is there when it does.
    ///
    /// # Errors
    /// Where its program cannot be run.
    pub fn start(program: &Path, path: &Path) -> Result<Started, HelperError> {
        let failed = |source| HelperError::Control { path: path.to_owned(), source };
        let listener = listen(path).map_err(failed)?;
        // As its input the descriptor goes to this program, and to no other that is started at the same moment.
        let process = Command::new(program)
            .arg(path)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|source| HelperError::Spawn { path: program.to_owned(), source })?;
        let helper = Self::of(path, connect(path).map_err(failed)?);
        Ok(Started { helper, process })
    }

    /// One of this agent's version that has no sockets yet.
    fn of(path: &Path, stream: UnixStream) -> Self {
        let (path, stream) = (path.to_owned(), BufReader::new(stream));
        Self { path, stream, version: VERSION, sockets: BTreeSet::new() }
    }

    fn greet(path: &Path, stream: UnixStream) -> Result<Self, HelperError> {
        let mut helper = Self::of(path, stream);
        match helper.ask(&Request::Status)? {
            Response::Status { version, sockets } => {
                (helper.version, helper.sockets) = (version, sockets);
                Ok(helper)
            }
            other => Err(helper.unexpected(&other)),
        }
    }

    /// Whether it is of this agent's version.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.version == VERSION
    }

    /// Where it answers.
    #[must_use]
    pub fn sockets(&self) -> &BTreeSet<Socket> {
        &self.sockets
    }

    /// Tells it where to keep what it gives: it has no way of its own to any file.
    ///
    /// # Errors
    /// Where it does not listen.
    pub fn keep_leases(
        &self,
        directory: impl FnOnce() -> Result<OwnedFd, LeasesError>,
    ) -> Result<(), HelperError> {
        self.send(&Request::Leases, &[directory()?.as_fd()])
    }

    /// Makes it do this and nothing else. The sockets that it does not have yet are made, and nothing is changed where one
    /// cannot be.
    ///
    /// # Errors
    /// Where something else listens there, or it does not answer as it should.
    pub fn configure(&mut self, config: &Config) -> Result<(), HelperError> {
        let mut made = Vec::new();
        for socket in config.sockets.difference(&self.sockets) {
            let bound = bind(socket);
            let bound = bound.map_err(|source| HelperError::Bind { socket: socket.clone(), source })?;
            made.push((socket.clone(), bound));
        }
        for (socket, descriptor) in made {
            self.send(&Request::Socket(socket), &[descriptor.as_fd()])?;
        }
        match self.ask(&Request::Configure(config.clone()))? {
            Response::Done => {
                self.sockets.clone_from(&config.sockets);
                Ok(())
            }
            other => Err(self.unexpected(&other)),
        }
    }

    /// Ends it. It has let go of everything when this returns.
    ///
    /// # Errors
    /// Where it does not answer.
    pub fn quit(mut self) -> Result<(), HelperError> {
        let answered = self.ask(&Request::Quit).map(drop);
        // Nobody listens there any more, or nobody is to find who does not answer.
        let removed = fs::remove_file(&self.path);
        answered?;
        removed.map_err(|source| self.failed(source))
    }

    /// Another connection, which ends when the helper does.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn lifeline(&self) -> Result<UnixStream, HelperError> {
        connect(&self.path).map_err(|source| self.failed(source))
    }

    fn ask(&mut self, request: &Request) -> Result<Response, HelperError> {
        self.send(request, &[])?;
        let mut line = Vec::new();
        let read = self.stream.read_until(b'\n', &mut line).map_err(|source| self.failed(source))?;
        if read == 0 {
            return Err(self.failed(io::ErrorKind::UnexpectedEof.into()));
        }
        serde_json::from_slice(&line).map_err(|error| self.failed(error.into()))
    }

    fn send(&self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> Result<(), HelperError> {
        let mut line = serde_json::to_vec(request).map_err(|error| self.failed(error.into()))?;
        line.push(b'\n');
        let (mut rest, mut descriptors) = (line.as_slice(), descriptors);
        while !rest.is_empty() {
            let sent = send_with_descriptors(self.stream.get_ref().as_fd(), rest, descriptors);
            let sent = sent.map_err(|source| self.failed(source))?;
            rest = rest.get(sent..).unwrap_or_default();
            descriptors = &[];
        }
        Ok(())
    }

    fn failed(&self, source: io::Error) -> HelperError {
        HelperError::Control { path: self.path.clone(), source }
    }

    fn unexpected(&self, response: &Response) -> HelperError {
        match response {
            Response::Refused { reason } => HelperError::Refused { reason: reason.clone() },
            _ => self.failed(io::Error::new(io::ErrorKind::InvalidData, "an answer to another question")),
        }
    }
}

/// A socket's address holds 108 bytes; a directory may be deeper, so that it is named by a descriptor.
fn short<T>(path: &Path, work: impl Fn(&Path) -> io::Result<T>) -> io::Result<T> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    if path.as_os_str().len() < 108 {
        return work(path);
    }
    let directory = File::open(directory)?;
    work(&Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name))
}

fn connect(path: &Path) -> io::Result<UnixStream> {
    let stream = short(path, |path| UnixStream::connect(path))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    short(path, |path| UnixListener::bind(path))
}

/// An address of IPv6 is still being looked at when it is new, and may be bound all the same.
fn bind(socket: &Socket) -> io::Result<OwnedFd> {
    let (family, storage) = match socket.address {
        SocketAddr::V4(v4) => (AddressFamily::Inet, SockaddrStorage::from(v4)),
        SocketAddr::V6(v6) => (AddressFamily::Inet6, SockaddrStorage::from(v6)),
    };
    let kind = match socket.protocol {
        Protocol::Tcp => SockType::Stream,
        Protocol::Udp => SockType::Datagram,
    };
    let made = socket::socket(family, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    if socket.address.is_ipv6() {
        socket::setsockopt(&made, sockopt::Ipv6V6Only, &true)?;
    }
    socket::setsockopt(&made, sockopt::IpFreebind, &true)?;
    if let Some(device) = &socket.device {
        socket::setsockopt(&made, sockopt::BindToDevice, &device.into())?;
    }
    // Another DHCP server has the port on other devices, or on all of them, and says likewise that it may be shared.
    if socket.protocol == Protocol::Tcp || socket.is_of_dhcp() {
        socket::setsockopt(&made, sockopt::ReuseAddr, &true)?;
    }
    if socket.is_of_dhcp() {
        socket::setsockopt(&made, sockopt::Broadcast, &true)?;
    }
    socket::bind(made.as_raw_fd(), &storage)?;
    if socket.protocol == Protocol::Tcp {
        socket::listen(&made, Backlog::new(128)?)?;
    }
    Ok(made)
}
