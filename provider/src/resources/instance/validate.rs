//! What can be said of an instance's arguments without asking anyone: all errors at once.

use std::net::IpAddr;

use super::contents::{devices, files, mounts, networks, ports};
use super::model::{CONTAINER, InstanceModel, LimitsModel, MACHINE, OnImageChange, RestartModel};
use super::process::model::SecurityModel;
use crate::attr::{Attr, List, Map, entries};
use crate::report::{self, Diagnostic, Path, capital};
use crate::resources::access;
use crate::text::{cpu, duration, environment, name, reference, size};

/// Checks what is known.
pub fn validate(model: &InstanceModel) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    identity(model, &mut found);
    image(model, &mut found);
    process(model, &mut found);
    maps(model, &mut found);
    hosts(model, &mut found);
    if let Some(restart) = model.restart.known() {
        check_restart(restart, &mut found);
    }
    if let Some(limits) = model.limits.known() {
        check_limits(limits, &mut found);
    }
    ports::validate(&model.ports, &mut found);
    mounts::validate(&model.mounts, &mut found);
    files::validate(&model.files, &mut found);
    devices::validate(&model.devices, &mut found);
    let has_ports = model.ports.known().is_some_and(|ports| !ports.is_empty());
    networks::validate(&model.networks, has_ports, &mut found);
    access::validate("ingress", &model.ingress, &mut found);
    access::validate("egress", &model.egress, &mut found);
    super::process::validate::validate(model, &mut found);
    found
}

fn identity(model: &InstanceModel, found: &mut Vec<Diagnostic>) {
    let advice = "A name is up to 63 letters, digits and hyphens, and neither begins nor ends with a hyphen.";
    if let Some(Err(error)) = model.name.as_str().map(name::check_label) {
        found.push(report::error(Path::at("name"), capital(&error.to_string()), advice));
    }
    if let Some(Err(error)) = model.hostname.as_str().map(name::check_hostname) {
        let advice = "A host name is such names with dots between them, up to 64 characters in all.";
        found.push(report::error(Path::at("hostname"), capital(&error.to_string()), advice));
    }
    match model.r#type.as_str() {
        None | Some(CONTAINER) => {}
        Some(MACHINE) => machine(model, found),
        Some(other) => found.push(report::error(
            Path::at("type"),
            format!("There is no type \"{other}\""),
            "Write \"container\" (the default) or \"virtual-machine\".",
        )),
    }
}

/// The least that a virtual machine boots with.
const MIN_MACHINE_MEMORY: u64 = 96 << 20;

/// What a virtual machine cannot have.
fn machine(model: &InstanceModel, found: &mut Vec<Diagnostic>) {
    for (name, device) in entries(&model.devices) {
        let (summary, advice) = refused_device(device.r#type.as_str().unwrap_or_default());
        found.push(report::error(Path::at("devices").key(name), summary, advice));
    }
    covered(&model.mounts, found);
    if let Some(security) = model.security.known() {
        shared(security, found);
    }
    let Some(limits) = model.limits.known() else { return };
    let path = |name: &str| Path::at("limits").attribute(name);
    if limits.pids.known().is_some() {
        found.push(report::error(
            path("pids"),
            "The processes of a virtual machine are its own kernel's to count",
            "Leave it out: its memory bounds them.",
        ));
    }
    let memory = limits.memory.as_str().and_then(|text| size::parse(text).ok());
    if memory.is_some_and(|bytes| bytes < MIN_MACHINE_MEMORY) {
        found.push(report::error(
            path("memory"),
            "That is too little memory to boot a virtual machine",
            "Use at least 96MiB, or leave it out for 256MiB.",
        ));
    }
}

/// Why a machine is not given a device of a type, and what to do. The agent says the same.
fn refused_device(kind: &str) -> (&'static str, &'static str) {
    const CONTAINER: &str = "Leave it out, or use the type \"container\", which is given its node.";
    match kind {
        "usb" => ("A virtual machine has no USB controller that a device could be handed through", CONTAINER),
        "gpu" => {
            ("A virtual machine is handed no PCI device, such as a graphics processor (no VFIO)", CONTAINER)
        }
        "unix-block" => (
            "A virtual machine is handed no block device of the host's",
            "Mount what is on it on the host, and give the directory as a bind; or use the type \"container\".",
        ),
        _ => ("A node of the host's kernel is of no use to the kernel of a virtual machine", CONTAINER),
    }
}

/// Mounts where the guest mounts what is its own.
fn covered(mounts: &Map<mounts::MountModel>, found: &mut Vec<Diagnostic>) {
    for (name, mount) in entries(mounts) {
        let target = mount.target.as_str().unwrap_or_default();
        if ["/dev/", "/proc/", "/sys/"].into_iter().any(|reserved| target.starts_with(reserved)) {
            found.push(report::error(
                Path::at("mounts").key(name).attribute("target"),
                "A virtual machine has its own /dev, /proc and /sys, which would cover it",
                "Mount it elsewhere, or use the type \"container\".",
            ));
        }
    }
}

fn shared(security: &SecurityModel, found: &mut Vec<Diagnostic>) {
    let asked = [
        ("user_namespace", security.user_namespace.as_str() == Some("host")),
        ("privileged", security.privileged.known() == Some(&true)),
        ("host_network", security.host_network.known() == Some(&true)),
        ("host_pid", security.host_pid.known() == Some(&true)),
    ];
    for (name, _) in asked.into_iter().filter(|(_, asked)| *asked) {
        found.push(report::error(
            Path::at("security").attribute(name),
            "A virtual machine shares no namespace with its host",
            "Leave it out, or use the type \"container\".",
        ));
    }
}

fn image(model: &InstanceModel, found: &mut Vec<Diagnostic>) {
    if let Some(Err(error)) = model.image.as_str().map(reference::check_id_or_reference) {
        found.push(report::error(Path::at("image"), capital(&error.to_string()), error.advice()));
    }
    if model.on_image_change.known().is_some()
        && OnImageChange::read(model.on_image_change.as_str()).is_none()
    {
        found.push(report::error(
            Path::at("on_image_change"),
            "There is no such way to change an image",
            "Write \"rebuild\" (the default: a new rootfs under the same instance), \"replace\" or \"ignore\".",
        ));
    }
}

fn process(model: &InstanceModel, found: &mut Vec<Diagnostic>) {
    check_list("entrypoint", &model.entrypoint, found);
    check_list("command", &model.command, found);
    let texts =
        [("user", &model.user), ("working_dir", &model.working_dir), ("stop_signal", &model.stop_signal)];
    for (argument, attr) in texts {
        if attr.as_str().is_some_and(|text| text.is_empty() || text.contains('\0')) {
            found.push(report::error(
                Path::at(argument),
                format!("{} is empty or holds a NUL character", capital(argument)),
                "Leave it out to take the image's.",
            ));
        }
    }
    if model.working_dir.as_str().is_some_and(|dir| !dir.is_empty() && !dir.starts_with('/')) {
        found.push(report::error(
            Path::at("working_dir"),
            "The working directory is no absolute path",
            "Write a path in the instance that begins with a slash.",
        ));
    }
    check_duration(Path::at("stop_timeout"), &model.stop_timeout, found);
    for (argument, attr) in [("description", &model.description)] {
        if attr.as_str().is_some_and(|text| text.contains('\0')) {
            found.push(report::error(Path::at(argument), "The text holds a NUL character", "Leave it out."));
        }
    }
}

fn check_list(argument: &str, attr: &List<String>, found: &mut Vec<Diagnostic>) {
    for (index, value) in attr.known().into_iter().flatten().enumerate() {
        let path = || Path::at(argument).index(index);
        if value.is_null() {
            let detail = "Leave the element out, or write \"\" for an empty argument.";
            found.push(report::error(path(), format!("An element of {argument} is null"), detail));
        } else if value.as_str().is_some_and(|text| text.contains('\0')) {
            let detail = "The kernel ends an argument at a NUL; it cannot hold one.";
            found.push(report::error(
                path(),
                format!("An element of {argument} holds a NUL character"),
                detail,
            ));
        }
    }
}

fn maps(model: &InstanceModel, found: &mut Vec<Diagnostic>) {
    for (key, value) in model.environment.known().into_iter().flatten() {
        if let Err(error) = environment::check(key, value.as_str()) {
            let detail =
                "The kernel ends a variable at a NUL and its name at an equals sign; neither can hold one.";
            let path = Path::at("environment").key(key);
            found.push(report::error(path, capital(&error.to_string()), detail));
        }
    }
    for (argument, attr) in [
        ("labels", &model.labels),
        ("restart_triggers", &model.restart_triggers),
        ("sysctls", &model.sysctls),
        ("extra_hosts", &model.extra_hosts),
    ] {
        for (key, value) in attr.known().into_iter().flatten() {
            if value.is_null() {
                let summary = format!("{} of {argument} is null", capital(&format!("{key:?}")));
                found.push(report::error(Path::at(argument).key(key), summary, "Leave the entry out."));
            }
        }
    }
}

fn hosts(model: &InstanceModel, found: &mut Vec<Diagnostic>) {
    for (name, address) in model.extra_hosts.known().into_iter().flatten() {
        let path = || Path::at("extra_hosts").key(name);
        if let Err(error) = name::check_hostname(name) {
            found.push(report::error(
                path(),
                capital(&error.to_string()),
                "Write a host name, such as db.example.",
            ));
        }
        if let Some(address) = address.as_str().filter(|it| it.parse::<IpAddr>().is_err()) {
            let summary = format!("\"{address}\" is no IP address");
            found.push(report::error(path(), summary, "Write an address of either family."));
        }
    }
}

fn check_duration(path: Path, attr: &Attr<String>, found: &mut Vec<Diagnostic>) {
    if let Some(Err(error)) = attr.as_str().map(duration::parse) {
        found.push(report::error(path, capital(&error.to_string()), error.advice()));
    }
}

fn check_restart(restart: &RestartModel, found: &mut Vec<Diagnostic>) {
    let path = |name: &str| Path::at("restart").attribute(name);
    if let Some(policy) = restart.policy.as_str().filter(|it| !["no", "on-failure", "always"].contains(it)) {
        found.push(report::error(
            path("policy"),
            format!("There is no restart policy \"{policy}\""),
            "Write \"no\", \"on-failure\" or \"always\" (the default).",
        ));
    }
    if restart.max_retries.known().is_some_and(|retries| u32::try_from(*retries).is_err()) {
        found.push(report::error(
            path("max_retries"),
            "max_retries is no number of retries",
            "Write a whole number from 0 on; 0, or leaving it out, means without end.",
        ));
    }
    check_duration(path("backoff"), &restart.backoff, found);
    if restart.backoff.as_str().and_then(|text| duration::parse(text).ok()) == Some(0) {
        let detail = "Leave it out for the default of 100ms.";
        found.push(report::error(path("backoff"), "The first delay is zero", detail));
    }
}

fn check_limits(limits: &LimitsModel, found: &mut Vec<Diagnostic>) {
    let path = |name: &str| Path::at("limits").attribute(name);
    if let Some(Err(error)) = limits.cpu.as_str().map(cpu::parse) {
        found.push(report::error(path("cpu"), capital(&error.to_string()), error.advice()));
    }
    match limits.memory.as_str().map(size::parse) {
        Some(Err(error)) => {
            found.push(report::error(path("memory"), capital(&error.to_string()), error.advice()));
        }
        Some(Ok(0)) => {
            let detail = "Leave it out for no limit.";
            found.push(report::error(path("memory"), "The memory limit is zero", detail));
        }
        _ => {}
    }
    match limits.swap.as_str().map(size::parse) {
        Some(Err(error)) => {
            found.push(report::error(path("swap"), capital(&error.to_string()), error.advice()));
        }
        Some(Ok(_)) if limits.memory.is_null() => {
            let detail = "Give limits.memory, too.";
            found.push(report::error(path("swap"), "Swap is limited and memory is not", detail));
        }
        _ => {}
    }
    if limits.io_weight.known().is_some_and(|weight| !(1..=10_000).contains(weight)) {
        found.push(report::error(path("io_weight"), "The weight is out of range", "Write 1 to 10000."));
    }
    if limits.pids.known().is_some_and(|pids| *pids < 1) {
        let detail = "Write a whole number from 1 on, or leave it out for no limit.";
        found.push(report::error(path("pids"), "The limit of processes is not positive", detail));
    }
}
