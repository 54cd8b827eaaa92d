//! What the supervisor answers on its control socket.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use berth_guest_protocol::message::Size;
use berth_process::program::Stdio;
use berth_process::rlimits;
use berth_runtime::control::{Event, Request, Response, State, Status, Update};
use berth_runtime::file::FileWrite;
use berth_runtime::launch::LaunchError;
use berth_runtime::spec::{InterfaceSpec, ProcessSpec, VERSION};
use berth_sys::cgroup::CgroupError;
use berth_sys::process::signal_pidfd;
use nix::sys::signal::Signal;

use super::{Supervisor, Workload};
use crate::container::{files, session};
use crate::control::Exec;
use crate::machine::TOO_MANY;

const A_FILE_AT_A_TIME: &str = "one descriptor comes with a file";
pub(super) const NOT_RUNNING: &str = "the instance is not running";
const ONE_AT_A_TIME: &str = "one program a connection";
const DESCRIPTORS: &str = "a terminal takes one descriptor, anything else three";

impl Supervisor {
    pub(super) fn answer(&mut self, index: usize, request: Request) {
        let response = match request {
            Request::Status => Response::Status(self.status()),
            Request::Watch => {
                self.connections[index].watching = true;
                self.connections[index].send(&Response::Done);
                let present = Response::Event(self.present());
                self.connections[index].send(&present);
                let Some(health) = self.present_health() else { return };
                Response::Event(health)
            }
            Request::Stop { force } => {
                self.stop(force, true);
                Response::Done
            }
            Request::Update(update) => match self.begin_update(index, update) {
                Some(response) => response,
                None => return,
            },
            Request::Usage => self.usage(),
            Request::Exec { process, terminal } => match self.exec(index, &process, terminal) {
                Some(response) => response,
                None => return,
            },
            Request::Reach { port } => match self.reach(index, port) {
                Some(response) => response,
                None => return,
            },
            Request::PutFile(write) => self.put_file(index, write),
            Request::GetFile { path } => self.get_file(index, &path),
            Request::Resize { rows, columns } => self.resize(index, Size { rows, columns }),
            Request::Signal { signal } => self.signal(index, signal),
        };
        self.connections[index].send(&response);
    }

    fn status(&self) -> Status {
        let state = match &self.workload {
            Workload::Running(running) if running.is_stopping() => State::Stopping,
            Workload::Running(running) => {
                State::Running { pid: running.pid(), started_at_ms: running.started_at_ms }
            }
            Workload::Waiting(waiting) => State::Waiting {
                exit: waiting.exit.clone(),
                delay_ms: u64::try_from(waiting.until.saturating_duration_since(Instant::now()).as_millis())
                    .unwrap_or(u64::MAX),
            },
            Workload::Gone(_) => State::Stopping,
        };
        let (health, clamped) = (self.health().cloned(), rlimits::clamped(&self.spec.process.rlimits));
        Status {
            version: VERSION,
            state,
            restarts: self.restarts,
            health,
            clamped,
            interfaces: self.interfaces(),
        }
    }

    /// The event that brought about how things are.
    fn present(&self) -> Event {
        match &self.workload {
            Workload::Running(running) => Event::Started {
                pid: running.pid(),
                started_at_ms: running.started_at_ms,
                restarts: self.restarts,
            },
            Workload::Waiting(waiting) => Event::Restarting { exit: waiting.exit.clone(), delay_ms: 0 },
            Workload::Gone(record) => Event::Gone(record.clone()),
        }
    }

    /// A limit that the kernel does not take; all is as it was.
    pub(super) fn limit_refused(&mut self, error: &CgroupError) -> Response {
        // A change is made whole or not at all.
        let _ = self.host.cgroup.set_limits(&crate::host::limits(&self.spec.cgroup));
        let limit = limit_of(&error.path).to_owned();
        Response::LimitRefused { limit, errno: error.source.raw_os_error().unwrap_or(0) }
    }

    pub(super) fn update(&mut self, update: Update) -> Response {
        if (&update.cgroup.parent, &update.cgroup.name) != (&self.spec.cgroup.parent, &self.spec.cgroup.name)
        {
            return Response::Refused { reason: "the control group cannot be renamed".into() };
        }
        if let Err(error) = self.host.cgroup.set_limits(&crate::host::limits(&update.cgroup)) {
            return self.limit_refused(&error);
        }
        self.allow_devices();
        let networks = update.networks.unwrap_or_else(|| self.spec.networks.clone());
        // An interface that differs in anything is taken out: its lease ends before it.
        let stay: Vec<_> =
            networks.iter().filter(|one| self.spec.networks.iter().any(|had| had.is_same(one))).collect();
        let stay: Vec<String> = stay.into_iter().map(|one| one.name.clone()).collect();
        self.give_leases_back(|name| !stay.iter().any(|one| one == name));
        let changed = self.change_interfaces(&networks).and_then(|()| {
            // Last, since what was written cannot be unwritten.
            self.change_contents(update.mounts, update.writes)
                .inspect_err(|_| drop(self.change_interfaces(&self.spec.networks.clone())))
        });
        if let Err(error) = changed {
            self.take_leases();
            let _ = self.host.cgroup.set_limits(&crate::host::limits(&self.spec.cgroup));
            return Response::UpdateFailed(error);
        }
        self.notify(update.notify);
        self.interfaces_changed(networks);
        self.spec.restart = update.restart;
        self.spec.stop = update.stop;
        self.spec.cgroup = update.cgroup;
        if let (Some(vm), Some(size)) = (&mut self.spec.vm, update.machine) {
            (vm.cpus, vm.memory_bytes) = (size.cpus, size.memory_bytes);
        }
        if self.spec.health != update.health {
            self.spec.health = update.health;
            self.watch_health();
            if let Some(check) = &self.check {
                let event = Event::Health(check.health().clone());
                self.announce(&event);
            }
        }
        Response::Done
    }

    /// Those of a machine that runs have been changed before.
    fn change_interfaces(&mut self, wanted: &[InterfaceSpec]) -> Result<(), LaunchError> {
        if self.running_machine().is_some() {
            return Ok(());
        }
        self.host.change_interfaces(wanted)
    }

    /// `None` where the answer is not known yet.
    fn exec(&mut self, index: usize, process: &ProcessSpec, terminal: bool) -> Option<Response> {
        let descriptors = std::mem::take(&mut self.connections[index].descriptors);
        if self.connections[index].exec.is_some() {
            return Some(Response::Refused { reason: ONE_AT_A_TIME.into() });
        }
        if self.spec.vm.is_none() {
            return Some(self.exec_in_container(index, process, terminal, descriptors));
        }
        if descriptors.len() != if terminal { 1 } else { 3 } {
            return Some(Response::Refused { reason: DESCRIPTORS.into() });
        }
        self.exec_in_guest(index, process, descriptors)
    }

    /// `None` where the answer is not known yet.
    fn reach(&mut self, index: usize, port: u16) -> Option<Response> {
        let refused = |reason: &str| Some(Response::Refused { reason: reason.into() });
        if self.connections[index].exec.is_some() {
            return refused(ONE_AT_A_TIME);
        }
        match self.machine() {
            Some(machine) if machine.is_up() => match machine.link.connect(port, false) {
                Some(session) => {
                    self.connections[index].exec = Some(Exec::Reach(session));
                    None
                }
                None => refused(TOO_MANY),
            },
            _ => refused("no machine runs"),
        }
    }

    fn exec_in_container(
        &mut self,
        index: usize,
        process: &ProcessSpec,
        terminal: bool,
        descriptors: Vec<OwnedFd>,
    ) -> Response {
        let mut descriptors = descriptors.into_iter();
        let Workload::Running(running) = &self.workload else {
            return Response::Refused { reason: NOT_RUNNING.into() };
        };
        let stdio = match (terminal, descriptors.next(), descriptors.next(), descriptors.next()) {
            (true, Some(master_to), None, None) => Stdio::Terminal { master_to },
            (false, Some(stdin), Some(stdout), Some(stderr)) => {
                match Stdio::given(stdin, stdout, stderr, self.spec.ids.host_base) {
                    Ok(stdio) => stdio,
                    Err(error) => return Response::Refused { reason: error.to_string() },
                }
            }
            _ => {
                return Response::Refused { reason: DESCRIPTORS.into() };
            }
        };
        match session::start(process, &stdio, running.init(), &self.host, &self.profile) {
            Ok(child) => {
                let pid = child.pid.as_raw();
                self.connections[index].exec = Some(Exec::Process(child));
                Response::ExecStarted { pid }
            }
            Err(error) => Response::ExecFailed(error),
        }
    }

    fn put_file(&mut self, index: usize, write: FileWrite) -> Response {
        let content = self.connections[index].descriptors.pop();
        match (&self.workload, content) {
            (Workload::Running(running), Some(content)) => {
                let put = files::put(write, content.into(), running.init());
                self.machine_sees_files();
                put.map_or_else(Response::FileFailed, |()| Response::Done)
            }
            (_, None) => Response::Refused { reason: A_FILE_AT_A_TIME.into() },
            _ => Response::Refused { reason: NOT_RUNNING.into() },
        }
    }

    fn get_file(&mut self, index: usize, path: &Path) -> Response {
        let reader = self.connections[index].descriptors.pop();
        match (&self.workload, reader) {
            (Workload::Running(running), Some(reader)) => {
                let sent = files::open_for(reader.as_fd(), path, running.init());
                sent.map_or_else(Response::FileFailed, |()| Response::Done)
            }
            (_, None) => Response::Refused { reason: A_FILE_AT_A_TIME.into() },
            _ => Response::Refused { reason: NOT_RUNNING.into() },
        }
    }

    fn signal(&mut self, index: usize, signal: i32) -> Response {
        let child = match &self.connections[index].exec {
            Some(Exec::Process(child)) => child,
            Some(Exec::Guest(pump)) => {
                let session = pump.session;
                if let Some(machine) = self.machine() {
                    machine.link.signal(session, signal);
                }
                return Response::Done;
            }
            Some(Exec::Reach(_)) | None => {
                return Response::Refused { reason: "nothing runs on this connection".into() };
            }
        };
        match Signal::try_from(signal)
            .map_err(std::io::Error::from)
            .and_then(|signal| signal_pidfd(child.pidfd.as_fd(), signal))
        {
            Ok(()) => Response::Done,
            Err(error) => Response::Refused { reason: error.to_string() },
        }
    }
}

/// The limit, as the API names it, that is written to a control group's file.
pub fn limit_of(file: &Path) -> &'static str {
    match file.file_name().and_then(|name| name.to_str()).unwrap_or_default() {
        "memory.memsw.limit_in_bytes" | "memory.swap.max" => "swap",
        name if name.starts_with("memory") => "memory",
        name if name.starts_with("pids") => "pids",
        name if name.starts_with("cpuset") => "cpuset",
        name if name.starts_with("blkio") || name.starts_with("io.") => "io_weight",
        _ => "cpu",
    }
}
