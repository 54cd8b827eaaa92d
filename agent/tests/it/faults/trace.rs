//! Where an agent is killed: each of its calls that changes something of the host, as strace tells of them, and in which step
//! of the reconciler it was made, as the agent's own log tells.
//!
//! Nothing in the agent names these points, so that none can be forgotten: what changes the host is a point.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use berth_domain::Step;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::host::plain;
use crate::world::Agent;

/// Calls by which something of the host appears, changes or goes, and those that ask others to do so: the kernel, a supervisor,
/// the process of a bridge.
const CHANGES: &str = "mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,rmdir,linkat,fsync,fdatasync,chown,sendto,sendmsg";
/// A program that is started is on its own from then on. What is written tells of the steps.
const TOLD: &str = "execve,write";
/// Microseconds that each change waits when it is done, so that a kill comes before the next of the same thread.
const DELAY: u32 = 8_000;
/// What changes nothing: the kernel and supervisors are only asked how things are.
const LOOKS: [&str; 6] = [
    "RTM_GET",
    "NFT_MSG_GET",
    "request\\\":\\\"status",
    "\\\"request\\\":\\\"watch",
    "\"\\\"status\\\"",
    "READY=1",
];

/// What an agent's life showed.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// In the order of their first, with the step that they are in: `Start: execve berth-supervisor`.
    pub points: Vec<String>,
    /// After which point it was killed.
    pub killed: Option<String>,
}

#[derive(Default)]
struct Armed {
    agent: Option<Pid>,
    /// Points after which it is killed.
    at: BTreeSet<String>,
    step: String,
    seen: Seen,
}

/// A look at a running agent. Dropped, it is over.
pub struct Trace {
    armed: Arc<Mutex<Armed>>,
    reader: Option<JoinHandle<()>>,
    strace: Child,
}

impl Trace {
    /// From now on the agent is killed after its first point that is among these.
    pub fn start(agent: &Agent, at: &BTreeSet<String>) -> Self {
        let pid = agent.pid();
        let (trace, delay) =
            (format!("trace={CHANGES},{TOLD}"), format!("inject={CHANGES}:delay_exit={DELAY}"));
        let mut command = Command::new("strace");
        command.args(["-f", "-b", "execve", "-yy", "-s", "200", "-p", &pid.to_string()]);
        command.args(["-e", &trace, "-e", &delay]);
        let mut strace = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(strace.stderr.take().unwrap()).lines().map_while(Result::ok);
        // It says so once it has all threads.
        let begun = lines.next().unwrap_or_default();
        assert!(begun.contains("attached"), "{begun}");
        let agent = Some(Pid::from_raw(pid.try_into().unwrap()));
        let armed = Armed { agent, at: at.clone(), ..Armed::default() };
        let armed = Arc::new(Mutex::new(armed));
        let reader = std::thread::spawn({
            let armed = Arc::clone(&armed);
            move || read(lines, &armed)
        });
        Self { armed, reader: Some(reader), strace }
    }

    /// Tells what was seen.
    pub fn end(self) -> Seen {
        let mut armed = self.armed.lock().unwrap();
        armed.agent = None;
        armed.seen.clone()
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        // Its agent was killed, and it ends with that: asked to let go at the same time, it would wait for ever.
        let is_over = self.armed.lock().is_ok_and(|mut armed| {
            armed.agent = None;
            armed.seen.killed.is_some()
        });
        if !is_over {
            let _ = kill(Pid::from_raw(i32::try_from(self.strace.id()).unwrap()), Signal::SIGTERM);
        }
        let _ = self.strace.wait();
        let _ = self.reader.take().map(JoinHandle::join);
    }
}

fn read(lines: impl Iterator<Item = String>, armed: &Mutex<Armed>) {
    // Of a call in which another thread's came between, by its thread.
    let mut begun = BTreeMap::new();
    for line in lines {
        // Of messages of its own there are none in this form.
        let call = line.strip_prefix("[pid ").and_then(|line| line.split_once("] "));
        let Some((thread, call)) = call else { continue };
        if let Some(call) = call.strip_suffix("<unfinished ...>") {
            begun.insert(thread.to_owned(), call.to_owned());
            continue;
        }
        let call = match call.split_once(" resumed>") {
            Some((_, end)) => begun.remove(thread).unwrap_or_default() + end,
            None => call.trim_start().to_owned(),
        };
        let mut now = armed.lock().unwrap();
        if let Some((_, step)) = call.split_once(" step=").filter(|_| call.contains("converge: step")) {
            now.step = step.chars().take_while(char::is_ascii_alphabetic).collect();
        }
        let Some(agent) = now.agent else { continue };
        let Some(point) = point(&call) else { continue };
        let point = format!("{}: {point}", now.step);
        if !now.seen.points.contains(&point) {
            now.seen.points.push(point.clone());
        }
        if now.at.contains(&point) {
            // In this moment it may have ended by itself.
            let _ = kill(agent, Signal::SIGKILL);
            now.seen.killed = Some(point);
            now.agent = None;
        }
    }
}

/// The change that a call made: how, and of what.
fn point(call: &str) -> Option<String> {
    let starts_program = call.starts_with("execve(");
    if !starts_program && (!call.contains("(DELAYED)") || call.contains(" = -1 ")) {
        return None;
    }
    if LOOKS.iter().any(|look| call.contains(look)) {
        return None;
    }
    let (name, rest) = call.split_once('(')?;
    let quoted = || rest.split('"').skip(1).step_by(2);
    let on = match name {
        "sendto" => rest.split("nlmsg_type=").nth(1)?.split(',').next()?.to_owned(),
        // Of ours, which are JSON: the request's first words.
        "sendmsg" => words(rest.split("iov_base=\"").nth(1)?),
        "fsync" | "fdatasync" => rest.split('<').nth(1)?.split('>').next()?.to_owned(),
        // Where it is from then on.
        name if name.starts_with("rename") => quoted().last()?.to_owned(),
        _ => quoted().next()?.to_owned(),
    };
    Some(format!("{name} {}", plain(on.rsplit('/').next().unwrap_or(&on))))
}

fn words(text: &str) -> String {
    let words =
        text.split("\\\"").filter(|word| word.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'-'));
    words.filter(|word| !word.is_empty()).take(2).collect::<Vec<_>>().join(" ")
}

/// What an operation is to be killed in: with it, all steps of the reconciler are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Create,
    Change,
    Restart,
    Rebuild,
    Stop,
    Exit,
    Delete,
}

/// The steps of the reconciler, and in which operation there must be a point within each.
macro_rules! steps {
    ($($step:pat => $name:literal in $operation:expr),* $(,)?) => {
        /// Fails to compile where the reconciler has a step that is not in the list.
        #[allow(dead_code, reason = "that it compiles is the check")]
        fn name(step: Step) -> &'static str {
            match step { $($step => $name),* }
        }
        const STEPS: &[(&str, Option<Operation>)] = &[$(($name, $operation)),*];
    };
}

steps! {
    Step::PrepareRootfs(_) => "PrepareRootfs" in Some(Operation::Create),
    // Of ports that are claimed only the agent's memory knows.
    Step::ClaimPorts => "ClaimPorts" in None,
    Step::EnsureNetwork => "EnsureNetwork" in Some(Operation::Create),
    Step::Start => "Start" in Some(Operation::Create),
    Step::PublishPorts => "PublishPorts" in Some(Operation::Create),
    Step::ApplySettings => "ApplySettings" in Some(Operation::Change),
    Step::Stop => "Stop" in Some(Operation::Restart),
    Step::KeepOnlyRootfs(_) => "KeepOnlyRootfs" in Some(Operation::Rebuild),
    Step::WithdrawPorts => "WithdrawPorts" in Some(Operation::Delete),
    Step::RemoveData => "RemoveData" in Some(Operation::Delete),
    Step::RecordExit => "RecordExit" in Some(Operation::Exit),
}

/// The steps in which an operation must have been killed.
pub fn of(operation: Operation) -> impl Iterator<Item = &'static str> {
    STEPS.iter().filter(move |(_, of)| *of == Some(operation)).map(|(name, _)| *name)
}
