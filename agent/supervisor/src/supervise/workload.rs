//! A workload that runs, and one that waits to run again.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use berth_process::program::Stdio;
use berth_runtime::control::{Event, Response};
use berth_runtime::exit::ExitRecord;
use berth_runtime::launch::{LaunchError, Stage};
use berth_runtime::spec::{LaunchSpec, RestartPolicy, RestartSpec};
use berth_sys::process::{Child, signal_pidfd};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::requests::NOT_RUNNING;
use super::{Supervisor, Token, Workload};
use crate::container::Profile;
use crate::container::attach::Attached;
use crate::container::init::{self, Init};
use crate::control::Exec;
use crate::failure::launch_error;
use crate::host::Host;
use crate::log::{Log, Stream};
use crate::machine::Machine;

/// The longest delay before a restart.
const MAX_DELAY_MS: u64 = 60_000;

/// A workload that ran this long was well: the next delay is the first again, as Docker has it.
const WELL_AFTER: Duration = Duration::from_secs(10);

/// Of the channel to a guest, each up to 64 KiB.
const MAX_LAST_READS: u32 = 64;

/// A workload that runs.
pub struct Running {
    init: Init,
    mounts: Vec<Attached>,
    /// The workload, or the QEMU that it runs in.
    child: Child,
    machine: Option<Box<Machine>>,
    stdout: Option<std::fs::File>,
    stderr: Option<std::fs::File>,
    started: Instant,
    /// Milliseconds since the epoch.
    pub started_at_ms: u64,
    oom_kills: u64,
    stopping: Option<Stopping>,
}

struct Stopping {
    /// When it is killed; `None` when it has been.
    deadline: Option<Instant>,
    asked: bool,
}

/// A workload that ended and will be started again.
pub struct Waiting {
    /// When.
    pub until: Instant,
    /// How it ended.
    pub exit: ExitRecord,
}

impl Running {
    /// Starts pid 1 and the workload beside it.
    pub fn start(spec: &LaunchSpec, host: &Host, profile: &Profile) -> Result<Self, LaunchError> {
        let oom_kills = host.cgroup.oom_kills().unwrap_or(0);
        if let Some(vm) = &spec.vm {
            let (init, child, machine) = Machine::start(spec, vm, host)?;
            return Ok(Self::new(init, child, Some(Box::new(machine)), [None, None], oom_kills));
        }
        let at = |error| launch_error(Stage::Exec, "a pipe")(error);
        let (stdout, stdout_writer) = pipe(spec.ids.host_base).map_err(at)?;
        let (stderr, stderr_writer) = pipe(spec.ids.host_base).map_err(at)?;
        let stdio = Stdio::Log { stdout: stdout_writer, stderr: stderr_writer };
        let (init, child) = init::start(spec, host, profile, &stdio)?;
        Ok(Self::new(init, child, None, [Some(stdout), Some(stderr)], oom_kills))
    }

    fn new(
        mut init: Init,
        child: Child,
        machine: Option<Box<Machine>>,
        [stdout, stderr]: [Option<std::fs::File>; 2],
        oom_kills: u64,
    ) -> Self {
        Self {
            mounts: std::mem::take(&mut init.mounts),
            init,
            child,
            machine,
            stdout,
            stderr,
            started: Instant::now(),
            started_at_ms: now_ms(),
            oom_kills,
            stopping: None,
        }
    }

    /// What it runs in, if that is a machine.
    pub(super) fn machine(&mut self) -> Option<&mut Machine> {
        self.machine.as_deref_mut()
    }

    /// As [`Self::machine`], to be looked at.
    pub(super) fn shown_machine(&self) -> Option<&Machine> {
        self.machine.as_deref()
    }

    /// Whether the workload's program was executed.
    pub fn is_up(&self) -> bool {
        self.machine.as_deref().is_none_or(Machine::is_up)
    }

    /// The machine has booted, and its workload was executed.
    pub(super) fn went_up(&mut self) {
        if let Some(machine) = &mut self.machine {
            machine.went_up();
        }
        (self.started, self.started_at_ms) = (Instant::now(), now_ms());
    }

    /// Something of the machine is of no more use.
    pub(super) fn fail(&mut self, reason: &str) {
        if let Some(machine) = &mut self.machine {
            machine.fail(reason);
        }
    }

    /// When the machine must be up, if it is not.
    pub(super) fn boot_deadline(&self) -> Option<Instant> {
        self.machine.as_deref().and_then(Machine::deadline)
    }

    /// What of a machine is waited for.
    pub(super) fn machine_fds(&self) -> Vec<(Token, BorrowedFd<'_>)> {
        let Some(machine) = &self.machine else { return Vec::new() };
        let mut fds: Vec<_> = machine.port().map(|fd| (Token::Guest, fd)).into_iter().collect();
        fds.extend(machine.plug.monitor.fd().map(|fd| (Token::Monitor, fd)));
        fds.extend(machine.consoles().map(|fd| (Token::Console, fd)));
        if machine.needs_share() {
            fds.push((Token::Share, machine.virtiofsd.pidfd.as_fd()));
        }
        fds
    }

    /// On the host, of the workload's first process.
    pub fn pid(&self) -> i32 {
        self.child.pid.as_raw()
    }

    /// Readable when the workload has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.child.pidfd.as_fd()
    }

    /// The container's pid 1.
    pub fn init(&self) -> &Init {
        &self.init
    }

    /// What users mount in it, and how it is entered for a change of that.
    pub fn mounts_and_init(&mut self) -> (&mut Vec<Attached>, &Init) {
        (&mut self.mounts, &self.init)
    }

    /// The outputs that are still open.
    pub fn outputs(&self) -> impl Iterator<Item = (Stream, BorrowedFd<'_>)> {
        let stdout = self.stdout.iter().map(|file| (Stream::Stdout, file.as_fd()));
        stdout.chain(self.stderr.iter().map(|file| (Stream::Stderr, file.as_fd())))
    }

    /// When it is killed, if it is being stopped.
    pub fn deadline(&self) -> Option<Instant> {
        self.stopping.as_ref()?.deadline
    }

    /// Whether it has been asked to end.
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_some()
    }

    /// Moves what the workload wrote to the log; at its end the output is closed.
    pub fn drain(&mut self, stream: Stream, log: &mut Log) {
        let output = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        let Some(file) = output else { return };
        // As much of the stack stays resident in every supervisor.
        let mut buffer = [0; 16 * 1024];
        // A few at a time: a workload that floods must not keep the supervisor from everything else.
        for _ in 0..64 {
            match file.read(&mut buffer) {
                Ok(0) => {
                    *output = None;
                    return;
                }
                Ok(length) => log.write(stream, &buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    *output = None;
                    return;
                }
            }
        }
    }

    fn drain_rest(&mut self, log: &mut Log) {
        // Bounded: all writers are dead, so there is at most what the pipes hold.
        for stream in [Stream::Stdout, Stream::Stderr] {
            self.drain(stream, log);
        }
    }

    /// Asks the workload to end, or kills it. `asked`: by the agent, not by the host's shutdown.
    pub fn stop(&mut self, signal: Option<Signal>, timeout: Duration, asked: bool) {
        let asked = asked || self.stopping.as_ref().is_some_and(|stopping| stopping.asked);
        match signal {
            // There is nothing in it that could end in order.
            Some(_) if !self.is_up() => {
                self.stopping = Some(Stopping { deadline: None, asked });
                self.kill();
            }
            Some(signal) if self.stopping.is_none() => {
                self.signal(signal);
                self.stopping = Some(Stopping { deadline: Some(Instant::now() + timeout), asked });
            }
            Some(_) => {}
            None => {
                self.stopping = Some(Stopping { deadline: None, asked });
                self.kill();
            }
        }
    }

    /// Signals the workload.
    pub fn signal(&mut self, signal: Signal) {
        match &mut self.machine {
            Some(machine) => {
                machine.link.signal(berth_guest_protocol::WORKLOAD, signal as i32);
                machine.write();
            }
            // One that ended in this moment needs no signal.
            None => drop(signal_pidfd(self.child.pidfd.as_fd(), signal)),
        }
    }

    /// Kills the container's pid 1, and all in it by that; and the workload itself, which is not in a pid namespace of
    /// pid 1's where that is the host's.
    pub fn kill(&mut self) {
        if let Some(stopping) = &mut self.stopping {
            stopping.deadline = None;
        }
        let _ = signal_pidfd(self.child.pidfd.as_fd(), Signal::SIGKILL);
        let _ = signal_pidfd(self.init.pidfd.as_fd(), Signal::SIGKILL);
    }
}

/// A pipe that belongs to the instance's root, and whose reading end does not block.
pub fn pipe(owner: u32) -> io::Result<(std::fs::File, OwnedFd)> {
    let (reader, writer) = io::pipe()?;
    std::os::unix::fs::fchown(&writer, Some(owner), Some(owner))?;
    let reader = OwnedFd::from(reader);
    rustix::io::ioctl_fionbio(&reader, true)?;
    Ok((reader.into(), writer.into()))
}

/// Takes the end of a child that is known to have ended: its exit code and the signal that ended it.
pub fn reap(pid: Pid) -> (i32, Option<i32>) {
    match waitpid(pid, None) {
        Ok(WaitStatus::Exited(_, code)) => (code, None),
        Ok(WaitStatus::Signaled(_, signal, _)) => (128 + signal as i32, Some(signal as i32)),
        _ => (255, None),
    }
}

/// Milliseconds since the epoch.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Supervisor {
    /// The workload's own process has ended: so has the container.
    pub(super) fn workload_ended(&mut self) {
        // What a guest said last is in the channel still.
        // Bounded by the credit that it had.
        for _ in 0..MAX_LAST_READS {
            if self.machine().is_some_and(|machine| machine.port().is_some()) {
                self.guest_spoke();
            }
        }
        self.resize_ended();
        self.hotplug_ended();
        self.forget_guest_addresses();
        self.abandon_try();
        let Workload::Running(running) = &mut self.workload else { return };
        let ended = reap(running.child.pid);
        let _ = signal_pidfd(running.init.pidfd.as_fd(), Signal::SIGKILL);
        if self.spec.shares.pids {
            // Nothing else ends what the workload has left behind.
            let _ = self.host.cgroup.kill();
        }
        // The kernel lets pid 1 go only when all that ran beside it has been reaped, and some of it is ours.
        for connection in &mut self.connections {
            let killed = 128 + Signal::SIGKILL as i32;
            let response = match connection.exec.take() {
                Some(Exec::Process(child)) => Response::ExecExited { code: reap(child.pid).0 },
                Some(Exec::Guest(_)) => Response::ExecExited { code: killed },
                Some(Exec::Reach(_)) => Response::Refused { reason: NOT_RUNNING.into() },
                None => continue,
            };
            connection.send(&response);
        }
        let outcome = running.machine.as_mut().map(|machine| {
            let _ = reap(machine.virtiofsd.pid);
            machine.outcome()
        });
        let _ = waitpid(running.init.pid, None);
        running.drain_rest(&mut self.log);
        self.log.flush();
        let asked = running.stopping.as_ref().is_some_and(|stopping| stopping.asked);
        let stopping = running.is_stopping();
        let (code, signal, failed) = match outcome {
            None => (ended.0, ended.1, None),
            Some(Ok((code, signal))) => (code, signal, None),
            // It was killed, which is no failure of its own.
            Some(Err(_)) if stopping => (ended.0, ended.1, None),
            Some(Err(failed)) if !running.is_up() => (127, None, Some(failed)),
            Some(Err(failed)) => (if ended.0 == 0 { 255 } else { ended.0 }, ended.1, Some(failed)),
        };
        let was_well = running.started.elapsed() >= WELL_AFTER;
        // A shell tells of a child's end by a code of its own.
        let oom_killed = code == 128 + Signal::SIGKILL as i32
            && self.host.cgroup.oom_kills().unwrap_or(0) > running.oom_kills;
        if was_well {
            self.in_a_row = 0;
        }
        let record = ExitRecord {
            code,
            signal,
            oom_killed,
            stopped: asked,
            restarts: self.restarts,
            finished_at_ms: now_ms(),
            error: failed.as_ref().map(ToString::to_string),
        };
        // A machine that never was up was not started.
        if stopping || self.starting.is_some() {
            self.failed = failed;
            self.workload = Workload::Gone(record);
        } else {
            self.again_or_gone(record);
        }
    }

    fn again_or_gone(&mut self, exit: ExitRecord) {
        let spec = self.spec.restart;
        if !wants_restart(&spec, exit.code, self.in_a_row) {
            self.workload = Workload::Gone(exit);
            return;
        }
        let delay_ms = delay_ms(&spec, self.in_a_row);
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.announce(&Event::Restarting { exit: exit.clone(), delay_ms });
        self.workload =
            Workload::Waiting(Waiting { until: Instant::now() + Duration::from_millis(delay_ms), exit });
    }

    /// Does what is due by now: kill who did not stop, start who waited.
    pub(super) fn after_deadlines(&mut self) {
        let now = Instant::now();
        match &mut self.workload {
            Workload::Running(running) if running.deadline().is_some_and(|deadline| deadline <= now) => {
                running.kill()
            }
            Workload::Running(running) if running.boot_deadline().is_some_and(|until| until <= now) => {
                running.fail("the guest has not come up in time");
                running.kill();
            }
            Workload::Running(running) if !running.is_up() => {}
            Workload::Running(running) if !running.is_stopping() => self.check_due(),
            Workload::Waiting(waiting) if waiting.until <= now => self.start_again(),
            _ => {}
        }
    }

    fn start_again(&mut self) {
        self.restarts = self.restarts.saturating_add(1);
        match Running::start(&self.spec, &self.host, &self.profile) {
            // A machine tells when it is up.
            Ok(running) if !running.is_up() => {
                self.check = None;
                self.workload = Workload::Running(running);
            }
            Ok(running) => {
                crate::container::files::written(&mut self.spec.writes);
                self.announce(&Event::Started {
                    pid: running.pid(),
                    started_at_ms: running.started_at_ms,
                    restarts: self.restarts,
                });
                self.workload = Workload::Running(running);
                self.watch_health();
                berth_sys::process::give_back_unused_memory();
            }
            Err(error) => self.again_or_gone(ExitRecord {
                code: 127,
                signal: None,
                oom_killed: false,
                stopped: false,
                restarts: self.restarts,
                finished_at_ms: now_ms(),
                error: Some(error.to_string()),
            }),
        }
    }

    /// Ends the workload, or the wait for the next.
    pub(super) fn stop(&mut self, force: bool, asked: bool) {
        let signal = Signal::try_from(self.spec.stop.signal).unwrap_or(Signal::SIGTERM);
        match &mut self.workload {
            Workload::Running(running) => {
                let timeout = Duration::from_millis(self.spec.stop.timeout_ms);
                running.stop((!force).then_some(signal), timeout, asked);
            }
            Workload::Waiting(waiting) => {
                let exit = ExitRecord { stopped: asked, ..waiting.exit.clone() };
                self.workload = Workload::Gone(exit);
            }
            Workload::Gone(_) => {}
        }
    }
}

fn wants_restart(spec: &RestartSpec, code: i32, in_a_row: u32) -> bool {
    let wanted = match spec.policy {
        RestartPolicy::No => false,
        RestartPolicy::OnFailure => code != 0,
        RestartPolicy::Always => true,
    };
    wanted && (spec.max_retries == 0 || in_a_row < spec.max_retries)
}

fn delay_ms(spec: &RestartSpec, in_a_row: u32) -> u64 {
    let doubled = spec.backoff_ms.max(1).checked_shl(in_a_row.min(32)).unwrap_or(u64::MAX);
    doubled.min(MAX_DELAY_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ON_FAILURE: RestartSpec =
        RestartSpec { policy: RestartPolicy::OnFailure, max_retries: 2, backoff_ms: 100 };

    #[test]
    fn a_policy_says_when_to_start_again() {
        assert!(!wants_restart(&ON_FAILURE, 0, 0));
        assert!(wants_restart(&ON_FAILURE, 1, 1));
        assert!(!wants_restart(&ON_FAILURE, 1, 2));
        let always = RestartSpec { policy: RestartPolicy::Always, max_retries: 0, backoff_ms: 100 };
        assert!(wants_restart(&always, 0, 1000));
        assert!(!wants_restart(&RestartSpec { policy: RestartPolicy::No, ..always }, 1, 0));
    }

    #[test]
    fn the_delay_doubles_up_to_a_minute() {
        let delays: Vec<_> = [0, 1, 3, 9, 10, 4000].map(|tries| delay_ms(&ON_FAILURE, tries)).into();
        assert_eq!(delays, [100, 200, 800, 51_200, 60_000, 60_000]);
    }
}
