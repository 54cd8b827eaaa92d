//! Running Terraform in a directory of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::fake::FakeAgent;

/// A directory with a configuration, and its state.
pub struct Workspace {
    dir: tempfile::TempDir,
    environment: Vec<(String, String)>,
}

/// What Terraform said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub text: String,
}

impl Said {
    /// Its words, with line breaks and the frame around messages taken out.
    pub fn flat(&self) -> String {
        let bare = self.text.replace(['│', '╷', '╵'], " ");
        bare.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{}", self.text);
        self
    }

    #[track_caller]
    pub fn fails(self) -> Self {
        assert_eq!(self.code, 1, "{}", self.text);
        self
    }

    #[track_caller]
    pub fn says(self, words: &str) -> Self {
        assert!(self.flat().contains(words), "\"{words}\" is not in:\n{}", self.text);
        self
    }

    #[track_caller]
    pub fn says_not(self, words: &str) -> Self {
        assert!(!self.flat().contains(words), "\"{words}\" is in:\n{}", self.text);
        self
    }
}

impl Workspace {
    /// With the provider pointed at the agent, and these resources.
    pub fn new(agent: &FakeAgent, resources: &str) -> Self {
        let workspace = Self::bare();
        workspace.write(&format!("provider \"berth\" {{\n  host = \"{}\"\n}}\n{resources}", agent.address()));
        workspace
    }

    /// Without a configuration.
    pub fn bare() -> Self {
        let dir = tempfile::Builder::new().prefix("berth-terraform-").tempdir().unwrap();
        let binary = PathBuf::from(env!("CARGO_BIN_EXE_terraform-provider-berth"));
        let folder = binary.parent().unwrap().display();
        let cli = format!(
            "provider_installation {{\n  dev_overrides {{\n    \"berth-run/berth\" = \"{folder}\"\n  }}\n  direct {{}}\n}}\n"
        );
        std::fs::write(dir.path().join("cli.tfrc"), cli).unwrap();
        Self { dir, environment: Vec::new() }
    }

    /// Replaces the configuration.
    pub fn write(&self, configuration: &str) {
        let head =
            "terraform {\n  required_providers {\n    berth = { source = \"berth-run/berth\" }\n  }\n}\n";
        std::fs::write(self.path().join("main.tf"), format!("{head}{configuration}")).unwrap();
    }

    /// Replaces the resources, with the provider pointed at the agent.
    pub fn rewrite(&self, agent: &FakeAgent, resources: &str) {
        self.write(&format!("provider \"berth\" {{\n  host = \"{}\"\n}}\n{resources}", agent.address()));
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// With a variable of the environment.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.environment.push((name.to_owned(), value.into()));
    }

    fn command(&self) -> Command {
        let mut command = Command::new("terraform");
        command
            .current_dir(self.path())
            .env_remove("BERTH_HOST")
            .env("TF_CLI_CONFIG_FILE", self.path().join("cli.tfrc"))
            .env("CHECKPOINT_DISABLE", "1")
            .env("TF_IN_AUTOMATION", "1")
            .envs(self.environment.clone());
        command
    }

    pub fn terraform(&self, arguments: &[&str]) -> Said {
        let output = self.command().args(arguments).output().expect("terraform is on PATH");
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Said { code: output.status.code().unwrap_or(-1), text: text.concat() }
    }

    /// Starts an apply, and goes on at once.
    pub fn start_apply(&self) -> std::process::Child {
        let mut command = self.command();
        command.args(["apply", "-auto-approve", "-input=false", "-no-color"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("terraform is on PATH")
    }

    pub fn apply(&self) -> Said {
        self.terraform(&["apply", "-auto-approve", "-input=false", "-no-color"])
    }

    pub fn destroy(&self) -> Said {
        self.terraform(&["destroy", "-auto-approve", "-input=false", "-no-color"])
    }

    /// Code 0 is an empty plan, 2 is one with changes.
    pub fn plan(&self) -> Said {
        self.terraform(&["plan", "-input=false", "-no-color", "-detailed-exitcode"])
    }

    #[track_caller]
    pub fn plans_empty(&self) -> Said {
        let said = self.plan();
        assert_eq!(said.code, 0, "{}", said.text);
        said
    }

    #[track_caller]
    pub fn plans_changes(&self) -> Said {
        let said = self.plan();
        assert_eq!(said.code, 2, "{}", said.text);
        said
    }

    pub fn import(&self, address: &str, id: &str) -> Said {
        self.terraform(&["import", "-input=false", "-no-color", address, id])
    }

    /// The attributes of a resource in the state.
    pub fn attributes(&self, address: &str) -> Value {
        self.resource(address)["values"].clone()
    }

    /// A resource in the state; null if it is not there.
    pub fn resource(&self, address: &str) -> Value {
        let output = self.command().args(["show", "-json"]).output().expect("terraform is on PATH");
        let state: Value = serde_json::from_slice(&output.stdout).unwrap();
        let resources = state["values"]["root_module"]["resources"].as_array().cloned().unwrap_or_default();
        resources.into_iter().find(|it| it["address"] == address).unwrap_or(Value::Null)
    }

    /// All that Terraform wrote into the directory.
    pub fn all_files(&self) -> String {
        let mut text = String::new();
        for entry in std::fs::read_dir(self.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() && path.file_name().unwrap() != "main.tf" {
                text.push_str(&String::from_utf8_lossy(&std::fs::read(path).unwrap()));
            }
        }
        text
    }
}
