//! `cargo xtask tidy`: the rules of the house that no other tool knows.

use std::path::Path;

use serde_json::Value;

use crate::Outcome;
use crate::step::{self, StepError, command, root};

/// A file over this many lines is to be split.
const LINES: usize = 500;

/// What a crate of this workspace may depend on, beside crates of others'.
const DEPENDENCIES: [(&str, &[&str]); 21] = [
    ("berth-proto", &[]),
    ("tfplugin", &["berth-proto"]),
    ("terraform-provider-berth", &["berth-proto", "tfplugin"]),
    ("berth-domain", &[]),
    ("berth-engine", &["berth-domain"]),
    ("berth-sys", &[]),
    ("berth-image", &["berth-sys"]),
    ("berth-storage", &["berth-sys"]),
    ("berth-network", &["berth-sys"]),
    ("berth-dhcp", &[]),
    ("berth-bridge", &["berth-dhcp", "berth-network", "berth-sys"]),
    ("berth-runtime", &["berth-storage", "berth-sys", "berth-runtime"]),
    ("berth-process", &["berth-runtime", "berth-sys"]),
    ("berth-guest-protocol", &["berth-runtime"]),
    ("berth-vm", &["berth-guest-protocol", "berth-runtime", "berth-storage", "berth-sys"]),
    ("berth-guest-init", &["berth-guest-protocol", "berth-process", "berth-runtime", "berth-sys"]),
    ("berth-tls-probe", &["berth-runtime"]),
    (
        "berth-supervisor",
        &[
            "berth-dhcp",
            "berth-guest-protocol",
            "berth-process",
            "berth-runtime",
            "berth-storage",
            "berth-sys",
        ],
    ),
    (
        "berth-agent",
        &[
            "berth-domain",
            "berth-engine",
            "berth-image",
            "berth-network",
            "berth-proto",
            "berth-runtime",
            "berth-storage",
            "berth-sys",
            "berth-vm",
        ],
    ),
    ("berth-acceptance-tests", &[]),
    ("xtask", &["berth-acceptance-tests"]),
];

/// Checks all of them and says all that is wrong.
pub fn run() -> Outcome {
    let mut wrong = Vec::new();
    check_dependencies(&mut wrong)?;
    let files =
        step::output(&mut command("git", &["ls-files", "-z", "--", "*.rs", "*.md", "*.toml", "*.proto"]))?;
    for name in files.split('\0').filter(|name| !name.is_empty()) {
        check_file(name, &mut wrong)?;
    }
    if wrong.is_empty() { Ok(()) } else { Err(StepError::Rule(format!("tidy:\n  {}", wrong.join("\n  ")))) }
}

fn check_dependencies(wrong: &mut Vec<String>) -> Outcome {
    let arguments = ["metadata", "--locked", "--no-deps", "--format-version", "1"];
    let text = step::output(&mut command("cargo", &arguments))?;
    let metadata: Value =
        serde_json::from_str(&text).map_err(|error| StepError::Rule(format!("cargo metadata: {error}")))?;
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        let Some((_, allowed)) = DEPENDENCIES.iter().find(|(known, _)| *known == name) else {
            wrong.push(format!("{name}: say in xtask/src/tidy.rs what it may depend on"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let on = dependency["name"].as_str().unwrap_or_default();
            if dependency["path"].is_string() && !allowed.contains(&on) {
                wrong.push(format!("{name} may not depend on {on}"));
            }
        }
    }
    Ok(())
}

fn check_file(name: &str, wrong: &mut Vec<String>) -> Outcome {
    let path = root().join(name);
    let text = std::fs::read_to_string(&path).map_err(step::file("read", &path))?;
    let lines = text.lines().count();
    if lines > LINES && Path::new(name).extension().is_some_and(|kind| kind == "rs") {
        wrong.push(format!("{name}: {lines} lines; split it"));
    }
    let in_sys = name.starts_with("agent/sys/");
    // In two parts, so that this file is not found by itself.
    let marks = [concat!("uns", "afe {"), concat!("uns", "afe fn"), concat!("uns", "afe impl")];
    if !in_sys
        && name.ends_with(".rs")
        && text.lines().any(|line| marks.iter().any(|mark| line.contains(mark)))
    {
        wrong.push(format!("{name}: unsafe belongs into agent/sys"));
    }
    if text.contains(concat!("/wo", "rk/")) {
        wrong.push(format!("{name}: names a path of a machine"));
    }
    Ok(())
}
