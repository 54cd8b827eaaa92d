//! As much of PostgreSQL's protocol as asks one question: start-up without a password, one simple query.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const PROTOCOL_3: i32 = 196_608;

/// Runs a query as `postgres` on loopback; gives the first column of every row.
pub fn query(port: u16, sql: &str) -> Result<Vec<String>, String> {
    ask(port, sql).map_err(|error| error.to_string())
}

fn ask(port: u16, sql: &str) -> io::Result<Vec<String>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut startup = PROTOCOL_3.to_be_bytes().to_vec();
    startup.extend_from_slice(b"user\0postgres\0database\0postgres\0\0");
    stream.write_all(&with_length(&startup))?;
    until_ready(&mut stream)?;
    let mut text = sql.as_bytes().to_vec();
    text.push(0);
    stream.write_all(b"Q")?;
    stream.write_all(&with_length(&text))?;
    until_ready(&mut stream)
}

fn with_length(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    [&length.to_be_bytes(), body].concat()
}

/// Reads messages up to ReadyForQuery; an ErrorResponse is an error.
fn until_ready(stream: &mut TcpStream) -> io::Result<Vec<String>> {
    let mut rows = Vec::new();
    loop {
        let mut head = [0; 5];
        stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        let mut body = vec![0; (length as usize).saturating_sub(4)];
        stream.read_exact(&mut body)?;
        match head[0] {
            b'Z' => return Ok(rows),
            b'E' => return Err(io::Error::other(String::from_utf8_lossy(&body).replace('\0', " "))),
            b'D' => rows.push(first_column(&body)),
            _ => {}
        }
    }
}

fn first_column(row: &[u8]) -> String {
    let Some(length) = row.get(2..6) else { return String::new() };
    let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
    String::from_utf8_lossy(row.get(6..6 + length).unwrap_or_default()).into_owned()
}
