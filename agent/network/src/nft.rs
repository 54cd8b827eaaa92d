//! Running `nft`, which lists tables of anybody's and has the kernel check rules. None are changed by it.
//!
//! Rules are given to `nft -j` as JSON on its standard input.

use std::{
    env,
    ffi::OsStr,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use serde_json::Value;

/// Where `nft` is when `PATH` does not lead to it, as a service's or a user's often does not.
const ELSEWHERE: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

/// The `nft` program.
#[derive(Debug, Clone)]
pub struct Nft {
    program: PathBuf,
}

/// Why a run of `nft` failed.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// There is no such program.
    #[error("nft is in no directory of PATH, nor in /usr/sbin: install the package nftables")]
    NotFound,
    /// It could not be run.
    #[error("cannot run {}", program.display())]
    Run {
        /// The program.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It refused what it was given.
    #[error("nft could not {operation}: {message}")]
    Refused {
        /// What it was to do.
        operation: &'static str,
        /// Its own words.
        message: String,
    },
    /// What it printed is not what it prints.
    #[error("the output of nft could not be read")]
    Output(#[source] serde_json::Error),
    /// The rules could not be written as JSON.
    #[error("the rules could not be written for nft")]
    Input(#[source] serde_json::Error),
}

impl Nft {
    /// Finds the program.
    ///
    /// # Errors
    /// If it is not installed.
    pub fn find() -> Result<Self, NftError> {
        let path = env::var_os("PATH").unwrap_or_default();
        Self::find_in(&path).ok_or(NftError::NotFound)
    }

    fn find_in(path: &OsStr) -> Option<Self> {
        let directories = env::split_paths(path).filter(|directory| directory.is_absolute());
        let mut candidates =
            directories.chain(ELSEWHERE.map(PathBuf::from)).map(|directory| directory.join("nft"));
        candidates.find(|candidate| candidate.is_file()).map(|program| Self { program })
    }

    /// Where it was found.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Has the kernel check a document without applying it.
    pub(crate) fn check(&self, document: &Value) -> Result<(), NftError> {
        let input = serde_json::to_vec(document).map_err(NftError::Input)?;
        self.run(&["-j", "-c", "-f", "-"], "check rules", input).map(drop)
    }

    /// The objects that `nft -j list …` prints; `None` if what was to be listed is not there.
    pub(crate) fn list(&self, what: &[&str]) -> Result<Option<Vec<Value>>, NftError> {
        let arguments: Vec<&str> = ["-j", "list"].iter().chain(what).copied().collect();
        match self.run(&arguments, "list rules", Vec::new()) {
            Ok(output) => {
                let mut document: Value = serde_json::from_slice(&output).map_err(NftError::Output)?;
                let objects = document.get_mut("nftables").map(Value::take);
                Ok(Some(objects.and_then(|objects| serde_json::from_value(objects).ok()).unwrap_or_default()))
            }
            Err(NftError::Refused { message, .. }) if message.contains("No such file or directory") => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn run(&self, arguments: &[&str], operation: &'static str, input: Vec<u8>) -> Result<Vec<u8>, NftError> {
        let failed = |source| NftError::Run { program: self.program.clone(), source };
        let mut child = Command::new(&self.program)
            .args(arguments)
            // Messages are searched for their words.
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let written = feed(&mut child, input);
        let output = child.wait_with_output().map_err(failed)?;
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr);
            return Err(NftError::Refused { operation, message: summary(&message, output.status) });
        }
        // A program that ended well without reading what it was given did not do it.
        written.join().unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into())).map_err(failed)?;
        Ok(output.stdout)
    }
}

/// Writes the program's input beside the reading of its output, so that neither waits for the other.
fn feed(child: &mut Child, input: Vec<u8>) -> thread::JoinHandle<io::Result<()>> {
    let stdin = child.stdin.take();
    thread::spawn(move || stdin.map_or(Ok(()), |mut stdin| stdin.write_all(&input)))
}

/// The part of nft's message that says what is wrong; the rest repeats the input, which may be long.
fn summary(message: &str, status: std::process::ExitStatus) -> String {
    let errors = message.lines().filter_map(|line| line.split_once("Error: ").map(|(_, error)| error.trim()));
    let mut errors: Vec<&str> = errors.collect();
    errors.dedup();
    errors.truncate(3);
    match (errors.is_empty(), message.lines().next()) {
        (false, _) => errors.join("; "),
        (true, Some(line)) if !line.trim().is_empty() => line.trim().to_owned(),
        (true, _) => format!("it ended with {status} and no message"),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    fn fake(script: &str) -> (tempfile::TempDir, Nft) {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("nft");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let nft = Nft::find_in(directory.path().as_os_str()).unwrap();
        (directory, nft)
    }

    fn large() -> Vec<u8> {
        vec![b' '; 1 << 20]
    }

    #[test]
    fn it_is_found_where_path_does_not_lead() {
        assert!(Nft::find_in(OsStr::new("/nonexistent:relative")).is_some());
    }

    #[test]
    fn a_refusal_carries_its_words() {
        let (_directory, nft) =
            fake("cat >/dev/null; echo 'x:1:1-9: Error: Could not process rule: Oh' >&2; exit 1");
        let error = nft.run(&[], "do it", large()).unwrap_err();
        assert_eq!(error.to_string(), "nft could not do it: Could not process rule: Oh");
    }

    #[test]
    fn output_before_the_input_is_read_is_no_deadlock() {
        let (_directory, nft) = fake("head -c 1000000 /dev/zero; cat >/dev/null");
        assert_eq!(nft.run(&[], "do it", large()).unwrap().len(), 1_000_000);
    }

    #[test]
    fn input_that_was_not_read_is_an_error() {
        let (_directory, nft) = fake("exit 0");
        assert!(matches!(nft.run(&[], "do it", large()), Err(NftError::Run { .. })));
        let (_directory, nft) = fake("exit 3");
        assert!(matches!(nft.run(&[], "do it", large()), Err(NftError::Refused { .. })));
    }

    #[test]
    fn a_listing_that_is_no_json_is_an_error() {
        let (_directory, nft) = fake("echo nonsense");
        assert!(matches!(nft.list(&["ruleset"]), Err(NftError::Output(_))));
    }
}
