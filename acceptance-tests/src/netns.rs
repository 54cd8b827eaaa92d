//! A network namespace of a test's own.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::{Error, command, wait};

/// A network namespace, in which nothing is up. It goes, with what is in it, when this is dropped.
pub struct Netns {
    /// It does nothing but hold the namespace.
    holder: Child,
}

impl Netns {
    /// A new one.
    pub fn new() -> Result<Self, Error> {
        // It dies with the test, also where that is killed.
        let mut hold = Command::new("setpriv");
        hold.args(["--pdeathsig", "KILL", "unshare", "--net", "sleep", "infinity"]).stdin(Stdio::null());
        let holder = hold.spawn().map_err(|source| Error::Spawn { program: "setpriv".to_owned(), source })?;
        let netns = Self { holder };
        let own =
            fs::read_link("/proc/self/ns/net").map_err(Error::io("read", &PathBuf::from("/proc/self/ns")))?;
        wait::until("a network namespace", Duration::from_secs(5), || {
            match fs::read_link(format!("/proc/{}/ns/net", netns.pid())) {
                Ok(other) if other != own => Ok(()),
                Ok(_) => Err("it is not made yet".to_owned()),
                Err(error) => Err(error.to_string()),
            }
        })?;
        Ok(netns)
    }

    /// A process that is in it.
    pub fn pid(&self) -> u32 {
        self.holder.id()
    }

    /// Runs a program of the host's in it, which must succeed; gives what it printed.
    pub fn run(&self, program: &[&str]) -> Result<String, Error> {
        command::run(&mut self.command(program))
    }

    /// A program of the host's, to be run in it.
    pub fn command(&self, program: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--net", "--target", &self.pid().to_string(), "--"]).args(program);
        command
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
