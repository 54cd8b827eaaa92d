//! Waiting for what no event announces, and asking a server over HTTP.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::Error;

/// How long one answer of a server on loopback may take.
pub const ONE_ANSWER: Duration = Duration::from_secs(5);
const INTERVAL: Duration = Duration::from_millis(20);

/// Tries until there is something or the time is up: for what other programs do and tell nobody.
#[allow(clippy::disallowed_methods, reason = "bounded, and what is awaited is another program's doing")]
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut attempt: impl FnMut() -> Result<T, String>,
) -> Result<T, Error> {
    let deadline = Instant::now() + limit;
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(seen) if Instant::now() >= deadline => {
                return Err(Error::Timeout { what: what.to_owned(), seconds: limit.as_secs(), seen });
            }
            Err(_) => std::thread::sleep(INTERVAL),
        }
    }
}

/// The body of a page, once the server answers with 200.
pub fn page(port: u16, path: &str) -> Result<String, Error> {
    until(&format!("an answer on 127.0.0.1:{port}{path}"), Duration::from_secs(20), || get(port, path))
}

/// One GET on loopback: the body of an answer of 200, or what came instead.
pub fn get(port: u16, path: &str) -> Result<String, String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(ONE_ANSWER)).map_err(|error| error.to_string())?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(|error| error.to_string())?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        return Err(format!("an answer without a head: {answer:?}"));
    };
    match head.split_whitespace().nth(1) {
        Some("200") => Ok(body.to_owned()),
        _ => Err(head.to_owned()),
    }
}
