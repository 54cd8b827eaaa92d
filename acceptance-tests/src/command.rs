//! Running programs and keeping what they say.

use std::process::{Command, Stdio};

use crate::Error;

/// What a program that ended left behind.
#[derive(Debug, Clone)]
pub struct Output {
    /// Its exit code; 128 and the signal where one ended it.
    pub code: i32,
    /// Its standard output, invalid UTF-8 replaced.
    pub stdout: String,
    /// Its standard error, invalid UTF-8 replaced.
    pub stderr: String,
}

/// Runs a program to its end, whatever its exit code.
pub fn capture(command: &mut Command) -> Result<Output, Error> {
    use std::os::unix::process::ExitStatusExt;
    let output = command.stdin(Stdio::null()).output().map_err(|source| spawn_error(command, source))?;
    let status = output.status;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    Ok(Output { code, stdout: text(&output.stdout), stderr: text(&output.stderr) })
}

/// Runs a program that must succeed; gives its standard output.
pub fn run(command: &mut Command) -> Result<String, Error> {
    let output = command.stdin(Stdio::null()).output().map_err(|source| spawn_error(command, source))?;
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    Err(Error::Failed {
        command: line(command),
        status: output.status,
        output: format!("{}{}", text(&output.stdout), text(&output.stderr)),
    })
}

/// Runs a program that must succeed and whose output belongs to who watches.
pub fn run_visible(command: &mut Command) -> Result<(), Error> {
    let status = command.stdin(Stdio::null()).status().map_err(|source| spawn_error(command, source))?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Failed { command: line(command), status, output: String::new() })
}

/// Runs a program that must succeed and print JSON.
pub fn json(command: &mut Command) -> Result<serde_json::Value, Error> {
    let stdout = run(command)?;
    serde_json::from_str(&stdout).map_err(|source| Error::Json { program: line(command), source })
}

/// The command line, for a person.
pub fn line(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|arg| arg.to_string_lossy().into_owned()));
    words.join(" ")
}

fn spawn_error(command: &Command, source: std::io::Error) -> Error {
    Error::Spawn { program: command.get_program().to_string_lossy().into_owned(), source }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
