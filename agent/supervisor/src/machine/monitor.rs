//! QEMU's monitor: commands in, their results out, as a JSON object a line. It has no path: QEMU inherits its end. A command
//! waits for the answer to the one before it, so that a descriptor is the one that came last.
//!
//! What QEMU says is bounded and trusted with nothing: a guest that broke out of it could say anything.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use berth_sys::socket::send_with_descriptors;
use serde_json::{Value, json};

use super::qemu;

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
    /// To plug in the interface of this place.
    PlugIn(u32),
    /// To have the guest let go of it.
    TakeOut(u32),
    /// To let go of what was behind it, if there is anything.
    Forget,
}

/// What QEMU has said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// It was done.
    Done(Task),
    /// It was not.
    Refused {
        /// What.
        task: Task,
        /// Why.
        reason: String,
        /// Of a device that it does not have.
        is_missing: bool,
    },
    /// The guest has let go of a device, and it is gone.
    Deleted(String),
}

struct Command {
    task: Task,
    line: Vec<u8>,
    descriptor: Option<OwnedFd>,
}

/// The supervisor's end.
pub struct Monitor {
    stream: Option<UnixStream>,
    input: Vec<u8>,
    queue: VecDeque<Command>,
    /// What of the first is not sent yet.
    unsent: Vec<u8>,
    asked: Option<Task>,
}

impl Monitor {
    /// Over one end of a pair.
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let mut monitor = Self {
            stream: Some(stream),
            input: Vec::new(),
            queue: VecDeque::new(),
            unsent: Vec::new(),
            asked: None,
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
        let can_ask = self.asked.is_none() && !self.queue.is_empty();
        self.stream.is_some() && (can_ask || !self.unsent.is_empty())
    }

    /// Whether nothing is waited for.
    pub fn is_idle(&self) -> bool {
        self.asked.is_none() && self.queue.is_empty()
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

    /// Plugs in an interface: the end of a tap, and the card in front of it.
    pub fn add_interface(&mut self, slot: u32, tap: OwnedFd, card: &Value) {
        let (task, name) = (Task::PlugIn(slot), qemu::netdev(slot));
        self.ask(task, "getfd", &json!({ "fdname": name }));
        if let Some(command) = self.queue.back_mut() {
            command.descriptor = Some(tap);
        }
        self.ask(task, "netdev_add", &json!({ "type": "tap", "id": name, "fd": name }));
        self.ask(task, "device_add", card);
    }

    /// Asks the guest to let go of one; [`Said::Deleted`] follows when it has.
    pub fn take_out_interface(&mut self, slot: u32) {
        self.ask(Task::TakeOut(slot), "device_del", &json!({ "id": qemu::card(slot) }));
    }

    /// Lets go of what was behind one.
    pub fn forget_interface(&mut self, slot: u32) {
        let name = qemu::netdev(slot);
        self.ask(Task::Forget, "netdev_del", &json!({ "id": name }));
        self.ask(Task::Forget, "closefd", &json!({ "fdname": name }));
    }

    fn ask(&mut self, task: Task, command: &str, arguments: &Value) {
        let mut line = json!({ "execute": command, "arguments": arguments }).to_string().into_bytes();
        line.push(b'\n');
        self.queue.push_back(Command { task, line, descriptor: None });
    }

    /// Sends what can be sent without waiting.
    pub fn write(&mut self) {
        while self.has_output() {
            let mut descriptor = None;
            if self.unsent.is_empty()
                && let Some(command) = self.queue.pop_front()
            {
                (self.asked, self.unsent, descriptor) =
                    (Some(command.task), command.line, command.descriptor);
            }
            let Some(stream) = &self.stream else { return };
            let descriptors: Vec<_> = descriptor.iter().map(AsFd::as_fd).collect();
            match send_with_descriptors(stream.as_fd(), &self.unsent, &descriptors) {
                Ok(length) => drop(self.unsent.drain(..length)),
                // Between two commands QEMU has read all: there is room for one.
                Err(error) if error.kind() == io::ErrorKind::Interrupted && descriptor.is_none() => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && descriptor.is_none() => return,
                Err(_) => self.stream = None,
            }
        }
    }

    /// Takes what has come: what became of what was asked for, and what happened by itself.
    pub fn read(&mut self) -> Vec<Said> {
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
        let mut said = Vec::new();
        while let Some(end) = self.input.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.input.drain(..=end).collect();
            said.extend(self.heard(&line));
        }
        if self.input.len() > MAX_LINE {
            self.stream = None;
        }
        if self.stream.is_none() {
            let tasks = self.asked.take().into_iter().chain(self.queue.drain(..).map(|command| command.task));
            let reason = || "QEMU's monitor is gone".to_owned();
            said.extend(tasks.map(|task| Said::Refused { task, reason: reason(), is_missing: false }));
        }
        self.write();
        said
    }

    /// Its greeting and most of its events are passed over: what they tell of is asked of the guest.
    fn heard(&mut self, line: &[u8]) -> Option<Said> {
        let said: Value = serde_json::from_slice(line).ok()?;
        if said["event"] == "DEVICE_DELETED" {
            return said["data"]["device"].as_str().map(|device| Said::Deleted(device.to_owned()));
        }
        if said.get("return").is_some() {
            return self.asked.take().map(Said::Done);
        }
        let error = said.get("error")?;
        let reason = error["desc"].as_str().unwrap_or("it was refused").to_owned();
        let is_missing = error["class"] == "DeviceNotFound";
        if let Some(task @ Task::PlugIn(_)) = self.asked {
            // What would follow needs this.
            self.queue.retain(|command| command.task != task);
        }
        self.asked.take().map(|task| Said::Refused { task, reason, is_missing })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use berth_sys::socket::receive_with_descriptors;

    use super::*;

    fn hear(qemu: &UnixStream) -> (Value, usize) {
        let mut buffer = [0; 4096];
        let (length, descriptors) = receive_with_descriptors(qemu.as_fd(), &mut buffer).unwrap();
        (serde_json::from_slice(&buffer[..length]).unwrap(), descriptors.len())
    }

    #[test]
    fn each_waits_for_the_answer_to_the_one_before_and_events_belong_to_nothing() {
        let (ours, mut qemu) = UnixStream::pair().unwrap();
        let mut monitor = Monitor::new(ours).unwrap();
        monitor.add_processor("qemu64-x86_64-cpu", 2);
        monitor.set_memory("plugged", 4 << 20);
        monitor.write();
        assert_eq!(hear(&qemu).0["execute"], "qmp_capabilities");
        assert!(!monitor.has_output());
        qemu.write_all(b"{\"QMP\": {}}\r\n{\"return\": {}}\r\n{\"event\": \"RESUME\"}\r\nnonsense\n")
            .unwrap();
        assert_eq!(monitor.read(), [Said::Done(Task::Greet)]);
        assert_eq!(hear(&qemu).0["arguments"]["core-id"], 2);
        qemu.write_all(b"{\"error\": {\"class\": \"GenericError\", \"desc\": \"no room\"}}\r\n{\"ret")
            .unwrap();
        let (task, reason) = (Task::Processors, "no room".to_owned());
        assert_eq!(monitor.read(), [Said::Refused { task, reason, is_missing: false }]);
        assert_eq!(hear(&qemu).0["arguments"]["value"], 4 << 20);
        assert!(!monitor.is_idle());
        qemu.write_all(b"urn\": {}}\r\n").unwrap();
        assert_eq!(monitor.read(), [Said::Done(Task::Memory)]);
        assert!(monitor.is_idle());
    }

    #[test]
    fn an_interface_goes_in_with_its_descriptor_and_is_out_when_the_guest_has_let_go() {
        let (ours, mut qemu) = UnixStream::pair().unwrap();
        let mut monitor = Monitor::new(ours).unwrap();
        let tap = std::fs::File::open("/dev/null").unwrap();
        monitor.add_interface(3, tap.into(), &json!({ "id": "card3" }));
        monitor.take_out_interface(3);
        monitor.write();
        let mut heard = Vec::new();
        for _ in 0..5 {
            heard.push(hear(&qemu));
            qemu.write_all(b"{\"return\": {}}\n").unwrap();
            monitor.read();
        }
        let asked: Vec<_> =
            heard.iter().map(|(line, with)| (line["execute"].as_str().unwrap(), *with)).collect();
        let commands = ["qmp_capabilities", "getfd", "netdev_add", "device_add", "device_del"];
        assert_eq!(asked, commands.map(|name| (name, usize::from(name == "getfd"))));
        qemu.write_all(
            b"{\"event\": \"DEVICE_DELETED\", \"data\": {\"device\": \"card3\", \"path\": \"/x\"}}\n",
        )
        .unwrap();
        assert_eq!(monitor.read(), [Said::Deleted("card3".to_owned())]);
    }

    #[test]
    fn what_would_follow_a_refusal_of_an_interface_is_not_asked_for() {
        let (ours, mut qemu) = UnixStream::pair().unwrap();
        let mut monitor = Monitor::new(ours).unwrap();
        let tap = std::fs::File::open("/dev/null").unwrap();
        monitor.add_interface(3, tap.into(), &json!({ "id": "card3" }));
        monitor.write();
        for answer in ["{\"return\": {}}\n", "{\"return\": {}}\n"] {
            hear(&qemu);
            qemu.write_all(answer.as_bytes()).unwrap();
            monitor.read();
        }
        assert_eq!(hear(&qemu).0["execute"], "netdev_add");
        qemu.write_all(b"{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}}\n").unwrap();
        let (task, reason) = (Task::PlugIn(3), "no".to_owned());
        assert_eq!(monitor.read(), [Said::Refused { task, reason, is_missing: false }]);
        assert!(monitor.is_idle() && !monitor.has_output());
        // It never was in, which is told of a device that is not there.
        monitor.take_out_interface(3);
        monitor.write();
        assert_eq!(hear(&qemu).0["execute"], "device_del");
        qemu.write_all(b"{\"error\": {\"class\": \"DeviceNotFound\", \"desc\": \"none\"}}\n").unwrap();
        let (task, reason) = (Task::TakeOut(3), "none".to_owned());
        assert_eq!(monitor.read(), [Said::Refused { task, reason, is_missing: true }]);
    }

    #[test]
    fn who_is_gone_or_never_ends_a_line_is_given_up() {
        let (ours, qemu) = UnixStream::pair().unwrap();
        let mut monitor = Monitor::new(ours).unwrap();
        drop(qemu);
        let reason = "QEMU's monitor is gone".to_owned();
        let gone = Said::Refused { task: Task::Greet, reason, is_missing: false };
        assert_eq!(monitor.read(), std::slice::from_ref(&gone));

        let (ours, mut qemu) = UnixStream::pair().unwrap();
        let mut monitor = Monitor::new(ours).unwrap();
        let mut said = Vec::new();
        for _ in 0..=MAX_LINE / (8 * 1024) {
            qemu.write_all(&[b'x'; 8 * 1024]).unwrap();
            said.extend(monitor.read());
        }
        assert_eq!((said, monitor.fd().is_none()), (vec![gone], true));
    }
}
