//! How long the client waits, for what, and how often it asks again.

use std::hash::{BuildHasher, Hasher};
use std::time::{Duration, Instant, SystemTime};

use reqwest::header::RETRY_AFTER;
use reqwest::{Response, StatusCode};

use super::error::RegistryError;

/// Bounds in time on what a registry may do to its client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patience {
    /// A connection that is not there by then is no connection.
    pub connect: Duration,
    /// From a request to the head of its answer.
    pub answer: Duration,
    /// A manifest, a config, a token or a page of a list is whole by then.
    pub document: Duration,
    /// A layer is whole by then, however large it is.
    pub layer: Duration,
    /// The time over which the rate of a transfer is looked at. Only waiting for the network counts.
    pub rate_window: Duration,
    /// A transfer that brings fewer bytes a second than this, over a whole window, has stalled.
    pub min_rate: u64,
    /// One request is sent at most this often while the registry answers 429 or 5xx, and so is one for a layer whose
    /// transfer breaks.
    pub attempts: u32,
    /// The first pause; each further one is twice as long.
    pub first_pause: Duration,
    /// A registry that wants a longer pause than this gets it told to the user.
    pub max_pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            answer: Duration::from_secs(30),
            document: Duration::from_secs(120),
            layer: Duration::from_secs(12 * 60 * 60),
            rate_window: Duration::from_secs(30),
            min_rate: 4 * 1024,
            attempts: 4,
            first_pause: Duration::from_millis(250),
            max_pause: Duration::from_secs(20),
        }
    }
}

impl Patience {
    /// Twice as long each time, and between half and all of that, so that many clients do not come back at once.
    fn backoff(&self, attempt: u32) -> Duration {
        let full = self.first_pause * 2u32.saturating_pow(attempt.saturating_sub(1));
        let random = std::hash::RandomState::new().build_hasher().finish() % 512;
        full / 2 + full * u32::try_from(random).unwrap_or(0) / 1024
    }
}

/// The attempts at one thing.
#[derive(Debug)]
pub(crate) struct Attempts<'p> {
    patience: &'p Patience,
    made: u32,
}

impl<'p> Attempts<'p> {
    pub(super) fn new(patience: &'p Patience) -> Self {
        Self { patience, made: 0 }
    }

    /// Waits before another attempt; says `false` at once where there is none left.
    pub(crate) async fn another(&mut self) -> bool {
        self.again_after(None).await
    }

    async fn again_after(&mut self, least: Option<Duration>) -> bool {
        self.made += 1;
        if self.made >= self.patience.attempts {
            return false;
        }
        // Not all who were told the same second come at the same moment.
        let pause = least.unwrap_or_default() + self.patience.backoff(self.made);
        wait(pause).await;
        true
    }

    /// Whether to send the request of this answer again; the pause that the registry asks for has passed then.
    pub(super) async fn after(&mut self, response: &Response) -> bool {
        if !is_busy(response.status()) {
            return false;
        }
        let asked = retry_after(response);
        if asked.is_some_and(|pause| pause > self.patience.max_pause) {
            return false;
        }
        self.again_after(asked).await
    }
}

#[allow(clippy::disallowed_methods, reason = "the pause that the registry asked for, or a bounded backoff")]
async fn wait(pause: Duration) {
    tokio::time::sleep(pause).await;
}

fn is_busy(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 500 | 502 | 503 | 504)
}

/// `Retry-After` as seconds or as a date.
pub(super) fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

/// The body of an answer, chunk by chunk, at no less than the least rate.
#[derive(Debug)]
pub(crate) struct Body {
    response: Response,
    address: String,
    window: Duration,
    /// Bytes that a window must bring.
    least: u64,
    waited: Duration,
    received: u64,
    deadline: Instant,
}

impl Body {
    pub(super) fn new(response: Response, address: &str, patience: &Patience, whole: Duration) -> Self {
        Self {
            response,
            address: address.to_owned(),
            window: patience.rate_window,
            least: patience.min_rate.saturating_mul(patience.rate_window.as_millis() as u64) / 1000,
            waited: Duration::ZERO,
            received: 0,
            deadline: Instant::now() + whole,
        }
    }

    /// What the answer says its length is.
    pub(super) fn length(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// The next chunk; `None` at the end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<bytes::Bytes>, RegistryError> {
        loop {
            let begin = Instant::now();
            if begin >= self.deadline {
                return Err(self.too_slow());
            }
            let left = (self.window - self.waited).min(self.deadline - begin);
            let came = tokio::time::timeout(left, self.response.chunk()).await;
            self.waited += begin.elapsed();
            if let Ok(Ok(Some(chunk))) = &came {
                self.received += chunk.len() as u64;
            }
            if self.waited >= self.window && !matches!(came, Ok(Ok(None))) {
                if self.received < self.least {
                    return Err(self.too_slow());
                }
                self.waited = Duration::ZERO;
                self.received = 0;
            }
            if let Ok(chunk) = came {
                return chunk.map_err(|source| RegistryError::transfer(&self.address, source));
            }
        }
    }

    fn too_slow(&self) -> RegistryError {
        RegistryError::TooSlow {
            address: self.address.clone(),
            bytes: self.received,
            seconds: self.waited.as_secs_f32(),
        }
    }

    /// Reads the whole into memory, but never more than the limit.
    pub(super) async fn bounded(mut self, limit: u64, what: &str) -> Result<Vec<u8>, RegistryError> {
        let too_large = || RegistryError::TooLarge { what: what.to_owned(), limit };
        if self.length().is_some_and(|length| length > limit) {
            return Err(too_large());
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if (bytes.len() + chunk.len()) as u64 > limit {
                return Err(too_large());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_differ() {
        let patience = Patience::default();
        for attempt in 1..4 {
            let full = patience.first_pause * 2u32.pow(attempt - 1);
            let pause = patience.backoff(attempt);
            assert!(pause >= full / 2 && pause <= full, "{pause:?}");
        }
        let pauses: std::collections::HashSet<Duration> = (0..100).map(|_| patience.backoff(1)).collect();
        assert!(pauses.len() > 10, "{pauses:?}");
    }
}
