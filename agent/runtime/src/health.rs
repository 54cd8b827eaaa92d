//! How a workload's health is asked for, and what is known of it. The semantics are Docker's.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::text::Text;

/// A health check. The supervisor makes it, so that it goes on when no agent is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthSpec {
    /// What is tried.
    pub probe: Probe,
    /// Milliseconds from the start to the first try, and from the end of one to the next.
    pub interval_ms: u64,
    /// Milliseconds that one may take.
    pub timeout_ms: u64,
    /// Failures in a row that make the workload unhealthy.
    pub retries: u32,
    /// Milliseconds from the start in which failures do not count; a success ends it.
    pub start_period_ms: u64,
}

/// What is tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Probe {
    /// A program beside the workload, which is to end with 0.
    Exec {
        /// It and its arguments.
        argv: Vec<Text>,
    },
    /// A request inside, to be answered with a status from 200 to 399.
    Http {
        /// On any of the instance's own addresses.
        port: u16,
        /// With its query.
        path: String,
        /// `berth-tls-probe`, where it is to go over TLS; else it is plain.
        #[serde(default)]
        tls: Option<PathBuf>,
    },
    /// A connection inside.
    Tcp {
        /// On any of the instance's own addresses.
        port: u16,
    },
}

/// How a workload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Not known yet.
    Starting,
    /// The last try succeeded, or not enough failed since.
    Healthy,
    /// As many failed in a row as make it so.
    Unhealthy,
}

/// What is known of a workload's health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// How it is.
    pub state: State,
    /// Failures in a row.
    pub failures: u32,
    /// What the last try said.
    pub output: String,
}

impl Health {
    /// Of a workload that has just begun.
    #[must_use]
    pub fn starting() -> Self {
        Self { state: State::Starting, failures: 0, output: String::new() }
    }

    /// Notes a try. `early`: within the start period, and none has succeeded yet.
    pub fn note(&mut self, succeeded: bool, output: String, early: bool, retries: u32) {
        self.output = output;
        if succeeded {
            self.failures = 0;
            self.state = State::Healthy;
        } else if !(early && self.state == State::Starting) {
            self.failures = self.failures.saturating_add(1);
            if self.failures >= retries {
                self.state = State::Unhealthy;
            }
        }
    }
}

/// The request of a check: HTTP/1.1, RFC 9112.
#[must_use]
pub fn request(port: u16, path: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nUser-Agent: berth-health\r\nAccept: */*\r\nConnection: \
         close\r\n\r\n"
    )
    .into_bytes()
}

/// What the first line of an answer says, once it is whole: `Ok` where that is well.
#[must_use]
pub fn judge(answer: &[u8]) -> Option<Result<String, String>> {
    const LONGEST: usize = 1024;
    let no_http = || Err("the answer is not HTTP".to_owned());
    let Some(end) = answer.iter().take(LONGEST).position(|byte| *byte == b'\n') else {
        return (answer.len() >= LONGEST).then(no_http);
    };
    let line = String::from_utf8_lossy(&answer[..end]);
    let line = line.trim_end();
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)?.parse::<u16>().ok());
    Some(match status {
        Some(200..=399) => Ok(line.to_owned()),
        Some(_) => Err(line.to_owned()),
        None => no_http(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(answer: &[u8]) -> Option<bool> {
        judge(answer).map(|verdict| verdict.is_ok())
    }

    #[test]
    fn the_status_of_an_answer_is_its_verdict() {
        assert_eq!(said(b"HTTP/1.1 20"), None);
        assert_eq!(said(b"HTTP/1.1 200 OK\r\n"), Some(true));
        assert_eq!(said(b"HTTP/1.0 301 Moved\r\nLocation"), Some(true));
        assert_eq!(said(b"HTTP/1.1 503 Busy\r\n"), Some(false));
        assert_eq!(said(b"SSH-2.0\n"), Some(false));
        assert_eq!(said(&[b'x'; 2000]), Some(false));
        let long = [b"HTTP/1.1 200 ", [b'x'; 2000].as_slice(), b"\r\n"].concat();
        assert_eq!(said(&long), Some(false), "no more of a line than that is kept");
    }

    #[test]
    fn failures_count_after_the_start_period_and_only_in_a_row() {
        let mut health = Health::starting();
        let mut note = |succeeded, early| {
            health.note(succeeded, String::new(), early, 2);
            (health.state, health.failures)
        };
        assert_eq!(note(false, true), (State::Starting, 0));
        assert_eq!(note(false, true), (State::Starting, 0));
        assert_eq!(note(false, false), (State::Starting, 1));
        assert_eq!(note(true, false), (State::Healthy, 0));
        assert_eq!(note(false, true), (State::Healthy, 1), "a success has ended the start period");
        assert_eq!(note(true, false), (State::Healthy, 0));
        assert_eq!(note(false, false), (State::Healthy, 1));
        assert_eq!(note(false, false), (State::Unhealthy, 2));
        assert_eq!(note(true, false), (State::Healthy, 0));
    }
}
