//! A `berthd` with directories of its own, and the command line that talks to it.

use std::fs::{self, File};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::command::{self, Output};
use crate::leftovers::Mark;
use crate::{Error, paths, wait};

const READY_LIMIT: Duration = Duration::from_secs(30);

/// An agent of one test's own. Dropped, it takes everything it made with it.
pub struct TestAgent {
    dir: TempDir,
    child: Option<Child>,
    mark: Mark,
    how: How,
}

/// How an agent is started.
#[derive(Default)]
struct How {
    /// More arguments.
    args: Vec<String>,
    /// Searched for programs before the rest of PATH.
    programs: Option<PathBuf>,
    /// Run before it, in a mount namespace that it then has for itself.
    before: Option<String>,
    /// Where its directories are made, if not among other temporary ones.
    parent: Option<PathBuf>,
}

impl TestAgent {
    /// Starts one in new directories and waits until it says that it is ready.
    pub fn start() -> Result<Self, Error> {
        Self::start_as(How::default())
    }

    /// As [`Self::start`], with more arguments for `berthd`.
    pub fn start_with(args: &[&str]) -> Result<Self, Error> {
        Self::start_as(How { args: owned(args), ..How::default() })
    }

    /// As [`Self::start`], which finds programs in this directory first.
    pub fn start_with_programs(programs: &Path) -> Result<Self, Error> {
        Self::start_as(How { programs: Some(programs.to_owned()), ..How::default() })
    }

    /// As [`Self::start_with`], in a mount namespace of its own, where this script of a shell is run first.
    pub fn start_after(script: &str, args: &[&str]) -> Result<Self, Error> {
        Self::start_as(How { args: owned(args), before: Some(script.to_owned()), ..How::default() })
    }

    /// As [`Self::start`], with its directories below this one.
    pub fn start_in(parent: &Path) -> Result<Self, Error> {
        Self::start_as(How { parent: Some(parent.to_owned()), ..How::default() })
    }

    fn start_as(how: How) -> Result<Self, Error> {
        let temporary = how.parent.clone().unwrap_or_else(std::env::temp_dir);
        let dir = tempfile::Builder::new()
            .prefix("berth-test-")
            .tempdir_in(&temporary)
            .map_err(Error::io("make a directory in", &temporary))?;
        for name in ["data", "run"] {
            let path = dir.path().join(name);
            fs::create_dir(&path).map_err(Error::io("make", &path))?;
        }
        let mark = Mark::new(&dir.path().join("data"), &dir.path().join("run"))?;
        let mut agent = Self { dir, child: None, mark, how };
        agent.restart()?;
        Ok(agent)
    }

    /// `unix:///…`
    pub fn address(&self) -> String {
        socket_address(&self.run_dir())
    }

    /// How its things on the host are marked.
    pub fn mark(&self) -> &Mark {
        &self.mark
    }

    /// The file system as the agent sees it, where one runs.
    pub fn root(&self) -> Option<PathBuf> {
        self.child.as_ref().map(|child| PathBuf::from(format!("/proc/{}/root", child.id())))
    }

    /// Where it keeps its ledger and images.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn run_dir(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    /// Kills the agent, and it alone, with no chance to tidy up.
    pub fn kill(&mut self) -> Result<(), Error> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        child.kill().map_err(Error::io("kill the agent of", self.dir.path()))?;
        child.wait().map(drop).map_err(Error::io("wait for the agent of", self.dir.path()))
    }

    /// Ends the agent as a service manager would. Its instances go on.
    pub fn stop(&mut self) -> Result<(), Error> {
        let Some(child) = self.child.take() else { return Ok(()) };
        stop_process(child)
    }

    /// Starts an agent on these directories, after a kill or a stop.
    pub fn restart(&mut self) -> Result<(), Error> {
        self.stop()?;
        let log = self.dir.path().join("agent.log");
        self.child = Some(launch_with(&self.data_dir(), &self.run_dir(), &log, &self.how)?);
        Ok(())
    }

    /// Its process, where one runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// What the agent has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("agent.log")).unwrap_or_default()
    }

    /// `berth --host … ARGS`, run to its end.
    pub fn berth(&self, args: &[&str]) -> Result<Output, Error> {
        command::capture(berth(&self.address()).args(args))
    }

    /// The same, which must succeed; gives what it printed.
    pub fn berth_ok(&self, args: &[&str]) -> Result<String, Error> {
        command::run(berth(&self.address()).args(args))
    }

    /// `berth instance inspect NAME`.
    pub fn inspect(&self, name: &str) -> Result<Value, Error> {
        command::json(berth(&self.address()).args(["--format", "json", "instance", "inspect", name]))
    }

    /// Names of all instances.
    pub fn instances(&self) -> Result<Vec<String>, Error> {
        instance_names(&self.address())
    }

    /// What the image list says, one object an image.
    pub fn images(&self) -> Result<Vec<Value>, Error> {
        let list = command::json(berth(&self.address()).args(["--format", "json", "image", "ls"]))?;
        Ok(list.as_array().cloned().unwrap_or_default())
    }

    /// Fails unless the instance, once looked at, is in this status.
    pub fn await_status(&self, name: &str, status: &str) -> Result<Value, Error> {
        wait::until(&format!("{name} being {status}"), Duration::from_secs(20), || {
            let seen = self.inspect(name).map_err(|error| error.to_string())?;
            if seen["status"] == status { Ok(seen) } else { Err(seen.to_string()) }
        })
    }
}

impl Drop for TestAgent {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the agent's log:\n{}", self.log());
        }
        if self.child.is_none() {
            // Only an agent can take down what it left running.
            let _ = self.restart();
        }
        let _ = remove_instances(&self.address());
        let _ = self.stop();
        let _ = sweep(&self.mark);
    }
}

/// Takes everything of an agent off the host that the agent itself did not: the safety net of tests.
pub fn sweep(mark: &Mark) -> Result<(), Error> {
    for pid in mark.processes() {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    let _ = wait::until("the last process ending", Duration::from_secs(5), || {
        if mark.processes().is_empty() { Ok(()) } else { Err(format!("{:?}", mark.processes())) }
    });
    for cgroup in mark.cgroups() {
        let _ = fs::remove_dir(cgroup);
    }
    for link in mark.links() {
        let _ = command::capture(Command::new("ip").args(["link", "delete", &link]));
    }
    for table in mark.tables()? {
        let _ = command::capture(Command::new("nft").args(["delete", "table"]).args(table.split(' ')));
    }
    Ok(())
}

/// The address of an agent with this run directory.
pub fn socket_address(run_dir: &Path) -> String {
    format!("unix://{}", run_dir.join("agent.sock").display())
}

/// `berth`, talking to this agent.
pub fn berth(address: &str) -> Command {
    let mut command = Command::new(paths::program("berth"));
    command.args(["--host", address]);
    command
}

/// Names of all instances of an agent.
pub fn instance_names(address: &str) -> Result<Vec<String>, Error> {
    let list = command::json(berth(address).args(["--format", "json", "instance", "ls"]))?;
    let names = list.as_array().into_iter().flatten();
    Ok(names.filter_map(|instance| instance["name"].as_str().map(str::to_owned)).collect())
}

/// Removes every instance of an agent.
pub fn remove_instances(address: &str) -> Result<(), Error> {
    for name in instance_names(address)? {
        command::run(berth(address).args(["instance", "rm", "--force", &name]))?;
    }
    Ok(())
}

/// Starts an agent that outlives this process, and waits until it tells, as it would tell systemd, that it is ready.
pub fn launch(data_dir: &Path, run_dir: &Path, log: &Path) -> Result<Child, Error> {
    launch_with(data_dir, run_dir, log, &How::default())
}

fn owned(args: &[&str]) -> Vec<String> {
    args.iter().map(|arg| (*arg).to_owned()).collect()
}

fn launch_with(data_dir: &Path, run_dir: &Path, log: &Path, how: &How) -> Result<Child, Error> {
    let ready_path = run_dir.join("ready.sock");
    let _ = fs::remove_file(&ready_path);
    let ready = UnixDatagram::bind(&ready_path).map_err(Error::io("bind", &ready_path))?;
    let output = File::options().create(true).append(true).open(log).map_err(Error::io("open", log))?;
    let errors = output.try_clone().map_err(Error::io("share", log))?;
    let mut command = match &how.before {
        None => Command::new(paths::program("berthd")),
        Some(script) => {
            let mut command = Command::new("unshare");
            let script = format!("set -e\n{script}\nexec \"$@\"");
            command.args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"]);
            command.arg(paths::program("berthd"));
            command
        }
    };
    command.arg("--data-dir").arg(data_dir).arg("--run-dir").arg(run_dir);
    command.args(["--listen", &socket_address(run_dir)]).args(&how.args).env("NOTIFY_SOCKET", &ready_path);
    if let Some(programs) = &how.programs {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut search = programs.as_os_str().to_owned();
        search.push(":");
        search.push(path);
        command.env("PATH", search);
    }
    command.stdin(Stdio::null()).stdout(output).stderr(errors);
    let mut child = command.spawn().map_err(|source| Error::Spawn { program: "berthd".into(), source })?;
    let came = await_ready(&ready, &mut child, log);
    let _ = fs::remove_file(&ready_path);
    if let Err(error) = came {
        let _ = child.kill();
        let _ = child.wait();
        return Err(error);
    }
    Ok(child)
}

fn await_ready(ready: &UnixDatagram, child: &mut Child, log: &Path) -> Result<(), Error> {
    // Short reads, so that an agent that died is noticed at once.
    let slice = Some(Duration::from_millis(100));
    ready.set_read_timeout(slice).map_err(Error::io("listen for", log))?;
    let deadline = Instant::now() + READY_LIMIT;
    let mut buffer = [0; 1024];
    while Instant::now() < deadline {
        if let Ok(read) = ready.recv(&mut buffer)
            && String::from_utf8_lossy(&buffer[..read]).lines().any(|line| line == "READY=1")
        {
            return Ok(());
        }
        if let Ok(Some(status)) = child.try_wait() {
            let output = fs::read_to_string(log).unwrap_or_default();
            return Err(Error::Failed { command: "berthd".into(), status, output });
        }
    }
    let seen = fs::read_to_string(log).unwrap_or_default();
    Err(Error::Timeout { what: "the agent's READY=1".into(), seconds: READY_LIMIT.as_secs(), seen })
}

fn stop_process(mut child: Child) -> Result<(), Error> {
    if let Ok(pid) = i32::try_from(child.id()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
    let ended =
        wait::until("the agent's end after SIGTERM", Duration::from_secs(20), || match child.try_wait() {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err("it runs".to_owned()),
            Err(error) => Err(error.to_string()),
        });
    if ended.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    ended
}
