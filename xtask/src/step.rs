//! Commands that are run, and what is said when one fails.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// A program could not be run.
    #[error("cannot run {program}")]
    Run {
        /// Which.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program failed.
    #[error("{command} failed")]
    Failed {
        /// With its arguments.
        command: String,
    },
    /// A file.
    #[error("cannot {operation} {}", path.display())]
    File {
        /// "read", "write"…
        operation: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A rule that is broken, or a thing that is missing.
    #[error("{0}")]
    Rule(String),
}

/// The workspace's directory.
pub fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_owned()
}

/// Cargo's target directory.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Where the programs are.
pub fn programs() -> PathBuf {
    target().join("release")
}

/// A command in the workspace's directory.
pub fn command<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root());
    command
}

/// Runs a command, with its output shown.
pub fn run(command: &mut Command) -> Result<(), StepError> {
    let status = command.status().map_err(|source| cannot_run(command, source))?;
    if status.success() { Ok(()) } else { Err(StepError::Failed { command: shown(command) }) }
}

/// Runs a command and gives its standard output.
pub fn output(command: &mut Command) -> Result<String, StepError> {
    let output = command.output().map_err(|source| cannot_run(command, source))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(StepError::Failed { command: format!("{}: {said}", shown(command)) })
    }
}

fn cannot_run(command: &Command, source: io::Error) -> StepError {
    StepError::Run { program: command.get_program().to_string_lossy().into_owned(), source }
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// For `map_err`: a file's error.
pub fn file(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StepError {
    let path = path.to_owned();
    move |source| StepError::File { operation, path, source }
}

/// Says what is done, does it, and says how long it took.
pub fn timed<T>(what: &str, work: impl FnOnce() -> Result<T, StepError>) -> Result<T, StepError> {
    println!("==> {what}");
    let begun = Instant::now();
    let result = work()?;
    println!("    {:.1} s", begun.elapsed().as_secs_f64());
    Ok(result)
}

/// Whether a program is on PATH or in the directories of administrators' programs.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    places.map(|place| place.join(program)).find(|path| path.is_file())
}
