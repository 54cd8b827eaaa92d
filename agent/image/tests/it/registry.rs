//! A registry on loopback that serves what was put into it, unless a test has it answer otherwise.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper::{Request, Response, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// A request that came.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub query: String,
    pub authorization: Option<String>,
    /// What the client showed.
    pub certificate: Option<Vec<u8>>,
    /// The bytes that are asked for, first and last.
    pub range: Option<(u64, u64)>,
}

type Chunks = BoxStream<'static, io::Result<Bytes>>;

/// What is said to a request.
pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Option<Chunks>,
}

impl Answer {
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: None }
    }

    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self::status(200).with(bytes)
    }

    pub fn with(self, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let length = bytes.len() as u64;
        self.stream(Some(length), stream::iter([Ok(bytes)]).boxed())
    }

    pub fn json(value: &serde_json::Value) -> Self {
        Self::bytes(value.to_string()).header("content-type", "application/json")
    }

    /// A body of the test's own; without a length it is sent in chunks.
    pub fn stream(mut self, length: Option<u64>, chunks: Chunks) -> Self {
        self.body = Some(chunks);
        match length {
            Some(length) => self.header("content-length", &length.to_string()),
            None => self,
        }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn redirect(to: &str) -> Self {
        Self::status(307).header("location", to)
    }

    /// These bytes, and then a broken connection, though more were announced.
    pub fn cut_short(bytes: Bytes, announced: u64) -> Self {
        Self::cut_short_with(200, bytes, announced)
    }

    /// As [`Answer::cut_short`], with another status.
    pub fn cut_short_with(status: u16, bytes: Bytes, announced: u64) -> Self {
        // What was not yet sent when the body fails is lost with the connection: the second tick lets it go out first.
        let ticks = tokio::time::interval(Duration::from_millis(20));
        let broken = stream::once(async move {
            let mut ticks = ticks;
            ticks.tick().await;
            ticks.tick().await;
            Err(io::Error::from(io::ErrorKind::ConnectionReset))
        });
        Self::status(status).stream(Some(announced), stream::iter([Ok(bytes)]).chain(broken).boxed())
    }

    /// Exactly what was asked for.
    pub fn part(bytes: &Bytes, (first, last): (u64, u64)) -> Self {
        let part = bytes.slice(first as usize..=last as usize);
        let told = format!("bytes {first}-{last}/{}", bytes.len());
        Self::status(206).with(part).header("content-range", &told)
    }

    /// A connection that closes before anything was said.
    pub fn hang_up() -> Self {
        let broken = Err(io::Error::from(io::ErrorKind::ConnectionReset));
        Self::status(200).stream(Some(1), stream::iter([broken]).boxed())
    }
}

const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

type Behaviour = Box<dyn Fn(&Seen) -> Option<Answer> + Send + Sync>;

#[derive(Default)]
struct State {
    files: Mutex<HashMap<String, (String, Bytes)>>,
    behaviour: Mutex<Option<Behaviour>>,
    seen: Mutex<Vec<Seen>>,
    ranges: AtomicBool,
}

/// The registry. Dropped, it and its connections are gone.
pub struct Registry {
    pub address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Registry {
    pub async fn start() -> Self {
        Self::start_on(LOOPBACK).await
    }

    /// Where it is not to be on loopback.
    pub async fn start_on(address: SocketAddr) -> Self {
        Self::start_with(address, None).await
    }

    /// Over TLS.
    pub async fn start_tls(config: ServerConfig) -> Self {
        Self::start_with(LOOPBACK, Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn start_with(address: SocketAddr, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let task = tokio::spawn(accept(listener, tls, Arc::clone(&state)));
        Self { address, state, task }
    }

    pub fn put(&self, path: &str, media_type: &str, bytes: impl Into<Bytes>) {
        let file = (media_type.to_owned(), bytes.into());
        self.state.files.lock().unwrap().insert(path.to_owned(), file);
    }

    /// From now on ranges are given where they are asked for.
    pub fn allow_ranges(&self) {
        self.state.ranges.store(true, Ordering::Relaxed);
    }

    /// From now on requests are answered by this, and as they should be where it says nothing.
    pub fn behave(&self, behaviour: impl Fn(&Seen) -> Option<Answer> + Send + Sync + 'static) {
        *self.state.behaviour.lock().unwrap() = Some(Box::new(behaviour));
    }

    /// Only requests whose path holds this are answered otherwise.
    pub fn behave_on(&self, part: &str, answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) {
        let part = part.to_owned();
        self.behave(move |seen| seen.path.contains(&part).then(|| answer(seen)));
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    /// The requests whose path is this.
    pub fn seen_on(&self, path: &str) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.path == path).collect()
    }

    /// How many requests there were whose path holds this.
    pub fn count(&self, part: &str) -> usize {
        self.seen().iter().filter(|seen| seen.path.contains(part)).count()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, state) = (tls.clone(), Arc::clone(&state));
        connections.spawn(async move {
            match tls {
                None => serve(stream, None, state).await,
                Some(tls) => {
                    // A handshake that fails is the client's to tell.
                    if let Ok(stream) = tls.accept(stream).await {
                        let shown = stream.get_ref().1.peer_certificates().map(|chain| chain[0].to_vec());
                        serve(stream, shown, state).await;
                    }
                }
            }
        });
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    certificate: Option<Vec<u8>>,
    state: Arc<State>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = state.answer(&request, certificate.clone());
        async move { Ok::<_, Infallible>(response(answer)) }
    });
    // A client that goes away, and a body that breaks off, are what the tests are about.
    let _ended = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

fn response(answer: Answer) -> Response<UnsyncBoxBody<Bytes, io::Error>> {
    let mut builder = Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        builder = builder.header(name, value);
    }
    let body = match answer.body {
        Some(chunks) => StreamBody::new(chunks.map_ok(Frame::data)).boxed_unsync(),
        None => Full::new(Bytes::new()).map_err(|never| match never {}).boxed_unsync(),
    };
    builder.body(body).unwrap()
}

impl State {
    fn answer(&self, request: &Request<Incoming>, certificate: Option<Vec<u8>>) -> Answer {
        let header = |name: &str| Some(request.headers().get(name)?.to_str().ok()?.to_owned());
        let seen = Seen {
            method: request.method().to_string(),
            path: request.uri().path().to_owned(),
            query: request.uri().query().unwrap_or_default().to_owned(),
            certificate,
            authorization: header("authorization"),
            range: header("range").and_then(|text| range(&text)),
        };
        self.seen.lock().unwrap().push(seen.clone());
        let special = self.behaviour.lock().unwrap().as_ref().and_then(|behaviour| behaviour(&seen));
        special.unwrap_or_else(|| self.file(&seen))
    }

    fn file(&self, seen: &Seen) -> Answer {
        match self.files.lock().unwrap().get(&seen.path) {
            None => Answer::status(404),
            Some((media_type, bytes)) if seen.method == "HEAD" => {
                let digest = berth_image::digest::Digest::of(bytes).to_string();
                Answer::status(200)
                    .header("docker-content-digest", &digest)
                    .header("content-type", media_type)
            }
            Some((media_type, bytes)) => match seen.range {
                Some(range) if self.ranges.load(Ordering::Relaxed) => Answer::part(bytes, range),
                _ => Answer::bytes(bytes.clone()).header("content-type", media_type),
            },
        }
    }
}

/// `bytes=FIRST-LAST`
fn range(text: &str) -> Option<(u64, u64)> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?))
}
