//! Dialling an agent: `unix:///path`, `https://host:port` with mutual TLS, `ssh://[user@]host[:port]` through the
//! user's own ssh.

mod address;
mod error;
mod ssh;
mod tls;

use std::error::Error;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use berth_proto::agent::GetHostRequest;
use berth_proto::agent::host_service_client::HostServiceClient;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tonic::transport::{Channel, Endpoint, Uri};

pub use address::{Address, AddressError};
pub use error::DialError;
pub use tls::{Certificates, TlsError};

/// How long one attempt may take: enough for a login over a slow line.
const ATTEMPT: Duration = Duration::from_secs(20);
const KEEPALIVE: Duration = Duration::from_secs(20);

/// What a connection runs over.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Opens a channel to the agent.
///
/// # Errors
/// The address does not answer, or not as an agent that trusts the caller.
pub async fn dial(address: &Address, certificates: &Certificates) -> Result<Channel, DialError> {
    // The URI is for HTTP's sake; what is dialled is the address.
    let endpoint = Endpoint::from_static("http://berth.agent")
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .tcp_nodelay(true);
    let (target, certificates) = (address.clone(), certificates.clone());
    let connector = tower::service_fn(move |_: Uri| {
        let (target, certificates) = (target.clone(), certificates.clone());
        async move {
            let stream = open(&target, &certificates).await;
            stream.map(TokioIo::new).map_err(|error| Carried(Mutex::new(Some(error))))
        }
    });
    match tokio::time::timeout(ATTEMPT, endpoint.connect_with_connector(connector)).await {
        Err(_elapsed) => Err(DialError::TimedOut { after: ATTEMPT }),
        Ok(Err(error)) => Err(own(error)),
        Ok(Ok(channel)) => admitted(address, channel).await,
    }
}

/// By TLS 1.3 an agent says that it refuses a client only after the client's handshake: in place of a first answer.
async fn admitted(address: &Address, channel: Channel) -> Result<Channel, DialError> {
    if matches!(address, Address::Https { .. }) {
        let mut client = HostServiceClient::new(channel.clone());
        let answer = tokio::time::timeout(ATTEMPT, client.get_host(GetHostRequest {})).await;
        match answer.map_err(|_elapsed| DialError::TimedOut { after: ATTEMPT })? {
            // What an agent says is an answer, whatever it is; a broken connection is none.
            Err(status) if status.source().is_some() => return Err(DialError::Refused(Box::new(status))),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(channel)
}

async fn open(address: &Address, certificates: &Certificates) -> Result<Box<dyn Stream>, DialError> {
    match address {
        Address::Unix(path) => match UnixStream::connect(path).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(source) => Err(DialError::Socket { path: path.clone(), source }),
        },
        Address::Https { host, port } => {
            let (connector, name) = certificates.connector(host)?;
            let connect = |source: io::Error| DialError::Connect { host: host.clone(), port: *port, source };
            let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(connect)?;
            stream.set_nodelay(true).map_err(connect)?;
            let stream = connector.connect(name, stream).await.map_err(DialError::Handshake)?;
            Ok(Box::new(stream))
        }
        Address::Ssh { user, host, port } => ssh::open(user.as_deref(), host, *port),
    }
}

/// Carries a [`DialError`] through the transport's boxed errors.
#[derive(Debug, thiserror::Error)]
#[error("the agent could not be dialled")]
struct Carried(Mutex<Option<DialError>>);

/// Our own error is somewhere in the transport's chain.
fn own(error: tonic::transport::Error) -> DialError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(current) = cause {
        if let Some(carried) = current.downcast_ref::<Carried>()
            && let Some(own) = carried.0.lock().unwrap_or_else(PoisonError::into_inner).take()
        {
            return own;
        }
        cause = current.source();
    }
    DialError::NoAgent(error)
}
