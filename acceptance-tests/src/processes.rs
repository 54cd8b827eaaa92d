//! What every process of the machine shows of itself to all others.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

const INTERVAL: Duration = Duration::from_millis(5);

/// Looks at all command lines over and over, for texts that should be in none.
pub struct Watch {
    end: Sender<()>,
    thread: JoinHandle<Vec<String>>,
}

impl Watch {
    /// Begins to look.
    #[must_use]
    pub fn begin(secrets: &[&str]) -> Self {
        let secrets: Vec<String> = secrets.iter().map(|secret| (*secret).to_owned()).collect();
        let (end, ended) = channel();
        let thread = std::thread::spawn(move || {
            let mut found = Vec::new();
            while ended.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                found.extend(
                    command_lines().filter(|line| secrets.iter().any(|secret| line.contains(secret))),
                );
            }
            found
        });
        Self { end, thread }
    }

    /// Stops looking; the command lines that held one.
    pub fn end(self) -> Vec<String> {
        drop(self.end);
        self.thread.join().unwrap_or_else(|_| vec!["the watch itself failed".to_owned()])
    }
}

fn command_lines() -> impl Iterator<Item = String> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    // One that is gone by now shows nothing.
    processes.filter_map(|entry| {
        let bytes = std::fs::read(entry.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&bytes).replace('\0', " "))
    })
}
