//! Answering on all listeners until the agent is asked to stop. Requests are bounded in size (see `api`), in number a
//! connection, and in how long a client may be silent; connections in number.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use berth_engine::Engine;
use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::Connected;

use super::error::StartError;
use super::listen::Listener;
use crate::api;

/// A client that has not finished its handshake by then is let go.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long streams may go on after the agent was asked to stop.
const GRACE: Duration = Duration::from_secs(10);
const KEEPALIVE: Duration = Duration::from_secs(30);
const MAX_CONNECTIONS: usize = 512;
const MAX_STREAMS: u32 = 256;
const MAX_HEADERS: u32 = 32 * 1024;

/// Serves until `closing`, and then until the last answer is given or too long has passed.
pub(super) async fn serve(
    listeners: Vec<Listener>,
    engine: &Engine,
    closing: &CancellationToken,
) -> Result<(), StartError> {
    let routes = api::routes(engine.clone(), closing.clone());
    let mut servers = JoinSet::new();
    let mut files = Vec::new();
    for listener in listeners {
        let (routes, closing) = (routes.clone(), closing.clone());
        match listener {
            Listener::Unix(listener, file) => {
                files.push(file);
                servers.spawn(answer(UnixListenerStream::new(listener), routes, closing));
            }
            Listener::Https(listener, acceptor) => {
                let connections = accept(listener, acceptor, closing.clone());
                servers.spawn(answer(connections, routes, closing));
            }
        }
    }
    tokio::select! {
        () = closing.cancelled() => {}
        Some(ended) = servers.join_next() => return ended?,
    }
    // The socket goes at once: a client that dials now learns that there is no agent.
    drop(files);
    let rest = async { while let Some(Ok(Ok(()))) = servers.join_next().await {} };
    if tokio::time::timeout(GRACE, rest).await.is_err() {
        tracing::warn!("requests that did not end in time are cut off");
    }
    Ok(())
}

async fn answer<S, I>(incoming: I, routes: Routes, closing: CancellationToken) -> Result<(), StartError>
where
    I: Stream<Item = io::Result<S>> + Send + 'static,
    S: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .http2_max_header_list_size(MAX_HEADERS)
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, closing.cancelled_owned())
        .await
        .map_err(StartError::Serve)
}

/// Connections whose client has shown a good certificate. Handshakes go on beside each other.
fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    closing: CancellationToken,
) -> ReceiverStream<io::Result<Secured>> {
    let (sender, receiver) = mpsc::channel(16);
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    tokio::spawn(closing.run_until_cancelled_owned(async move {
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    out_of_descriptors().await;
                    continue;
                }
            };
            let (acceptor, sender) = (acceptor.clone(), sender.clone());
            tokio::spawn(async move {
                match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                    // The server that takes it may be gone: then the connection is closed with it.
                    Ok(Ok(stream)) => drop(sender.send(Ok(Secured { stream, _slot: slot })).await),
                    Ok(Err(error)) => tracing::warn!(%peer, %error, "a client was refused"),
                    Err(_) => tracing::warn!(%peer, "a client did not finish its handshake"),
                }
            });
        }
    }));
    ReceiverStream::new(receiver)
}

/// Accepting fails at once again until some descriptor is free, and nothing tells when that is.
#[allow(clippy::disallowed_methods, reason = "a bounded wait: no event says that a descriptor is free")]
async fn out_of_descriptors() {
    tokio::time::sleep(Duration::from_millis(200)).await;
}

/// A connection after the handshake.
struct Secured {
    stream: tokio_rustls::server::TlsStream<tokio::net::TcpStream>,
    _slot: OwnedSemaphorePermit,
}

impl Connected for Secured {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Secured {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
