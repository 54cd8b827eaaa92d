//! An instance's spec: what a user asks for.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::access::{self, AccessRule, AccessRuleDraft};
use crate::device::{self, DeviceDraft, DeviceSpec};
use crate::file::{self, FileDraft, FileSpec};
use crate::ids::Digest;
use crate::interface::{self, DEFAULT_INTERFACE, InterfaceDraft, InterfaceSpec};
use crate::invalid::{Findings, Invalid, Invalids};
use crate::machine;
use crate::mount::{self, MountDraft, MountSpec};
use crate::name::{Hostname, Name, shown};
use crate::value::boot::Boot;
use crate::value::environment::{self, Environment};
use crate::value::health::{HealthDraft, HealthSpec};
use crate::value::limits::Limits;
use crate::value::port::PortSpec;
use crate::value::restart::{RestartMode, RestartPolicy};
use crate::value::secrets::Secrets;
use crate::value::security::{KernelSettings, Security, SecurityDraft};
use crate::value::signal::StopSignal;
use crate::value::text;
use crate::value::user::UserSpec;

/// What an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceKind {
    /// Processes in namespaces of the host's kernel.
    #[default]
    Container,
    /// The same, under a kernel of its own.
    VirtualMachine,
}

impl InstanceKind {
    /// The word users know it by.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::VirtualMachine => "virtual-machine",
        }
    }
}

/// What an instance is made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageSource {
    /// An image in the store.
    Digest(Digest),
    /// A reference, as it was written; resolved once.
    Reference(String),
}

impl ImageSource {
    /// The text users know it by.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Digest(digest) => digest.as_str(),
            Self::Reference(reference) => reference,
        }
    }

    fn new(text: &str) -> Result<Self, Invalid> {
        if text.starts_with("sha256:") {
            let digest = text.parse().map_err(|_| {
                let summary = format!("\"{}\" is not an image's id", shown(text));
                Invalid::new(
                    &[],
                    summary,
                    "Write sha256: and 64 lower-case hexadecimal digits, or a reference",
                )
            });
            return digest.map(Self::Digest);
        }
        let odd = |c: char| c.is_control() || c.is_whitespace();
        if text.is_empty() || text.len() > 1024 || text.contains(odd) {
            let summary = format!("\"{}\" is not an image reference", shown(text));
            return Err(Invalid::new(
                &[],
                summary,
                "Write a reference such as docker.io/nginx:1.27, or an image's id",
            ));
        }
        Ok(Self::Reference(text.to_owned()))
    }
}

/// An instance as it was asked for; right by construction, as only [`InstanceDraft::validate`] makes one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct InstanceSpec {
    /// Its name, unique on its host.
    pub name: Name,
    /// What it is.
    pub kind: InstanceKind,
    /// What it is made from.
    pub image: ImageSource,
    /// `None`: the image's.
    pub entrypoint: Option<Vec<String>>,
    /// `None`: the image's, unless the entrypoint is given.
    pub command: Option<Vec<String>>,
    /// Over the image's.
    pub environment: Environment,
    /// `None`: the image's.
    pub working_dir: Option<String>,
    /// `None`: the image's.
    pub user: Option<UserSpec>,
    /// `None`: the name.
    pub hostname: Option<Hostname>,
    /// `None`: the image's.
    pub stop_signal: Option<StopSignal>,
    /// `None`: 10 seconds.
    pub stop_timeout_ms: Option<u32>,
    /// A change of these restarts it.
    pub restart_triggers: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// For people.
    pub description: Option<String>,
    /// Whether it is wanted running.
    pub running: bool,
    /// What happens when it ends by itself.
    pub restart: RestartPolicy,
    /// Published ports by name.
    pub ports: BTreeMap<String, PortSpec>,
    /// What it may use.
    pub limits: Limits,
    /// What is mounted in it, by name.
    #[serde(default)]
    pub mounts: BTreeMap<String, MountSpec>,
    /// What is written into it, by path.
    #[serde(default)]
    pub files: BTreeMap<String, FileSpec>,
    /// Devices of the host's, by name.
    #[serde(default)]
    pub devices: BTreeMap<String, DeviceSpec>,
    /// How its health is asked for; `None`: the image's check, if it has one.
    #[serde(default)]
    pub health_check: Option<HealthSpec>,
    /// When it comes up after its host.
    #[serde(default)]
    pub boot: Boot,
    /// What reaches the process and nothing else. `None`, only in a request: what it had.
    #[serde(default)]
    pub secrets: Option<Secrets>,
    /// What its processes may do.
    #[serde(default)]
    pub security: Security,
    /// Settings of the kernel.
    #[serde(default)]
    pub kernel: KernelSettings,
    /// Its interfaces by name; `None`: one on the default network.
    #[serde(default)]
    pub networks: Option<BTreeMap<String, InterfaceSpec>>,
    /// Names that it knows beside its own.
    #[serde(default)]
    pub extra_hosts: BTreeMap<String, IpAddr>,
    /// What is let in; `None`: all that is not forbidden elsewhere.
    #[serde(default)]
    pub ingress: Option<Vec<AccessRule>>,
    /// What is let out; `None`: all that is not forbidden elsewhere.
    #[serde(default)]
    pub egress: Option<Vec<AccessRule>>,
}

impl InstanceSpec {
    /// What it is stopped after, at the latest, where nothing else is said.
    pub const DEFAULT_STOP_TIMEOUT_MS: u32 = 10_000;

    /// The same, with another answer to whether it is wanted running.
    #[must_use]
    pub fn with_running(&self, running: bool) -> Self {
        Self { running, ..self.clone() }
    }

    /// Its interfaces by name.
    #[must_use]
    pub fn interfaces(&self) -> BTreeMap<String, InterfaceSpec> {
        if self.security.host_network {
            return BTreeMap::new();
        }
        let default = || BTreeMap::from([(DEFAULT_INTERFACE.to_owned(), InterfaceSpec::on_default())]);
        self.networks.clone().unwrap_or_else(default)
    }

    /// Its host name: what is given, or its name.
    #[must_use]
    pub fn effective_hostname(&self) -> Hostname {
        self.hostname.clone().unwrap_or_else(|| Hostname::from(&self.name))
    }
}

/// A published port before it is checked; empty texts and zeros mean the defaults.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "as in PortSpec")]
pub struct PortDraft {
    pub container_port: u32,
    pub host_port: u32,
    pub host_address: String,
    pub protocol: String,
}

/// A restart policy before it is checked; zeros mean the defaults.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "as in RestartPolicy")]
pub struct RestartDraft {
    pub mode: RestartMode,
    pub max_retries: u32,
    pub backoff_ms: u64,
}

/// Limits before they are checked; 0 is none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "as in Limits")]
pub struct LimitsDraft {
    pub cpu_millis: u64,
    pub memory_bytes: u64,
    pub pids: u64,
    pub cpuset: String,
    /// 0 is no swap, `None` no limit.
    pub swap_bytes: Option<u64>,
    pub io_weight: u32,
}

/// A spec before it is checked: as it came over the wire, in the domain's words.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "as in InstanceSpec")]
pub struct InstanceDraft {
    pub name: String,
    /// Empty: a container.
    pub kind: String,
    pub image: String,
    pub entrypoint: Option<Vec<String>>,
    pub command: Option<Vec<String>>,
    pub environment: Environment,
    pub working_dir: Option<String>,
    pub user: Option<String>,
    pub hostname: Option<String>,
    pub stop_signal: Option<String>,
    pub stop_timeout_ms: Option<u64>,
    pub restart_triggers: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    pub description: Option<String>,
    pub running: bool,
    pub restart: RestartDraft,
    pub ports: BTreeMap<String, PortDraft>,
    pub limits: LimitsDraft,
    pub mounts: BTreeMap<String, MountDraft>,
    pub files: BTreeMap<String, FileDraft>,
    pub devices: BTreeMap<String, DeviceDraft>,
    pub health_check: Option<HealthDraft>,
    pub boot: Boot,
    /// `None`: what it had.
    pub secrets: Option<BTreeMap<String, String>>,
    pub security: SecurityDraft,
    pub kernel: KernelSettings,
    pub networks: Option<BTreeMap<String, InterfaceDraft>>,
    pub extra_hosts: BTreeMap<String, String>,
    pub ingress: Option<Vec<AccessRuleDraft>>,
    pub egress: Option<Vec<AccessRuleDraft>>,
}

/// More entries than this in one map or list are a mistake, or an attack.
const MAX_ENTRIES: usize = 4096;
const MAX_TEXT: usize = 64 * 1024;

impl InstanceDraft {
    /// Checks everything, and makes the spec.
    ///
    /// # Errors
    /// Every mistake, each with the path of its argument.
    pub fn validate(&self) -> Result<InstanceSpec, Invalids> {
        let mut findings = Findings::default();
        let spec = self.check(&mut findings);
        findings.finish(spec)
    }

    fn check(&self, findings: &mut Findings) -> Option<InstanceSpec> {
        let name = findings.keep(&["name"], Name::new(&self.name));
        let kind = findings.keep(&["type"], kind(&self.kind));
        let image = findings.keep(&["image"], ImageSource::new(&self.image));
        let entrypoint = self.arguments("entrypoint", self.entrypoint.as_deref(), findings);
        let command = self.arguments("command", self.command.as_deref(), findings);
        if entrypoint.as_ref().is_some_and(Vec::is_empty) && command.as_ref().is_some_and(Vec::is_empty) {
            let summary = "Both entrypoint and command are empty: there is nothing to run";
            findings.add(Invalid::new(&["command"], summary, "Give one of them"));
        }
        environment::check(&self.environment, findings);
        self.check_maps(findings);
        let option = |text: &Option<String>| text.clone();
        let working_dir = option(&self.working_dir)
            .and_then(|text| findings.keep(&["working_dir"], text::absolute_path(&text)));
        let user = option(&self.user).and_then(|text| findings.keep(&["user"], UserSpec::new(&text)));
        let hostname =
            option(&self.hostname).and_then(|text| findings.keep(&["hostname"], Hostname::new(&text)));
        let stop_signal = option(&self.stop_signal)
            .and_then(|text| findings.keep(&["stop_signal"], StopSignal::new(&text)));
        let stop_timeout_ms =
            self.stop_timeout_ms.and_then(|ms| findings.keep(&["stop_timeout"], timeout(ms)));
        let restart = self.restart_policy(findings);
        let ports = self.check_ports(findings);
        let mounts = mount::check(&self.mounts, findings);
        let files = file::check(&self.files, findings);
        let devices = device::check(&self.devices, &mounts, findings);
        let networks = interface::check(self.networks.as_ref(), findings);
        if networks.as_ref().is_some_and(BTreeMap::is_empty) && !self.ports.is_empty() {
            let advice = "Put the instance on a network, or publish no ports";
            findings.add(Invalid::new(
                &["ports"],
                "Nothing leads to an instance without an interface",
                advice,
            ));
        }
        self.check_host_network(findings);
        let limits = Limits::check(&self.limits, findings);
        let health_check = self.health_check.as_ref().map(|check| check.check(findings));
        let security = self.security.check(findings);
        self.kernel.check(findings);
        if kind == Some(InstanceKind::VirtualMachine) {
            machine::check(self, findings);
        }
        let secrets = self.secrets.as_ref();
        let secrets = secrets.map(|secrets| Secrets::check(secrets, &self.environment, findings));
        Some(InstanceSpec {
            name: name?,
            kind: kind?,
            image: image?,
            entrypoint,
            command,
            environment: self.environment.clone(),
            working_dir,
            user,
            hostname,
            stop_signal,
            stop_timeout_ms,
            restart_triggers: self.restart_triggers.clone(),
            labels: self.labels.clone(),
            description: self.description.clone(),
            running: self.running,
            restart,
            ports,
            limits,
            mounts,
            files,
            devices,
            health_check,
            boot: self.boot,
            secrets,
            security,
            kernel: self.kernel.clone(),
            networks,
            extra_hosts: interface::check_hosts(&self.extra_hosts, findings),
            ingress: access::check("ingress", self.ingress.as_deref(), findings),
            egress: access::check("egress", self.egress.as_deref(), findings),
        })
    }

    /// On the host's network there is nothing to connect or publish.
    fn check_host_network(&self, findings: &mut Findings) {
        let given = [
            ("networks", self.networks.as_ref().is_some_and(|networks| !networks.is_empty())),
            ("ports", !self.ports.is_empty()),
        ];
        for (field, _) in given.into_iter().filter(|(_, given)| self.security.host_network && *given) {
            let summary = "An instance on the host's network has no interface and no port of its own";
            findings.add(Invalid::new(&[field], summary, "Leave this out, or security.host_network"));
        }
    }

    fn arguments(
        &self,
        field: &str,
        list: Option<&[String]>,
        findings: &mut Findings,
    ) -> Option<Vec<String>> {
        let list = list?;
        for (index, text) in list.iter().enumerate() {
            findings.keep(&[field, &index.to_string()], text::argument(text));
        }
        if field == "entrypoint" && list.first().is_some_and(String::is_empty) {
            let summary = "The program's name is empty";
            findings.add(Invalid::new(&[field, "0"], summary, "Name the program to run"));
        }
        Some(list.to_vec())
    }

    fn check_maps(&self, findings: &mut Findings) {
        for (field, map) in [("restart_triggers", &self.restart_triggers), ("labels", &self.labels)] {
            for (key, value) in map {
                findings.keep(&[field, key], text::bounded(key, 1024));
                findings.keep(&[field, key], text::bounded(value, MAX_TEXT));
            }
        }
        if let Some(description) = &self.description {
            findings.keep(&["description"], text::bounded(description, MAX_TEXT));
        }
        let sizes = [
            ("environment", self.environment.len()),
            ("restart_triggers", self.restart_triggers.len()),
            ("labels", self.labels.len()),
            ("ports", self.ports.len()),
        ];
        for (field, len) in sizes.into_iter().filter(|(_, len)| *len > MAX_ENTRIES) {
            let summary = format!("There are {len} entries");
            findings.add(Invalid::new(&[field], summary, format!("Use at most {MAX_ENTRIES}")));
        }
    }

    fn restart_policy(&self, findings: &mut Findings) -> RestartPolicy {
        let RestartDraft { mode, max_retries, backoff_ms } = self.restart;
        if mode == RestartMode::No && max_retries != 0 {
            let summary = "max_retries has no meaning where nothing is started again";
            let advice = "Leave it out, or use the policy \"on-failure\" or \"always\"";
            findings.add(Invalid::new(&["restart", "max_retries"], summary, advice));
        }
        let max = u64::try_from(RestartPolicy::MAX_BACKOFF.as_millis()).unwrap_or(u64::MAX);
        if backoff_ms > max {
            let summary = format!("A first delay of {backoff_ms} ms is too long");
            findings.add(Invalid::new(&["restart", "backoff"], summary, "Use at most one minute"));
        }
        let default = RestartPolicy::default().backoff_ms;
        RestartPolicy {
            mode,
            max_retries: (max_retries != 0).then_some(max_retries),
            backoff_ms: if backoff_ms == 0 { default } else { backoff_ms },
        }
    }

    fn check_ports(&self, findings: &mut Findings) -> BTreeMap<String, PortSpec> {
        let mut ports: BTreeMap<String, PortSpec> = BTreeMap::new();
        for (name, draft) in &self.ports {
            let Some(port) = PortSpec::check(name, draft, findings) else { continue };
            if let Some((other, _)) = ports.iter().find(|(_, other)| port.clashes_with(other)) {
                let summary = format!("The port \"{other}\" has the same host port");
                findings.add(Invalid::new(&["ports", name, "host_port"], summary, "Give each its own"));
            }
            ports.insert(name.clone(), port);
        }
        ports
    }
}

fn kind(text: &str) -> Result<InstanceKind, Invalid> {
    match text {
        "" | "container" => Ok(InstanceKind::Container),
        "virtual-machine" => Ok(InstanceKind::VirtualMachine),
        other => {
            let summary = format!("\"{}\" is not a type that this agent runs", shown(other));
            Err(Invalid::new(&[], summary, "Use \"container\" or \"virtual-machine\""))
        }
    }
}

fn timeout(ms: u64) -> Result<u32, Invalid> {
    u32::try_from(ms).map_err(|_| Invalid::new(&[], format!("{ms} ms is too long"), "Use at most 49 days"))
}
