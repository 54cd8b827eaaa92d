//! What an apply would do to a volume, and what can be said of its arguments: pure.

use super::convert::to_spec;
use super::model::VolumeModel;
use crate::attr::{Attr, settle};
use crate::client::hosts::Setting;
use crate::report::{self, Diagnostic, Path, capital};
use crate::resources::labels::{self, Labels};
use crate::text::{mode, name, size};

/// Bytes that a volume with a size has at least.
const MIN_SIZE: u64 = 16 << 20;

/// Ids that an instance has are below this.
pub const IDS: i64 = 65_536;

/// A plan.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Planned {
    /// The state after the apply, as far as it is known.
    pub model: VolumeModel,
    /// The arguments that make Terraform replace the volume.
    pub replaced_by: Vec<Path>,
}

/// Checks what is known.
pub fn validate(model: &VolumeModel) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    if let Some(Err(error)) = model.name.as_str().map(name::check_volume) {
        let detail = "A volume's name is up to 63 letters, digits, hyphens, underscores and dots, and begins with a \
                      letter or a digit.";
        found.push(report::error(Path::at("name"), capital(&error.to_string()), detail));
    }
    for (argument, attr) in [("uid", &model.uid), ("gid", &model.gid)] {
        check_id(Path::at(argument), attr, &mut found);
    }
    check_mode(Path::at("mode"), &model.mode, &mut found);
    check_size(&model.size, &mut found);
    for (key, value) in model.labels.known().into_iter().flatten() {
        if value.is_null() {
            let summary = format!("{} of labels is null", capital(&format!("{key:?}")));
            found.push(report::error(Path::at("labels").key(key), summary, "Leave the entry out."));
        }
    }
    found
}

/// Checks an id that a file has inside an instance.
pub fn check_id(path: Path, attr: &Attr<i64>, found: &mut Vec<Diagnostic>) {
    if let Some(id) = attr.known().filter(|id| !(0..IDS).contains(*id)) {
        let detail = "Ids inside an instance are whole numbers from 0 to 65535.";
        found.push(report::error(path, format!("No instance has the id {id}"), detail));
    }
}

/// Checks permissions.
pub fn check_mode(path: Path, attr: &Attr<String>, found: &mut Vec<Diagnostic>) {
    if let Some(Err(error)) = attr.as_str().map(mode::parse) {
        found.push(report::error(path, capital(&error.to_string()), error.advice()));
    }
}

fn check_size(attr: &Attr<String>, found: &mut Vec<Diagnostic>) {
    match attr.as_str().map(size::parse) {
        Some(Err(error)) => {
            found.push(report::error(Path::at("size"), capital(&error.to_string()), error.advice()));
        }
        Some(Ok(bytes)) if bytes < MIN_SIZE => {
            let detail = "A file system of its own does not fit into less than 16 MiB.";
            found.push(report::error(Path::at("size"), "The size is too small for a volume", detail));
        }
        _ => {}
    }
}

/// What the agent would refuse of a change.
pub fn refuse(prior: &VolumeModel, config: &VolumeModel) -> Option<Diagnostic> {
    let bytes = |attr: &Attr<String>| attr.as_str().and_then(|text| size::parse(text).ok());
    let name = prior.name.as_str().unwrap_or_default();
    let error = |summary: String, detail: &str| Some(report::error(Path::at("size"), summary, detail));
    match (bytes(&prior.size), bytes(&config.size)) {
        (Some(before), Some(after)) if after < before => error(
            format!("The volume {name} cannot become smaller"),
            &format!(
                "It has {}. Give it as much or more, or copy what is in it to a new volume.",
                prior.size.as_str().unwrap_or_default()
            ),
        ),
        (None, Some(_)) if prior.size.is_null() => error(
            format!("The volume {name} was made without a size"),
            "Leave the size out, or copy what is in it to a new volume with one.",
        ),
        (Some(_), None) if config.size.is_null() => error(
            format!("The volume {name} cannot lose its size"),
            "Give it a large size, or copy what is in it to a volume without one.",
        ),
        _ => None,
    }
}

/// Plans a create.
pub fn create(config: &VolumeModel, defaults: &Setting<Labels>) -> Planned {
    let effective_labels = labels::planned(&config.labels, defaults);
    let model = VolumeModel { id: Attr::Unknown, effective_labels, ..config.clone() };
    Planned { model, replaced_by: Vec::new() }
}

/// Plans an update.
pub fn update(
    prior: &VolumeModel,
    config: &VolumeModel,
    defaults: &Setting<Labels>,
    same_host: impl Fn(Option<&str>, Option<&str>) -> bool,
) -> Planned {
    let same_mode = |one: &str, other: &str| mode::parse(one).is_ok_and(|one| mode::parse(other) == Ok(one));
    let same_size = |one: &str, other: &str| size::parse(one).is_ok_and(|one| size::parse(other) == Ok(one));
    let model = VolumeModel {
        id: prior.id.clone(),
        mode: settle(Some(&prior.mode), &config.mode, same_mode),
        size: settle(Some(&prior.size), &config.size, same_size),
        effective_labels: labels::planned(&config.labels, defaults),
        ..config.clone()
    };
    let replaced = model.host.is_unknown() || !same_host(prior.host.as_str(), model.host.as_str());
    Planned { model, replaced_by: replaced.then(|| Path::at("host")).into_iter().collect() }
}

/// Whether the agent has to do anything.
pub fn needs_agent(prior: &VolumeModel, planned: &VolumeModel) -> bool {
    let none = Labels::new();
    to_spec(prior, &none) != to_spec(planned, &none) || prior.effective_labels != planned.effective_labels
}
