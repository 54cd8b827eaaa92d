//! One directory with a configuration and its state.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use super::{Terraform, dev_override};
use crate::command::{self, Output};
use crate::{Error, TestAgent};

/// A problem that Terraform reported.
#[derive(Debug, Clone)]
pub struct Diagnostic {
    /// "error" or "warning".
    pub severity: String,
    /// The first line.
    pub summary: String,
    /// What follows it.
    pub detail: String,
    /// The line of the configuration it points at, trimmed.
    pub code: String,
    /// Of which resource.
    pub address: String,
}

/// How an apply, plan or destroy went.
#[derive(Debug, Clone)]
pub struct Applied {
    /// Terraform's exit code.
    pub code: i32,
    /// All problems.
    pub diagnostics: Vec<Diagnostic>,
    /// Everything it printed.
    pub output: Output,
}

impl Applied {
    /// The first error.
    pub fn error(&self) -> Option<&Diagnostic> {
        self.diagnostics.iter().find(|diagnostic| diagnostic.severity == "error")
    }

    fn from_output(output: Output) -> Self {
        let events = output.stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let diagnostics = events
            .filter_map(|event| event.get("diagnostic").map(to_diagnostic))
            .filter(|diagnostic| !diagnostic.summary.contains("Provider development overrides"))
            .collect();
        Self { code: output.code, diagnostics, output }
    }
}

fn to_diagnostic(value: &Value) -> Diagnostic {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Diagnostic {
        severity: text(&value["severity"]),
        summary: text(&value["summary"]),
        detail: text(&value["detail"]),
        code: text(&value["snippet"]["code"]).trim().to_owned(),
        address: text(&value["address"]),
    }
}

/// A configuration against one agent. Its directory goes when it is dropped; what it applied goes with the agent.
pub struct Project {
    dir: TempDir,
    terraform: Terraform,
    host: String,
}

impl Project {
    /// An empty one.
    pub fn new(terraform: &Terraform, agent: &TestAgent) -> Result<Self, Error> {
        let dir = tempfile::tempdir().map_err(Error::io("make a directory in", &std::env::temp_dir()))?;
        let config = dir.path().join("cli.tfrc");
        fs::write(&config, dev_override()).map_err(Error::io("write", &config))?;
        Ok(Self { dir, terraform: terraform.clone(), host: agent.address() })
    }

    /// Where it lies.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Replaces the configuration. The provider's own block is added.
    pub fn write(&self, resources: &str) -> Result<(), Error> {
        let text = format!(
            "terraform {{\n  required_providers {{\n    berth = {{\n      source = \"berth-run/berth\"\n    }}\n  }}\n}}\n\n\
             provider \"berth\" {{\n  host = \"{}\"\n}}\n\n{resources}",
            self.host
        );
        self.write_file("main.tf", &text)
    }

    /// Writes a file beside the configuration.
    pub fn write_file(&self, name: &str, text: &str) -> Result<(), Error> {
        let path = self.dir.path().join(name);
        fs::write(&path, text).map_err(Error::io("write", &path))
    }

    /// Any command.
    pub fn run(&self, args: &[&str]) -> Result<Output, Error> {
        let config = self.dir.path().join("cli.tfrc");
        command::capture(&mut self.terraform.command(self.dir.path(), &config, args))
    }

    /// `terraform apply`, whatever comes of it.
    pub fn apply(&self) -> Result<Applied, Error> {
        self.run(&["apply", "-auto-approve", "-input=false", "-json"]).map(Applied::from_output)
    }

    /// `terraform plan`: exit code 0 where nothing is to be done, 2 where something is.
    pub fn plan(&self) -> Result<Applied, Error> {
        self.run(&["plan", "-detailed-exitcode", "-input=false", "-json"]).map(Applied::from_output)
    }

    /// `terraform destroy`.
    pub fn destroy(&self) -> Result<Applied, Error> {
        self.run(&["destroy", "-auto-approve", "-input=false", "-json"]).map(Applied::from_output)
    }

    /// What a plan would do: pairs of an address and its actions, as "update" or "delete+create".
    pub fn planned(&self) -> Result<Vec<(String, String)>, Error> {
        let planned = self.run(&["plan", "-input=false", "-no-color", "-out=plan.bin"])?;
        assert_eq!(planned.code, 0, "plan failed: {planned:?}");
        let shown = self.show(&["show", "-json", "plan.bin"])?;
        let changes = shown["resource_changes"].as_array().into_iter().flatten();
        let named = changes.map(|change| {
            let actions = change["change"]["actions"].as_array().into_iter().flatten();
            let actions: Vec<&str> = actions.filter_map(Value::as_str).collect();
            (change["address"].as_str().unwrap_or_default().to_owned(), actions.join("+"))
        });
        Ok(named.filter(|(_, actions)| actions != "no-op" && actions != "read").collect())
    }

    /// The attributes of a resource in the state.
    pub fn attributes(&self, address: &str) -> Result<Value, Error> {
        let state = self.show(&["show", "-json"])?;
        let resources = state["values"]["root_module"]["resources"].as_array().into_iter().flatten();
        let mut found =
            resources.filter(|resource| resource["address"] == address).map(|r| r["values"].clone());
        Ok(found.next_back().unwrap_or(Value::Null))
    }

    /// The state file as it is stored, and its backup.
    pub fn state_text(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.dir.path().join(name)).unwrap_or_default();
        read("terraform.tfstate") + &read("terraform.tfstate.backup")
    }

    fn show(&self, args: &[&str]) -> Result<Value, Error> {
        let shown = self.run(args)?;
        serde_json::from_str(&shown.stdout)
            .map_err(|source| Error::Json { program: format!("terraform show: {}", shown.stderr), source })
    }

    /// An apply that must succeed, and a plan after it that must be empty.
    #[track_caller]
    pub fn apply_settled(&self) {
        self.apply_ok();
        self.assert_empty_plan();
    }

    /// An apply that must succeed.
    #[track_caller]
    pub fn apply_ok(&self) {
        match self.apply() {
            Ok(applied) => assert_eq!(applied.code, 0, "apply failed: {:#?}", applied.output),
            Err(error) => panic!("apply did not run: {error}"),
        }
    }

    /// A plan with nothing to do.
    #[track_caller]
    pub fn assert_empty_plan(&self) {
        match self.plan() {
            Ok(plan) => assert_eq!(plan.code, 0, "the plan is not empty: {:#?}", plan.output),
            Err(error) => panic!("plan did not run: {error}"),
        }
    }

    /// A destroy that must succeed.
    #[track_caller]
    pub fn destroy_ok(&self) {
        match self.destroy() {
            Ok(applied) => assert_eq!(applied.code, 0, "destroy failed: {:#?}", applied.output),
            Err(error) => panic!("destroy did not run: {error}"),
        }
    }
}
