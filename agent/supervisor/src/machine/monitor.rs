//! QEMU's monitor: commands in, their results out, as a JSON object a line. It has no path: QEMU inherits its end.
//!
//! What QEMU says is bounded and trusted with nothing: a guest that broke out of it could say anything.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

/// Of a line, in bytes: none that QEMU writes is as long.
const MAX_LINE: usize = 256 * 1024;

/// Reads at a time: more waits for the next turn of the loop.
const MAX_READS: usize = 4;

/// A change that QEMU was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// To listen.
    Greet,
    /// Something of the processors.
    Processors,
    /// Something of the memory.
    Memory,
}

/// What came of one.
pub type Outcome = Result<Task, (Task, String)>;

/// The supervisor's end.
pub struct Monitor {
    stream: Option<UnixStream>,
    input: Vec<u8>,
    output: VecDeque<u8>,
    /// In the order of their answers.
    waiting: VecDeque<Task>,
}

impl Monitor {
    /// Over one end of a pair.
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let mut monitor = Self {
            stream: Some(stream),
            input: Vec::new(),
            output: VecDeque::new(),
            waiting: VecDeque::new(),
        };
        monitor.ask(Task::Greet, "qmp_capabilities", &json!({}));
        Ok(monitor)
    }

    /// Readable when QEMU has said something; `None` when it has gone.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.stream.as_ref().map(AsFd::as_fd)
    }

    /// Whether something waits to be sent.
    pub fn has_output(&self) -> bool {
        self.stream.is_some() && !self.output.is_empty()
    }

    /// Whether nothing is waited for.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Plugs in a processor.
    pub fn add_processor(&mut self, driver: &str, number: u32) {
        let device = json!({
            "driver": driver, "id": format!("cpu{number}"), "socket-id": 0, "core-id": number, "thread-id": 0,
        });
        self.ask(Task::Processors, "device_add", &device);
    }

    /// Asks the guest's driver to have so much memory beside what it has booted with.
    pub fn set_memory(&mut self, device: &str, bytes: u64) {
        let path = format!("/machine/peripheral/{device}");
        let property = json!({ "path": path, "property": "requested-size", "value": bytes });
        self.ask(Task::Memory, "qom-set", &property);
    }

    fn ask(&mut self, task: Task, command: &str, arguments: &Value) {
        let line = json!({ "execute": command, "arguments": arguments }).to_string();
        self.output.extend(line.bytes().chain([b'\n']));
        self.waiting.push_back(task);
    }

    /// Sends what can be sent without waiting.
    pub fn write(&mut self) {
        while let Some(stream) = &mut self.stream
            && !self.output.is_empty()
        {
            match stream.write(self.output.as_slices().0) {
                Ok(length) => drop(self.output.drain(..length)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.stream = None,
            }
        }
    }

    /// Takes what has come; gives what became of what was asked for.
    pub fn read(&mut self) -> Vec<Outcome> {
        let mut buffer = [0; 16 * 1024];
        for _ in 0..MAX_READS {
            let Some(stream) = &mut self.stream else { break };
            match stream.read(&mut buffer) {
                Ok(length @ 1..) => self.input.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Ok(0) | Err(_) => self.stream = None,
            }
        }
        let mut outcomes = Vec::new();
        while let Some(end) = self.input.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.input.drain(..=end).collect();
            outcomes.extend(self.answer(&line));
        }
        if self.input.len() > MAX_LINE {
            self.stream = None;
        }
        if self.stream.is_none() {
            let gone = |task| Err((task, "QEMU's monitor is gone".to_owned()));
            outcomes.extend(self.waiting.drain(..).map(gone));
        }
        outcomes
    }

    /// Its greeting and its events are passed over: what they tell of is asked of the guest.
    fn answer(&mut self, line: &[u8]) -> Option<Outcome> {
        let said: Value = serde_json::from_slice(line).ok()?;
        if said.get("return").is_some() {
            return self.waiting.pop_front().map(Ok);
        }
        let reason = said.get("error")?.get("desc").and_then(Value::as_str).unwrap_or("it was refused");
        self.waiting.pop_front().map(|task| Err((task, reason.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_belong_to_what_was_asked_in_order_and_events_to_nothing() {
        let (ours, mut qemu) = UnixStream::pair().unwrap();
        let mut monitor = Monitor::new(ours).unwrap();
        monitor.add_processor("qemu64-x86_64-cpu", 2);
        monitor.set_memory("plugged", 4 << 20);
        monitor.write();
        let mut asked = [0; 4096];
        let length = qemu.read(&mut asked).unwrap();
        let asked = String::from_utf8(asked[..length].to_vec()).unwrap();
        let lines: Vec<Value> = asked.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[1]["arguments"]["core-id"], 2);
        assert_eq!(lines[2]["arguments"]["value"], 4 << 20);

        let said = "{\"QMP\": {}}\r\n{\"return\": {}}\r\n{\"event\": \"RESUME\"}\r\nnonsense\n\
                    {\"error\": {\"class\": \"GenericError\", \"desc\": \"no room\"}}\r\n{\"ret";
        qemu.write_all(said.as_bytes()).unwrap();
        let refused = Err((Task::Processors, "no room".to_owned()));
        assert_eq!(monitor.read(), [Ok(Task::Greet), refused]);
        assert!(!monitor.is_idle());
        qemu.write_all(b"urn\": {}}\r\n").unwrap();
        assert_eq!(monitor.read(), [Ok(Task::Memory)]);
        assert!(monitor.is_idle());
    }

    #[test]
    fn who_is_gone_or_never_ends_a_line_is_given_up() {
        let (ours, qemu) = UnixStream::pair().unwrap();
        let mut monitor = Monitor::new(ours).unwrap();
        drop(qemu);
        let gone = (Task::Greet, "QEMU's monitor is gone".to_owned());
        assert_eq!(monitor.read(), [Err(gone.clone())]);

        let (ours, mut qemu) = UnixStream::pair().unwrap();
        let mut monitor = Monitor::new(ours).unwrap();
        let mut outcomes = Vec::new();
        for _ in 0..=MAX_LINE / (8 * 1024) {
            qemu.write_all(&[b'x'; 8 * 1024]).unwrap();
            outcomes.extend(monitor.read());
        }
        assert_eq!((outcomes, monitor.fd().is_none()), (vec![Err(gone)], true));
    }
}
