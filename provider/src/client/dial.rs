//! Dialling: an address becomes an HTTP/2 channel, or an error that says which step failed.

use std::fmt;
use std::io;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, BufReader, Join};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint, Uri};

use super::address::Address;
use super::tls::{TlsError, TlsText};

/// How long one attempt may take: enough for a login over a slow line, short for a host that is down.
const ATTEMPT: Duration = Duration::from_secs(15);

/// How long ssh may take to say why it ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Why a host could not be dialled.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The socket did not take the connection.
    #[error("{0}")]
    Connect(String, #[source] io::Error),
    /// The certificates or the key cannot be used.
    #[error("TLS cannot be set up")]
    Tls(#[from] TlsError),
    /// The TLS handshake failed.
    #[error("the TLS handshake failed")]
    Handshake(#[source] io::Error),
    /// ssh could not be started.
    #[error("ssh could not be started")]
    Ssh(#[source] io::Error),
    /// The connection stood, but nothing that speaks the agent's API answered.
    #[error("no Berth agent answered{said}")]
    NoAnswer {
        /// What ssh said, where the connection goes through it.
        said: String,
        /// What the transport saw.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// Nothing happened for too long.
    #[error("nothing answered within {} seconds{said}", ATTEMPT.as_secs())]
    TimedOut {
        /// What ssh said.
        said: String,
    },
}

impl DialError {
    /// Where in the provider's host arguments the mistake is, if it is one of the arguments.
    pub fn argument(&self) -> Option<&'static str> {
        match self {
            Self::Tls(TlsError::Missing(argument)) => Some(argument),
            Self::Tls(
                TlsError::File { argument, .. }
                | TlsError::Pem { argument, .. }
                | TlsError::Unusable { argument, .. },
            ) => Some(argument),
            Self::Tls(TlsError::ServerName(_)) => Some("server_name"),
            _ => None,
        }
    }

    /// What to do.
    pub fn advice(&self, address: &Address) -> String {
        let kind = match self {
            Self::Connect(_, source) => Some(source.kind()),
            _ => None,
        };
        match (self, address, kind) {
            (_, Address::Unix(_), Some(io::ErrorKind::PermissionDenied)) => {
                "Run Terraform as root or as a member of the group berth.".to_owned()
            }
            (_, Address::Unix(_), _) => {
                "Start berthd there, or point the provider's host at a running agent.".to_owned()
            }
            (Self::Tls(_) | Self::Handshake(_), _, _) => {
                "Check ca_certificate, client_certificate and client_key against the agent's own configuration, \
                 and server_name against the name in its certificate."
                    .to_owned()
            }
            (_, Address::Https { .. }, _) => {
                "Check that berthd listens there, that no firewall is in between, and that the agent accepts \
                 client_certificate."
                    .to_owned()
            }
            (_, Address::Ssh { user, host, .. }, _) => {
                let user = user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
                format!("Check that \"ssh {user}{host} berth proxy\" works without a question being asked.")
            }
        }
    }
}

/// What a connection runs over; ssh's words are kept for an error.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What ssh said on its standard error: its last lines.
#[derive(Clone, Default)]
pub(super) struct Said(Arc<Words>);

#[derive(Default)]
struct Words {
    lines: Mutex<Vec<String>>,
    /// How many ssh may still say something.
    speaking: watch::Sender<usize>,
}

impl Said {
    fn add(&self, line: String) {
        let mut lines = self.0.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push(line);
        let excess = lines.len().saturating_sub(5);
        lines.drain(..excess);
    }

    /// Its words, once it has said all: a connection breaks before ssh's reason for it is read.
    async fn text(&self) -> String {
        let mut speaking = self.0.speaking.subscribe();
        // One that goes on speaking is not waited for.
        let _ = tokio::time::timeout(LAST_WORDS, speaking.wait_for(|count| *count == 0)).await;
        let lines = self.0.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.is_empty() { String::new() } else { format!("; ssh said: {}", lines.join(" / ")) }
    }
}

/// A channel, and what its ssh says where it has one.
pub(super) struct Dialled {
    pub(super) channel: Channel,
    said: Said,
}

impl Dialled {
    /// Waits for a first answer, and says what is known when none comes.
    pub(super) async fn first_answer<T>(
        &self,
        call: impl Future<Output = Result<T, tonic::Status>>,
    ) -> Result<Result<T, tonic::Status>, DialError> {
        match tokio::time::timeout(ATTEMPT, call).await {
            Err(_) => Err(DialError::TimedOut { said: self.said.text().await }),
            Ok(Err(status)) if std::error::Error::source(&status).is_some() => {
                Err(DialError::NoAnswer { said: self.said.text().await, source: Arc::new(status) })
            }
            Ok(answer) => Ok(answer),
        }
    }
}

/// Opens a channel; it dials again by itself when the connection breaks later.
pub(super) async fn dial(address: &Address, tls: &TlsText) -> Result<Dialled, DialError> {
    let said = Said::default();
    // The URI is for HTTP's sake; what is dialled is the address.
    let endpoint = Endpoint::from_static("http://berth.agent")
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20))
        .tcp_nodelay(true);
    let (target, certificates, lines) = (address.clone(), tls.clone(), said.clone());
    let connector = tower::service_fn(move |_: Uri| {
        let (target, certificates, lines) = (target.clone(), certificates.clone(), lines.clone());
        async move { open(&target, &certificates, lines).await.map(TokioIo::new) }
    });
    match tokio::time::timeout(ATTEMPT, endpoint.connect_with_connector(connector)).await {
        Err(_) => Err(DialError::TimedOut { said: said.text().await }),
        Ok(Err(error)) => Err(from_transport(error, said.text().await)),
        Ok(Ok(channel)) => Ok(Dialled { channel, said }),
    }
}

/// Our own error is somewhere in the transport's chain: take it out where it can be told.
fn from_transport(error: tonic::transport::Error, said: String) -> DialError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(current) = cause {
        if let Some(own) = current.downcast_ref::<SharedDialError>() {
            return own
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take()
                .unwrap_or_else(|| DialError::NoAnswer { said, source: Arc::new(NothingMore) });
        }
        cause = current.source();
    }
    DialError::NoAnswer { said, source: Arc::new(error) }
}

/// Carries a [`DialError`] through the transport's boxed errors, to be taken out at the other end. Where nobody does, as when a
/// connection that stood is dialled again, it tells all of it: a source behind a lock cannot be lent.
#[derive(Debug, thiserror::Error)]
struct SharedDialError(Mutex<Option<DialError>>);

impl fmt::Display for SharedDialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(error) = error.as_ref() else { return f.write_str("the host could not be dialled") };
        write!(f, "{error}")?;
        let mut cause = std::error::Error::source(error);
        while let Some(current) = cause {
            write!(f, ": {current}")?;
            cause = current.source();
        }
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the connection failed")]
struct NothingMore;

async fn open(address: &Address, tls: &TlsText, said: Said) -> Result<Box<dyn Stream>, SharedDialError> {
    let stream = match address {
        Address::Unix(path) => match UnixStream::connect(path).await {
            Ok(stream) => Ok(Box::new(stream) as Box<dyn Stream>),
            Err(source) => Err(DialError::Connect(
                match source.kind() {
                    io::ErrorKind::NotFound => "there is no such socket",
                    io::ErrorKind::ConnectionRefused => "nothing listens on the socket",
                    _ => "the socket cannot be connected to",
                }
                .to_owned(),
                source,
            )),
        },
        Address::Https { host, port } => open_tls(host, *port, tls).await,
        Address::Ssh { user, host, port } => open_ssh(user.as_deref(), host, *port, said),
    };
    stream.map_err(|error| SharedDialError(Mutex::new(Some(error))))
}

async fn open_tls(host: &str, port: u16, tls: &TlsText) -> Result<Box<dyn Stream>, DialError> {
    let tls = tls.load(host)?;
    let stream = TcpStream::connect((host, port))
        .await
        .map_err(|source| DialError::Connect("the connection failed".to_owned(), source))?;
    stream
        .set_nodelay(true)
        .map_err(|source| DialError::Connect("the connection broke".to_owned(), source))?;
    let stream = tls.connector.connect(tls.server_name, stream).await.map_err(DialError::Handshake)?;
    Ok(Box::new(stream))
}

/// Standard input and output of an ssh that lives as long as the connection.
struct SshStream {
    io: Join<ChildStdout, ChildStdin>,
    _child: Child,
}

fn open_ssh(
    user: Option<&str>,
    host: &str,
    port: Option<u16>,
    said: Said,
) -> Result<Box<dyn Stream>, DialError> {
    let mut command = Command::new("ssh");
    // No terminal is ours to ask a question on. Its own process group: Ctrl-C is for us to handle.
    command
        .args(["-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10"])
        .process_group(0)
        .kill_on_drop(true);
    if let Some(port) = port {
        command.args(["-p", &port.to_string()]);
    }
    if let Some(user) = user {
        command.args(["-l", user]);
    }
    command.args(["--", host, "berth", "proxy"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(DialError::Ssh)?;
    let missing = || DialError::Ssh(io::Error::from(io::ErrorKind::BrokenPipe));
    let stdin = child.stdin.take().ok_or_else(missing)?;
    let stdout = child.stdout.take().ok_or_else(missing)?;
    if let Some(stderr) = child.stderr.take() {
        said.0.speaking.send_modify(|count| *count += 1);
        tokio::spawn(keep_words(stderr, said));
    }
    Ok(Box::new(SshStream { io: tokio::io::join(stdout, stdin), _child: child }))
}

async fn keep_words(stderr: ChildStderr, said: Said) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        tracing::debug!(%line, "ssh");
        said.add(line);
    }
    said.0.speaking.send_modify(|count| *count -= 1);
}

mod ssh_stream {
    //! Reading and writing go to ssh's output and input.

    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    use super::SshStream;

    impl AsyncRead for SshStream {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<std::io::Result<()>> {
            Pin::new(&mut self.io).poll_read(context, buffer)
        }
    }

    impl AsyncWrite for SshStream {
        fn poll_write(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &[u8],
        ) -> Poll<std::io::Result<usize>> {
            Pin::new(&mut self.io).poll_write(context, buffer)
        }

        fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Pin::new(&mut self.io).poll_flush(context)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Pin::new(&mut self.io).poll_shutdown(context)
        }
    }
}
