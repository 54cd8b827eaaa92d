//! Plans and applies that change nothing, against Terraform's own `terraform_data` with the same arguments, and the provider's memory.
//!
//! The instances are not to run: what is measured is Terraform, the provider and the agent's lists.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use berth_acceptance_tests::{Project, Registry, Terraform, TestAgent};
use serde_json::{Value, json};

use super::{Report, compared, failed};
use crate::step::{StepError, file, programs};

const ROUNDS: usize = 5;
const TIMED: usize = 1_000;
const HELD: usize = 5_000;
const APPLY: &[&str] = &["apply", "-auto-approve", "-input=false", "-no-color", "-parallelism=20"];
const STATE: &str = "terraform.tfstate";

/// What an instance is asked for beside its name and image, as an object's attributes.
const ARGUMENTS: &str = "environment = { MODE = \"live\", LEVEL = \"info\", NUMBER = tostring(count.index) }\n    \
     mounts = { scratch = { type = \"tmpfs\", target = \"/scratch\", size = \"16MiB\" } }\n    \
     limits = { cpu = \"1.5\", memory = \"512MiB\", pids = 100 }\n    labels = { tier = \"front\" }\n    running = false";

/// All of them, by name.
pub fn run(report: &mut Report) -> Result<(), StepError> {
    let world = World::new()?;
    world.make()?;
    for (name, args) in [
        ("plan", ["plan", "-input=false", "-no-color", "-detailed-exitcode"].as_slice()),
        ("no-op apply", ["apply", "-auto-approve", "-input=false", "-no-color"].as_slice()),
    ] {
        let (mut ours, mut theirs, mut peak) = (Vec::new(), Vec::new(), 0);
        for _ in 0..ROUNDS {
            let (milliseconds, kib) = world.instances.timed(args)?;
            ours.push(milliseconds);
            peak = peak.max(kib);
            theirs.push(world.data.timed(args)?.0);
        }
        let more = json!({ "of": TIMED, "peak_kib": peak, "peer_is": "terraform_data with the same input" });
        report.add(name, compared(&mut ours, &mut theirs, more))?;
    }
    world.hold()?;
    let (milliseconds, peak) =
        world.instances.timed(&["plan", "-input=false", "-no-color", "-detailed-exitcode"])?;
    let held = json!({ "ours": super::spread(&mut [milliseconds]), "of": HELD, "peak_kib": peak });
    report.add("plan of many", held)
}

/// An agent with instances, and the same arguments twice.
struct World {
    instances: Side,
    data: Side,
    agent: TestAgent,
    registry: Registry,
}

impl World {
    fn new() -> Result<Self, StepError> {
        let (registry, agent) = (Registry::start().map_err(failed)?, TestAgent::start().map_err(failed)?);
        let terraform = Terraform::from_path().map_err(failed)?;
        let side = || Project::new(&terraform, &agent).map_err(failed);
        let (instances, data) = (Side::new(&terraform, side()?), Side::new(&terraform, side()?));
        Ok(Self { instances, data, agent, registry })
    }

    /// Applies a thousand on both sides.
    fn make(&self) -> Result<(), StepError> {
        self.instances.project.write(&self.first()).map_err(failed)?;
        self.instances.timed(APPLY)?;
        let data = format!(
            "resource \"terraform_data\" \"many\" {{\n  count = {TIMED}\n  input = {{\n    name = \"many-${{count.index}}\"\n    \
             image = \"{}\"\n    networks = {{ eth0 = {{ network = \"many\" }} }}\n    {}\n    {ARGUMENTS}\n  }}\n}}\n",
            self.image()?,
            ports(0)
        );
        self.data.project.write_file("main.tf", &data).map_err(failed)?;
        self.data.timed(APPLY).map(drop)
    }

    /// The first thousand, with what all need.
    fn first(&self) -> String {
        format!(
            "resource \"berth_remote\" \"local\" {{\n  name = \"local\"\n  address = \"{}\"\n  insecure = true\n}}\n\
             resource \"berth_image\" \"tiny\" {{\n  reference = \"${{berth_remote.local.name}}:berth/tiny:1\"\n}}\n\
             resource \"berth_network\" \"many\" {{\n  name = \"many\"\n  ipv4_subnet = \"198.18.0.0/16\"\n}}\n{}",
            self.registry.address(),
            thousand(0, "berth_image.tiny.id", "berth_network.many.name")
        )
    }

    /// Makes many of the thousand. Terraform writes its whole state after each resource, so that it takes minutes for five thousand in
    /// one: each thousand is applied alone, and their states become one.
    fn hold(&self) -> Result<(), StepError> {
        let (mut text, image) = (self.first(), format!("\"{}\"", self.image()?));
        let mut held = self.instances.state()?;
        for part in 1..HELD / TIMED {
            let more = thousand(part, &image, "\"many\"");
            let project = Project::new(&self.instances.terraform, &self.agent).map_err(failed)?;
            project.write(&more).map_err(failed)?;
            let side = Side::new(&self.instances.terraform, project);
            side.timed(APPLY)?;
            let more_held = side.state()?["resources"].take();
            if let (Some(all), Value::Array(more)) = (held["resources"].as_array_mut(), more_held) {
                all.extend(more);
            }
            text.push_str(&more);
        }
        self.instances.project.write_file(STATE, &held.to_string()).map_err(failed)?;
        self.instances.project.write(&text).map_err(failed)
    }

    fn image(&self) -> Result<String, StepError> {
        let images = self.agent.images().map_err(failed)?;
        Ok(images.first().and_then(|image| image["id"].as_str()).unwrap_or_default().to_owned())
    }
}

/// A thousand instances as a resource; each thousand has ports and names of its own.
fn thousand(part: usize, image: &str, network: &str) -> String {
    format!(
        "resource \"berth_instance\" \"many{part}\" {{\n  count = {TIMED}\n    name = \"many-{part}-${{count.index}}\"\n    \
         image = {image}\n    networks = {{ eth0 = {{ network = {network} }} }}\n    {}\n    {ARGUMENTS}\n}}\n",
        ports(part)
    )
}

fn ports(part: usize) -> String {
    format!(
        "ports = {{ http = {{ container_port = 8080, host_port = {} + count.index }} }}",
        20_000 + part * TIMED
    )
}

/// A configuration and its state.
struct Side {
    terraform: Terraform,
    project: Project,
}

impl Side {
    fn new(terraform: &Terraform, project: Project) -> Self {
        Self { terraform: terraform.clone(), project }
    }

    fn state(&self) -> Result<Value, StepError> {
        let path = self.project.dir().join(STATE);
        let text = fs::read(&path).map_err(file("read", &path))?;
        serde_json::from_slice(&text).map_err(|error| StepError::Rule(format!("{}: {error}", path.display())))
    }

    /// Runs Terraform, which must find nothing to do but what an apply makes. Gives milliseconds, and the most memory that the
    /// provider had.
    fn timed(&self, args: &[&str]) -> Result<(f64, u64), StepError> {
        let config = self.project.dir().join("cli.tfrc");
        let said = self.project.dir().join("said");
        let out = fs::File::create(&said).map_err(file("make", &said))?;
        let error = out.try_clone().map_err(file("open", &said))?;
        let mut command: Command = self.terraform.command(self.project.dir(), &config, args);
        let begun = Instant::now();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(error)
            .spawn()
            .map_err(file("run", Path::new("terraform")))?;
        let peak = watched(&mut child)?;
        let milliseconds = begun.elapsed().as_secs_f64() * 1000.0;
        let status = child.wait().map_err(file("wait for", Path::new("terraform")))?;
        if !status.success() {
            let mut text = String::new();
            let opened = fs::File::open(&said).and_then(|mut it| it.read_to_string(&mut text));
            opened.map_err(file("read", &said))?;
            let end: Vec<_> = text.lines().rev().take(20).collect::<Vec<_>>().into_iter().rev().collect();
            let end = end.join("\n");
            return Err(StepError::Rule(format!("terraform {args:?} ended with {status}:\n{end}")));
        }
        Ok((milliseconds, peak))
    }
}

/// The most memory, in KiB, of the provider that this Terraform started, looked at until Terraform ends: the kernel keeps the peak,
/// but tells it to nobody once a process is gone, and Terraform ends its providers by a signal.
#[allow(clippy::disallowed_methods)] // Nothing tells of a process's growing memory: it is looked at.
fn watched(child: &mut Child) -> Result<u64, StepError> {
    let program = programs().join("terraform-provider-berth");
    let (mut peak, mut provider) = (0, None);
    while child.try_wait().map_err(file("wait for", Path::new("terraform")))?.is_none() {
        if provider.is_none() {
            provider = provider_of(child.id(), &program);
        }
        // Terraform starts it several times: for its schema, to validate, to plan.
        provider = provider.filter(|pid| match peak_of(*pid) {
            Some(kib) => {
                peak = peak.max(kib);
                true
            }
            None => false,
        });
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(peak)
}

/// A child of any of Terraform's threads that runs the provider.
fn provider_of(terraform: u32, program: &Path) -> Option<u32> {
    let threads = fs::read_dir(format!("/proc/{terraform}/task")).ok()?;
    let children =
        threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let pids: Vec<u32> = children
        .flat_map(|text| text.split_whitespace().filter_map(|it| it.parse().ok()).collect::<Vec<_>>())
        .collect();
    pids.into_iter().find(|pid| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == program))
}

fn peak_of(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}
