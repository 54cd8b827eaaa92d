//! `cargo xtask quickstart`: from a registry to a page, and all of it down again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use berth_acceptance_tests::leftovers::Mark;
use berth_acceptance_tests::registry::{self, Options};
use berth_acceptance_tests::{Terraform, agent, command, images, wait};

use crate::step::{StepError, file, root, target, timed};
use crate::{Outcome, release, setup};

/// Where everything of the quickstart is.
struct Place(PathBuf);

impl Place {
    fn new() -> Result<Self, StepError> {
        let place = Self(target().join("quickstart"));
        for directory in [place.data(), place.run(), place.terraform(), place.0.join("registry")] {
            fs::create_dir_all(&directory).map_err(file("make", &directory))?;
        }
        Ok(place)
    }

    fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    fn run(&self) -> PathBuf {
        self.0.join("run")
    }

    fn terraform(&self) -> PathBuf {
        self.0.join("terraform")
    }

    fn address(&self) -> String {
        agent::socket_address(&self.run())
    }

    fn berth(&self) -> Command {
        agent::berth(&self.address())
    }
}

fn failed(error: berth_acceptance_tests::Error) -> StepError {
    StepError::Rule(error.to_string())
}

/// Builds, starts a registry and an agent, and has Terraform run a web server. Can be run again.
pub fn run() -> Outcome {
    setup::run()?;
    release::run(None)?;
    let place = Place::new()?;
    let storage =
        timed("Make a web server's image from Debian packages", || images::storage().map_err(failed))?;
    let port = timed("Start a registry on loopback", || start_registry(&place, &storage))?;
    timed("Start the agent", || start_agent(&place))?;
    let terraform = Terraform::from_path().map_err(failed)?;
    write_configuration(&place, port)?;
    timed("terraform init", || shown(&place, &terraform, &["init", "-input=false", "-no-color"]))?;
    timed("terraform apply", || {
        shown(&place, &terraform, &["apply", "-auto-approve", "-input=false", "-no-color"])
    })?;
    timed("Fetch the page", || {
        let page = wait::page(published_port(&place)?, "/").map_err(failed)?;
        println!("{page}");
        Ok(())
    })?;
    timed("berth instance ls", || visible(place.berth().args(["instance", "ls"])))?;
    timed("berth instance logs web", || visible(place.berth().args(["instance", "logs", "web"])))?;
    timed("terraform plan: nothing is left to do", || {
        shown(&place, &terraform, &["plan", "-detailed-exitcode", "-input=false", "-no-color"])
    })?;
    println!("Take it down with: cargo xtask quickstart --destroy");
    Ok(())
}

/// Takes all of it down and looks whether anything is left.
pub fn destroy() -> Outcome {
    let place = Place::new()?;
    let mark = Mark::new(&place.data(), &place.run()).map_err(failed)?;
    if place.terraform().join("terraform.tfstate").exists() && agent::instance_names(&place.address()).is_ok()
    {
        let terraform = Terraform::from_path().map_err(failed)?;
        timed("terraform destroy", || {
            shown(&place, &terraform, &["destroy", "-auto-approve", "-input=false", "-no-color"])
        })?;
    }
    timed("Stop the agent and the registry", || {
        stop(&place.0.join("agent.pid"))?;
        stop(&place.0.join("registry.pid"))
    })?;
    timed("Look for what is left", || {
        let left = mark.leftovers().map_err(failed)?;
        if left.is_empty() {
            println!("    nothing: no process, mount, cgroup, namespace, bridge, firewall rule or lock");
            Ok(())
        } else {
            Err(StepError::Rule(format!("this is left of the quickstart:\n  {}", left.join("\n  "))))
        }
    })?;
    fs::remove_dir_all(&place.0).map_err(file("remove", &place.0))
}

fn start_registry(place: &Place, storage: &Path) -> Result<u16, StepError> {
    let (pid_file, port_file) = (place.0.join("registry.pid"), place.0.join("registry.port"));
    if runs(&pid_file) {
        let text = fs::read_to_string(&port_file).map_err(file("read", &port_file))?;
        return text
            .trim()
            .parse()
            .map_err(|_| StepError::Rule(format!("{} holds no port", port_file.display())));
    }
    let (child, port) =
        registry::launch(&place.0.join("registry"), storage, Options::default()).map_err(failed)?;
    fs::write(&port_file, port.to_string()).map_err(file("write", &port_file))?;
    fs::write(&pid_file, child.id().to_string()).map_err(file("write", &pid_file))?;
    Ok(port)
}

fn start_agent(place: &Place) -> Outcome {
    let pid_file = place.0.join("agent.pid");
    if runs(&pid_file) {
        return Ok(());
    }
    let child = agent::launch(&place.data(), &place.run(), &place.0.join("agent.log")).map_err(failed)?;
    fs::write(&pid_file, child.id().to_string()).map_err(file("write", &pid_file))
}

/// Whether the process that was written down still runs, as ours.
fn runs(pid_file: &Path) -> bool {
    let Ok(pid) = fs::read_to_string(pid_file) else { return false };
    let command_line = fs::read(format!("/proc/{}/cmdline", pid.trim())).unwrap_or_default();
    String::from_utf8_lossy(&command_line).contains("quickstart")
}

fn stop(pid_file: &Path) -> Outcome {
    if !runs(pid_file) {
        return Ok(());
    }
    let pid = fs::read_to_string(pid_file).map_err(file("read", pid_file))?;
    command::run(Command::new("kill").args(["-TERM", pid.trim()])).map_err(failed)?;
    let ended = || if runs(pid_file) { Err("it runs".to_owned()) } else { Ok(()) };
    wait::until("its end", std::time::Duration::from_secs(20), ended).map_err(failed)
}

/// A configuration as users have one, with the release's mirror in the place of a registry.
fn write_configuration(place: &Place, port: u16) -> Outcome {
    let mirror = release::mirror(&release::place());
    let cli = format!(
        "provider_installation {{\n  filesystem_mirror {{\n    path = \"{}\"\n  }}\n}}\n",
        mirror.display()
    );
    let cli_path = place.0.join("cli.tfrc");
    fs::write(&cli_path, cli).map_err(file("write", &cli_path))?;
    let example = root().join("examples/terraform/quickstart/main.tf");
    let text = fs::read_to_string(&example).map_err(file("read", &example))?;
    let main = place.terraform().join("main.tf");
    fs::write(&main, text).map_err(file("write", &main))?;
    // The provider may have been built anew since.
    let _ = fs::remove_file(place.terraform().join(".terraform.lock.hcl"));
    let _ = fs::remove_dir_all(place.terraform().join(".terraform"));
    let variables = format!("host = \"{}\"\nregistry = \"http://127.0.0.1:{port}\"\n", place.address());
    let path = place.terraform().join("terraform.tfvars");
    fs::write(&path, variables).map_err(file("write", &path))
}

fn published_port(place: &Place) -> Result<u16, StepError> {
    let instance = command::json(place.berth().args(["--format", "json", "instance", "inspect", "web"]));
    let port = instance.map_err(failed)?["ports"]["http"]["host_port"].as_u64();
    port.and_then(|port| u16::try_from(port).ok())
        .ok_or_else(|| StepError::Rule("web publishes no port".into()))
}

fn shown(place: &Place, terraform: &Terraform, arguments: &[&str]) -> Outcome {
    visible(&mut terraform.command(&place.terraform(), &place.0.join("cli.tfrc"), arguments))
}

fn visible(command: &mut Command) -> Outcome {
    command::run_visible(command).map_err(failed)
}
