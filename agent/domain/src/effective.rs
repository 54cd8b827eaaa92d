//! What runs: the image's config with the spec over it, by the OCI rules.

use std::collections::BTreeMap;

use crate::image::ImageConfig;
use crate::instance::{InstanceKind, InstanceSpec};
use crate::invalid::{Findings, Invalid, Invalids};
use crate::name::Hostname;
use crate::value::environment;
use crate::value::health::HealthCheck;
use crate::value::secrets::Secrets;
use crate::value::security::{KernelSettings, Security};
use crate::value::signal::StopSignal;
use crate::value::text;
use crate::value::user::UserSpec;

/// What a workload is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EffectiveConfig {
    /// What it is.
    pub kind: InstanceKind,
    /// Program and arguments; never empty.
    pub argv: Vec<String>,
    /// Variables by name.
    pub environment: BTreeMap<String, String>,
    /// Absolute.
    pub working_dir: String,
    /// Whom it runs as.
    pub user: UserSpec,
    /// What it is asked to stop with.
    pub stop_signal: StopSignal,
    /// What it is killed after.
    pub stop_timeout_ms: u32,
    /// Its host name.
    pub hostname: Hostname,
    /// How its health is asked for.
    pub health: Option<HealthCheck>,
    /// Variables that are never shown.
    pub secrets: Secrets,
    /// What its processes may do.
    pub security: Security,
    /// Settings of the kernel.
    pub kernel: KernelSettings,
}

/// Where programs are looked for if neither image nor spec says so.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl EffectiveConfig {
    /// Puts the spec over the image's config: a given entrypoint drops the image's command too, an empty list
    /// clears, a null variable unsets.
    ///
    /// # Errors
    /// There is nothing to run, or the image's own config cannot be used; each names the argument that mends it.
    pub fn new(image: &ImageConfig, spec: &InstanceSpec) -> Result<Self, Invalids> {
        let mut findings = Findings::default();
        let config = Self::check(image, spec, &mut findings);
        findings.finish(config)
    }

    fn check(image: &ImageConfig, spec: &InstanceSpec, findings: &mut Findings) -> Option<Self> {
        let argv = argv(image, spec);
        if argv.is_empty() {
            let summary =
                "There is nothing to run: neither the image nor the spec gives an entrypoint or a command";
            findings.add(Invalid::new(&["command"], summary, "Give the command to run"));
        }
        for part in &argv {
            let field = if spec.command.is_some() { "command" } else { "entrypoint" };
            findings.keep(&[field], text::argument(part).map_err(of_image));
        }
        let user = spec.user.clone().map_or_else(
            || match image.user.as_str() {
                "" => UserSpec::new("0"),
                user => UserSpec::new(user),
            },
            Ok,
        );
        let signal = spec.stop_signal.clone().map_or_else(
            || match image.stop_signal.as_str() {
                "" => Ok(StopSignal::term()),
                signal => StopSignal::new(signal),
            },
            Ok,
        );
        let working_dir = spec.working_dir.clone().map_or_else(|| working_dir(image), Ok);
        let user = findings.keep(&["user"], user.map_err(of_image));
        let stop_signal = findings.keep(&["stop_signal"], signal.map_err(of_image));
        let working_dir = findings.keep(&["working_dir"], working_dir.map_err(of_image));
        let health = HealthCheck::new(image.health_check.as_ref(), spec.health_check.as_ref());
        let health = findings.keep(&[], health);
        Some(Self {
            kind: spec.kind,
            argv,
            environment: variables(image, spec, findings),
            working_dir: working_dir?,
            user: user?,
            stop_signal: stop_signal?,
            stop_timeout_ms: spec.stop_timeout_ms.unwrap_or(InstanceSpec::DEFAULT_STOP_TIMEOUT_MS),
            hostname: spec.effective_hostname(),
            health: health?,
            secrets: spec.secrets.clone().unwrap_or_default(),
            security: spec.security.clone(),
            kernel: spec.kernel.clone(),
        })
    }
}

fn of_image(invalid: Invalid) -> Invalid {
    let summary = format!("The image's config cannot be used: {}", invalid.summary);
    Invalid { summary, advice: "Set this argument to override what the image says".to_owned(), ..invalid }
}

fn argv(image: &ImageConfig, spec: &InstanceSpec) -> Vec<String> {
    let image_command = if spec.entrypoint.is_some() { &[][..] } else { &image.command[..] };
    let entrypoint = spec.entrypoint.as_ref().unwrap_or(&image.entrypoint);
    let command = spec.command.as_deref().unwrap_or(image_command);
    entrypoint.iter().chain(command).cloned().collect()
}

fn working_dir(image: &ImageConfig) -> Result<String, Invalid> {
    match image.working_dir.as_str() {
        "" => Ok("/".to_owned()),
        absolute if absolute.starts_with('/') => text::absolute_path(absolute),
        relative => text::absolute_path(&format!("/{relative}")),
    }
}

fn variables(image: &ImageConfig, spec: &InstanceSpec, findings: &mut Findings) -> BTreeMap<String, String> {
    let mut all = image.environment.clone();
    for (name, value) in &spec.environment {
        match value {
            Some(value) => {
                all.insert(name.clone(), value.clone());
            }
            None => {
                all.remove(name);
            }
        }
    }
    for (name, value) in &all {
        findings.keep(&["environment"], environment::variable(name, Some(value)).map_err(of_image));
    }
    if !all.contains_key("PATH") && !spec.environment.contains_key("PATH") {
        all.insert("PATH".to_owned(), DEFAULT_PATH.to_owned());
    }
    all
}
