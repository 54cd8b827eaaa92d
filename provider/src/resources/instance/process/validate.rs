//! What can be said of these arguments without asking anyone.

use super::model::{HealthCheckModel, SecurityModel, UlimitModel, WaitModel};
use crate::attr::{Attr, Map, entries};
use crate::report::{self, Diagnostic, Path, capital};
use crate::resources::instance::model::InstanceModel;
use crate::text::{duration, size};

/// Checks what is known.
pub fn validate(model: &InstanceModel, found: &mut Vec<Diagnostic>) {
    if let Some(check) = model.health_check.known() {
        health_check(check, found);
    }
    if let Some(wait) = model.wait_for.known() {
        wait_for(wait, found);
    }
    if let Some(boot) = model.boot.known() {
        a_duration(Path::at("boot").attribute("delay"), &boot.delay, found);
        if boot.priority.known().is_some_and(|priority| i32::try_from(*priority).is_err()) {
            let path = Path::at("boot").attribute("priority");
            found.push(report::error(
                path,
                "The priority is out of range",
                "Write a number of up to nine digits.",
            ));
        }
    }
    if let Some(options) = model.security.known() {
        security(options, model, found);
    }
    if let Some(Err(error)) = model.shm_size.as_str().map(size::parse) {
        found.push(report::error(Path::at("shm_size"), capital(&error.to_string()), error.advice()));
    }
    ulimits(&model.ulimits, found);
    secrets(model, found);
}

fn security(options: &SecurityModel, model: &InstanceModel, found: &mut Vec<Diagnostic>) {
    let path = |name: &str| Path::at("security").attribute(name);
    let words = [
        ("seccomp", &options.seccomp, ["default", "unconfined"]),
        ("user_namespace", &options.user_namespace, ["auto", "host"]),
    ];
    for (name, attr, allowed) in words {
        if let Some(word) = attr.as_str().filter(|word| !allowed.contains(word)) {
            let summary = format!("There is no {} \"{word}\"", name.replace('_', " "));
            found.push(report::error(
                path(name),
                summary,
                format!("Write \"{}\" or \"{}\".", allowed[0], allowed[1]),
            ));
        }
        if options.privileged.known() == Some(&true) && attr.as_str() == Some(allowed[0]) {
            let summary = "Nothing is kept from a privileged instance";
            found.push(report::error(path(name), summary, "Leave this out, or privileged."));
        }
    }
    let given = [
        ("networks", model.networks.known().is_some_and(|networks| !networks.is_empty())),
        ("ports", model.ports.known().is_some_and(|ports| !ports.is_empty())),
    ];
    for (name, _) in
        given.into_iter().filter(|(_, given)| *given && options.host_network.known() == Some(&true))
    {
        let summary = "An instance on the host's network has no interface and no port of its own";
        found.push(report::error(Path::at(name), summary, "Leave this out, or security.host_network."));
    }
}

fn a_duration(path: Path, attr: &Attr<String>, found: &mut Vec<Diagnostic>) {
    if let Some(Err(error)) = attr.as_str().map(duration::parse) {
        found.push(report::error(path, capital(&error.to_string()), error.advice()));
    }
}

fn health_check(check: &HealthCheckModel, found: &mut Vec<Diagnostic>) {
    let path = |name: &str| Path::at("health_check").attribute(name);
    let given = [check.exec.known().is_some(), check.http.known().is_some(), check.tcp.known().is_some()];
    if given.iter().filter(|given| **given).count() > 1 {
        let detail = "Give the one that tells its health.";
        found.push(report::error(
            Path::at("health_check"),
            "More than one of exec, http and tcp is given",
            detail,
        ));
    }
    for (name, attr) in
        [("interval", &check.interval), ("timeout", &check.timeout), ("start_period", &check.start_period)]
    {
        a_duration(path(name), attr, found);
    }
    if check.retries.known().is_some_and(|retries| !(1..=1_000_000).contains(retries)) {
        found.push(report::error(path("retries"), "retries is no number of failures", "Write 1 or more."));
    }
    let scheme = check
        .http
        .known()
        .and_then(|http| http.scheme.as_str())
        .filter(|scheme| !["http", "https"].contains(scheme));
    if let Some(scheme) = scheme {
        let detail = "Write \"http\" (the default) or \"https\".";
        let summary = format!("A health check cannot speak \"{scheme}\"");
        found.push(report::error(path("http").attribute("scheme"), summary, detail));
    }
    let ports =
        [("http", check.http.known().map(|it| &it.port)), ("tcp", check.tcp.known().map(|it| &it.port))];
    for (name, port) in ports {
        if let Some(port) = port {
            a_port(path(name).attribute("port"), port, found);
        }
    }
}

fn a_port(path: Path, attr: &Attr<i64>, found: &mut Vec<Diagnostic>) {
    if let Some(port) = attr.known().filter(|port| !(1..=65_535).contains(*port)) {
        found.push(report::error(path, format!("{port} is no port"), "Write a number from 1 to 65535."));
    }
}

fn wait_for(wait: &WaitModel, found: &mut Vec<Diagnostic>) {
    let path = |name: &str| Path::at("wait_for").attribute(name);
    let conditions = ["started", "healthy", "address", "port", "exited"];
    if let Some(condition) = wait.condition.as_str().filter(|it| !conditions.contains(it)) {
        let detail = "Write \"started\" (the default), \"healthy\", \"address\", \"port\" or \"exited\".";
        found.push(report::error(
            path("condition"),
            format!("There is nothing \"{condition}\" to wait for"),
            detail,
        ));
    }
    if wait.condition.as_str() == Some("port") && wait.port.is_null() {
        found.push(report::error(path("port"), "The port to wait for is missing", "Give wait_for.port."));
    }
    a_port(path("port"), &wait.port, found);
    if let Some(family) = wait.family.as_str().filter(|it| !["ipv4", "ipv6"].contains(it)) {
        let summary = format!("There is no address family \"{family}\"");
        found.push(report::error(path("family"), summary, "Write \"ipv4\" or \"ipv6\", or leave it out."));
    }
}

fn ulimits(limits: &Map<UlimitModel>, found: &mut Vec<Diagnostic>) {
    for (name, limit) in entries(limits) {
        for (part, attr) in [("soft", &limit.soft), ("hard", &limit.hard)] {
            if attr.known().is_some_and(|number| *number < -1) {
                let path = Path::at("ulimits").key(name).attribute(part);
                let detail = "Write a number from 0 on, or -1 for no limit.";
                found.push(report::error(path, "The limit is negative", detail));
            }
        }
    }
}

fn secrets(model: &InstanceModel, found: &mut Vec<Diagnostic>) {
    for (name, _) in entries(&model.secret_environment_wo) {
        if model.environment.known().is_some_and(|plain| plain.contains_key(name)) {
            let path = Path::at("secret_environment_wo").key(name);
            let summary = format!("The variable {name} is in environment, too");
            found.push(report::error(path, summary, "Leave it out of one of them."));
        }
    }
    if model.secret_environment_wo.known().is_some() && model.secret_environment_wo_version.is_null() {
        found.push(report::error(
            Path::at("secret_environment_wo_version"),
            "The version of the secret variables is missing",
            "Give a number, and raise it when they change: Terraform does not see the values.",
        ));
    }
}
