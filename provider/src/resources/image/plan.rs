//! What an apply would do to a pin: pure. What the tag means by now was looked up in the read.

use super::model::{ImageModel, ImagePrivate, Moved};
use crate::attr::{Attr, Part};
use crate::report::{self, Diagnostic, Path, capital};
use crate::text::reference;

/// A plan.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Planned {
    /// The state after the apply, as far as it is known.
    pub model: ImageModel,
    /// The arguments that make Terraform replace the pin.
    pub replaced_by: Vec<Path>,
}

/// Checks what is known.
pub fn validate(model: &ImageModel) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    if let Some(Err(error)) = model.reference.as_str().map(reference::check) {
        found.push(report::error(Path::at("reference"), capital(&error.to_string()), error.advice()));
    }
    if model.reference.is_null() && model.archive.is_null() {
        let advice = "Give the reference of an image in a registry, or the path of an archive, or both.";
        found.push(report::error(
            Path::at("reference"),
            "The image has neither a reference nor an archive",
            advice,
        ));
    }
    if model.archive.as_str() == Some("") {
        let advice = "Give the path of a tar file, or leave archive out.";
        found.push(report::error(Path::at("archive"), "The archive's path is empty", advice));
    }
    if model.archive.is_null() && !model.archive_sha256.is_null() {
        let advice = "Give archive too, or leave archive_sha256 out.";
        let summary = "archive_sha256 is given without archive";
        found.push(report::error(Path::at("archive_sha256"), summary, advice));
    }
    if let Some(platform) = model.platform.as_str().filter(|it| !is_platform(it)) {
        found.push(report::error(
            Path::at("platform"),
            format!("\"{platform}\" is no platform"),
            "Write \"linux/amd64\", \"linux/arm64\" or \"linux/arm/v7\", or leave it out for the host's.",
        ));
    }
    found
}

fn is_platform(text: &str) -> bool {
    let parts: Vec<_> = text.split('/').collect();
    let word = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (2..=3).contains(&parts.len()) && parts[0] == "linux" && parts.iter().all(word)
}

/// Plans a create.
pub fn create(config: &ImageModel) -> Planned {
    let mut model = config.clone();
    if model.platform.is_null() {
        model.platform = Attr::Unknown;
    }
    model.id = Attr::Unknown;
    model.reference_resolved = Attr::Unknown;
    content_unknown(&mut model);
    Planned { model, replaced_by: Vec::new() }
}

fn content_unknown(model: &mut ImageModel) {
    model.size = Attr::Unknown;
    model.layers = Attr::Unknown;
    model.created = Attr::Unknown;
    model.config = Attr::Unknown;
}

/// Plans an update.
pub fn update(
    prior: &ImageModel,
    config: &ImageModel,
    private: &ImagePrivate,
    same_host: impl Fn(Option<&str>, Option<&str>) -> bool,
) -> Planned {
    let mut model = ImageModel {
        host: config.host.clone(),
        reference: config.reference.clone(),
        archive: config.archive.clone(),
        archive_sha256: config.archive_sha256.clone(),
        platform: config.platform.clone(),
        keep_on_destroy: config.keep_on_destroy.clone(),
        timeouts: config.timeouts.clone(),
        ..prior.clone()
    };
    let mut replaced_by = Vec::new();
    if model.host.is_unknown() || !same_host(prior.host.as_str(), model.host.as_str()) {
        replaced_by.push(Path::at("host"));
    }
    match (&prior.platform, &model.platform) {
        (before, Attr::Null) => model.platform = before.clone(),
        (Attr::Known(before), Attr::Known(now)) if before.eq_ignore_ascii_case(now) => {
            model.platform = Attr::Known(before.clone());
        }
        _ => replaced_by.push(Path::at("platform")),
    }
    if source_changes(prior, &model) {
        let named = named_by_digest(prior, &model, private);
        let stays = named.is_some() && named == prior.id.as_str();
        model.id = named.map_or(Attr::Unknown, |id| Attr::Known(id.to_owned()));
        model.reference_resolved = Attr::Unknown;
        if !stays {
            content_unknown(&mut model);
        }
    } else if let Some(moved) = moved(prior, private) {
        model.id = Attr::Known(moved.image_digest.clone());
        model.reference_resolved = Attr::Known(moved.reference_resolved.clone());
        content_unknown(&mut model);
    }
    Planned { model, replaced_by }
}

/// Whether the image is to come from elsewhere.
fn source_changes(prior: &ImageModel, model: &ImageModel) -> bool {
    let sources =
        |model: &ImageModel| [model.reference.clone(), model.archive.clone(), model.archive_sha256.clone()];
    sources(model).iter().any(Part::has_unknown) || sources(prior) != sources(model)
}

/// The image that a new reference names by its digest, where that needs no registry: the one that is pinned, or what its tag
/// means by now.
fn named_by_digest<'a>(
    prior: &'a ImageModel,
    model: &ImageModel,
    private: &'a ImagePrivate,
) -> Option<&'a str> {
    if !model.archive.is_null() || !prior.archive.is_null() {
        return None;
    }
    let digest = reference::parse(model.reference.as_str()?).ok()?.digest?;
    let pinned = prior.id.as_str()?;
    let latest = private.moved.as_ref().map_or(pinned, |moved| &moved.image_digest);
    [(pinned, pinned), (private.index_digest.as_str(), latest)]
        .into_iter()
        .find_map(|(is, image)| (digest == is).then_some(image))
}

/// What the tag means by now, where that is another image than the pinned one.
fn moved<'a>(prior: &ImageModel, private: &'a ImagePrivate) -> Option<&'a Moved> {
    private.moved.as_ref().filter(|moved| prior.id.as_str() != Some(&moved.image_digest))
}

/// Whether the agent has to do anything.
pub fn needs_agent(prior: &ImageModel, planned: &ImageModel) -> bool {
    let wanted = |model: &ImageModel| model.keep_on_destroy.known().copied().unwrap_or(false);
    source_changes(prior, planned) || prior.id != planned.id || wanted(prior) != wanted(planned)
}
